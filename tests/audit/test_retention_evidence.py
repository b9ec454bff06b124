"""After a removal: what can still be proven, and who notices entries that went another way."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from audit import merkle, proofs, selectors
from audit.chain import leaf_hash
from audit.models import Entry
from audit.notation import decode_base64, encode_base64
from audit.notes import SignedNote, parse_checkpoint
from audit.tiles import entries_path
from audit.tlog_proof import parse as parse_proof
from audit.verification import verify_log
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM
from byok_portal.errors import Conflict, NotFound
from tenants.services import consumers
from tests.audit.pruning import GONE, PrunableLog

if TYPE_CHECKING:
    from pathlib import Path


OK, START_MISSING = 0, 21


@pytest.fixture
def log(prunable: PrunableLog) -> PrunableLog:
    """A copy to prune."""
    return prunable


def members(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def rewrite(path: Path, **changes: str | None) -> Path:
    """The export with members replaced or left out; `before_json` is before.json."""
    files = {**members(path), **{name.replace("_", "."): text for name, text in changes.items()}}
    forged = path.with_name("forged.zip")
    with zipfile.ZipFile(forged, "w") as archive:
        for name, text in files.items():
            if text is not None:
                archive.writestr(name, text)
    return forged


def test_the_log_grows_on_and_is_well_for_every_verifier(log: PrunableLog) -> None:
    log.prune()
    log.sequence()
    report = verify_log("auditor")
    assert report.faults == []
    rebuilt = log.rebuild()
    assert (rebuilt.faults, rebuilt.pruned_to) == ([], GONE)
    assert rebuilt.size == log.one("SELECT size FROM audit_logstate")
    with binding.bind_tenant(log.early):
        assert verify_log("default", tenant_id=log.early).intact
    with binding.bind_tenant(log.both):
        assert verify_log("default", tenant_id=log.both).intact


def test_proofs_that_were_handed_out_before_still_verify(log: PrunableLog) -> None:
    kept = log.export(log.early).members["head.tlog-proof"]
    old = log.download(log.both).rename(log.folder / "old.zip")
    with binding.bind_tenant(log.early), binding.reading():
        first = Entry.objects.get(tenant_id=log.early, tseq=1)
        proof = proofs.find_proof(first)
    assert proof is not None
    log.prune()
    log.sequence()
    assert log.check(old).code == OK
    head = parse_checkpoint(SignedNote.parse(parse_proof(kept).checkpoint).body)
    merkle.verify_inclusion(
        leaf_hash=leaf_hash(first.leaf.encode()), index=first.idx, size=head.size, proof=proof.hashes, root=head.root
    )
    (log.folder / "kept.tlog-proof").write_text(kept)
    answer = log.check(log.download(log.both, kept=kept), "--since", log.folder / "kept.tlog-proof")
    assert answer.code == OK, answer.out
    with binding.bind_tenant(log.both), binding.reading():
        again = proofs.prove(first.idx, proofs.get_checkpoint())
    newest = parse_checkpoint(SignedNote.parse(again.checkpoint).body)
    assert newest.size > head.size
    merkle.verify_inclusion(
        leaf_hash=leaf_hash(first.leaf.encode()),
        index=first.idx,
        size=newest.size,
        proof=again.hashes,
        root=newest.root,
    )


def test_an_export_begins_after_what_is_gone_and_proves_that_the_log_says_so(log: PrunableLog) -> None:
    last = log.one("SELECT max(tseq) FROM audit_entry WHERE tenant_id = %s AND idx < %s", log.both, GONE)
    log.prune()
    export = log.download(log.both)
    before = json.loads(members(export)["before.json"])
    assert before["seq"] == last
    answer = log.check(export)
    assert answer.code == OK, answer.out
    assert f"Entries 1 to {last} were pruned" in answer.out
    untouched = log.one("SELECT count(*) FROM audit_prunedhead WHERE tenant_id = %s", PLATFORM)
    assert untouched == 0


def test_a_tenant_of_which_nothing_went_exports_as_ever(log: PrunableLog) -> None:
    log.prune()
    export = log.export(PLATFORM)
    assert (export.after, export.count, "before.json" in export.members) == (0, 1, False)


def test_a_tenant_of_which_everything_went_is_told_so(log: PrunableLog) -> None:
    log.prune()
    with pytest.raises(Conflict, match="removed all 20 entries") as refused:
        log.export(log.early)
    assert refused.value.code == "entries_pruned"


def test_a_forged_before_json_is_named_by_the_lone_verifier(log: PrunableLog) -> None:
    log.prune()
    export = log.download(log.both)
    text = members(export)["before.json"]
    assert log.check(rewrite(export, before_json=None)).code == START_MISSING
    wider = text.replace(f'\\"to\\":{GONE}', f'\\"to\\":{GONE + 100}')
    assert wider != text
    assert log.check(rewrite(export, before_json=wider)).code == START_MISSING
    # More is withheld than the log says was removed: the range is real, but does not hold the entry before the first.
    lines = members(export)["entries.jsonl"].split("\n")
    cut = json.loads(lines[1])
    entry = json.loads(text)
    index = log.one("SELECT idx FROM audit_entry WHERE tenant_id = %s AND tseq = %s", log.both, cut["seq"] - 1)
    with binding.bind_tenant(log.both), binding.reading():
        hashes = merkle_path(index)
    forged = {**entry, "seq": cut["seq"] - 1, "index": index, "hash": cut["prev"], "hashes": hashes}
    answer = log.check(rewrite(export, entries_jsonl="\n".join(lines[1:]), before_json=json.dumps(forged)))
    assert (answer.code, "not among those that were pruned" in answer.out) == (START_MISSING, True)


def merkle_path(index: int) -> list[str]:
    return [encode_base64(value) for value in proofs.prove(index, proofs.get_checkpoint()).hashes]


@pytest.mark.parametrize("state", ["UPDATE audit_logstate SET pruned_to = 300", "SELECT 1"])
def test_rows_that_went_without_a_record_are_named(log: PrunableLog, state: str) -> None:
    """As a superuser who also makes every table agree."""
    with log.admin() as admin:
        admin.execute(
            "INSERT INTO audit_prunedhead SELECT DISTINCT ON (tenant_id) tenant_id, tseq, idx, "
            "sha256('\\x00'::bytea || convert_to(leaf, 'UTF8')) FROM audit_entry WHERE idx < 300 "
            "ORDER BY tenant_id, tseq DESC"
        )
        admin.execute("DROP TABLE audit_entry_000000000000")
        admin.execute(state)
    kinds = {fault.kind.value for fault in log.rebuild().faults}
    assert kinds & {"removal_unrecorded", "gap"}
    assert not verify_log("auditor").intact
    answer = log.check(log.download(log.both))
    assert answer.code == START_MISSING, answer.out


def test_rows_that_went_beyond_the_record_are_named(log: PrunableLog) -> None:
    log.prune()
    with log.admin() as admin:
        admin.execute("UPDATE audit_logstate SET pruned_to = pruned_to + 50")
        for table in ("audit_entry", "audit_entry_000000000900"):
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
        admin.execute("DELETE FROM audit_entry WHERE idx < %s", [GONE + 50])
    faults = log.rebuild().faults
    assert ("removal_unrecorded", GONE) in {(fault.kind.value, fault.number) for fault in faults}


@pytest.mark.parametrize(
    ("attack", "kinds"),
    [
        ("UPDATE audit_tile SET hashes = set_byte(hashes, 40, 1 + get_byte(hashes, 40) %% 255)", {"root_differs"}),
        ("DELETE FROM audit_tile", {"gap"}),
    ],
)
def test_hashes_of_removed_entries_that_were_changed_are_named(log: PrunableLog, attack: str, kinds: set[str]) -> None:
    log.prune()
    with log.admin() as admin:
        admin.execute("ALTER TABLE audit_tile DISABLE TRIGGER append_only")
        admin.execute(f"{attack} WHERE level = 0 AND n = %s", [1])
    assert kinds <= {fault.kind.value for fault in log.rebuild().faults}


def test_a_head_of_the_pruned_part_that_was_changed_is_named(log: PrunableLog) -> None:
    log.prune()
    with log.admin() as admin:
        admin.execute("UPDATE audit_prunedhead SET leaf_hash = sha256('x') WHERE tenant_id = %s", [log.early])
    kinds = {fault.kind.value for fault in log.rebuild().faults}
    assert {"pruned_head_differs", "edited"} <= kinds


def test_an_event_that_went_is_missing_with_a_reason(log: PrunableLog) -> None:
    event = log.one("SELECT event_id FROM audit_entry WHERE tenant_id = %s AND tseq = 3", log.early)
    log.prune()
    for ask in (proofs.find_receipt, selectors.get_entry):
        with binding.bind_tenant(log.early), binding.reading(), pytest.raises(NotFound, match="entries 1 to 20"):
            ask(event)


def test_searches_and_the_log_as_files_know_where_the_log_begins(log: PrunableLog) -> None:
    log.prune()
    log.sequence()
    first = log.one("SELECT min(tseq) FROM audit_entry WHERE tenant_id = %s", log.both)
    with binding.bind_tenant(log.both), binding.reading():
        rows = list(selectors.walk(selectors.Filters(action="key.used")))
        assert rows[-1].tseq == first
        assert selectors.find_number(rows[0].occurred_at) == first
    answer = Client().get("/log/tile/entries/000")
    assert (answer.status_code, f"below index {GONE} were pruned" in answer.content.decode()) == (404, True)
    assert Client().get("/log/tile/0/000").status_code == 200
    call_command("audit_tiles", "--to", str(log.folder / "tiles"))
    assert not (log.folder / "tiles" / entries_path(0)).exists()


def test_the_pages_say_what_went(log: PrunableLog) -> None:
    cast = log.cast
    assert cast is not None
    last = log.one("SELECT max(tseq) FROM audit_entry WHERE tenant_id = %s", cast.id)
    log.prune()
    browser = Client()
    browser.force_login(cast.owner, backend="allauth.account.auth_backends.AuthenticationBackend")
    here, there = reverse("audit:list", args=[cast.slug]), reverse("audit:export", args=[cast.slug])
    assert f"Entries 1 to {last} were removed by retention" in browser.get(here).content.decode()
    assert f"Retention removed entries 1 to {last}." in browser.get(there).content.decode()
    assert f"removed all {last} entries" in browser.post(there).content.decode()
    with binding.bind_tenant(cast.id):
        consumers.register(actor=cast.actor, name="after-retention", kind="service", environment="production")
    log.sequence()
    assert f"Entries 1 to {last} were removed by retention" in browser.get(here).content.decode()
    assert f"Retention removed entries 1 to {last};" in browser.get(there).content.decode()
    answer: Any = browser.post(there)
    (log.folder / "export.zip").write_bytes(b"".join(answer.streaming_content))
    checked = log.check(log.folder / "export.zip")
    assert checked.code == OK, checked.out


def test_the_hash_of_the_pruned_head_is_the_one_in_the_tree(log: PrunableLog) -> None:
    log.prune()
    before = json.loads(log.export(log.both).members["before.json"])
    with binding.bind_tenant(log.both), binding.reading():
        checkpoint = proofs.get_checkpoint()
    merkle.verify_inclusion(
        leaf_hash=decode_base64(before["hash"], field="hash"),
        index=before["index"],
        size=checkpoint.size,
        proof=[decode_base64(value, field="hashes") for value in before["hashes"]],
        root=bytes(checkpoint.root),
    )
