"""Proof of an entry, the export and the saved lists, as a person gets them from the pages."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client

from audit.chain import leaf_hash
from audit.merkle import inclusion_proof, root_of, verify_inclusion
from audit.models import Entry
from audit.notes import SignedNote, open_note, parse_checkpoint, parse_verifiers
from audit.pages.evidence import VERIFIER
from audit.pages.proof_drawing import draw_path
from audit.tlog_proof import parse
from tests.audit.recordings import body_of as recording_of
from tests.pages.browser import at, sign_in, text_of

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

    from tests.world import Cast, World


@pytest.fixture
def signed(world: World) -> Cast:
    """A tenant whose entries a checkpoint covers."""
    cast = world.tenant()
    world.sequence()
    return cast


def last_entry(world: World, cast: Cast) -> Entry:
    with world.inside(cast):
        return Entry.objects.filter(tenant_id=cast.id).latest("tseq")


def number_without_signing() -> None:
    """What a sequencer does between two checkpoints."""
    from audit.sequencer import ALIAS, Sequencer  # noqa: PLC0415  # settings must be ready

    sequencer = Sequencer()
    try:
        assert sequencer.acquire()
        while sequencer.run_once():
            pass
    finally:
        connections[ALIAS].close()


def body_of(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def unzip(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_entry_and_its_proof_are_files_that_verify(world: World, signed: Cast, tmp_path: Path) -> None:
    entry, browser = last_entry(world, signed), sign_in(signed.auditor)
    leaf = browser.get(at("audit:entry-file", signed, entry.event_id))
    text = browser.get(at("audit:proof-file", signed, entry.event_id))
    assert leaf.content == entry.leaf.encode()
    proof = parse(text.content.decode())
    head = parse_checkpoint(SignedNote.parse(proof.checkpoint).body)
    open_note(proof.checkpoint, parse_verifiers(settings.LOG_VKEY))
    verify_inclusion(
        leaf_hash=leaf_hash(leaf.content), index=proof.index, size=head.size, proof=proof.hashes, root=head.root
    )
    names = {answer["Content-Disposition"] for answer in (leaf, text)}
    assert names == {f'attachment; filename="entry-{entry.tseq}.{end}"' for end in ("json", "tlog-proof")}
    (tmp_path / "p").write_bytes(text.content)
    (tmp_path / "e").write_bytes(leaf.content)
    command: list[str | Path] = [sys.executable, VERIFIER, "--proof", tmp_path / "p", "--entry", tmp_path / "e"]
    done = subprocess.run([*command, "--log-key", settings.LOG_VKEY.strip()], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_of_an_entry_draws_its_path_to_the_signed_root(world: World, signed: Cast) -> None:
    entry = last_entry(world, signed)
    page = sign_in(signed.owner).get(at("audit:detail", signed, entry.event_id))
    proof = page.context["proof"]
    assert [box.label for box in proof["drawing"].boxes if box.kind == "root"] == [proof["root"][:8]]
    assert f"{entry.idx}" in text_of(page)
    assert "Path from this entry to the signed root" in text_of(page)


def test_an_entry_without_a_checkpoint_is_pending(world: World) -> None:
    cast = world.tenant()
    number_without_signing()
    entry, browser = last_entry(world, cast), sign_in(cast.owner)
    assert "Proof pending" in text_of(browser.get(at("audit:detail", cast, entry.event_id)))
    assert browser.get(at("audit:proof-file", cast, entry.event_id)).status_code == 409
    assert "Nothing is signed yet" in text_of(browser.get(at("audit:export", cast)))
    assert browser.post(at("audit:export", cast)).status_code == 409
    world.sequence()
    assert browser.get(at("audit:proof-file", cast, entry.event_id)).status_code == 200


def test_the_drawing_reaches_the_root_of_every_tree() -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(19)]
    for size in range(1, 20):
        for index in range(size):
            hashes = inclusion_proof(
                index, size, lambda nodes: [root_of(leaves[n << level : (n + 1) << level]) for level, n in nodes]
            )
            drawing = draw_path(leaves[index], index, size, hashes)
            tops = [box.label for box in drawing.boxes if box.kind == "root"]
            assert tops == [root_of(leaves[:size]).hex()[:8]]
            assert len(drawing.lines) == 2 * len(hashes)


def test_the_export_extends_the_head_that_is_handed_in(world: World, signed: Cast) -> None:
    browser, address = sign_in(signed.auditor), at("audit:export", signed)
    assert browser.get(address).context["count"] == last_entry(world, signed).tseq
    first = unzip(body_of(browser.post(address)))
    assert len(first["entries.jsonl"].splitlines()) == last_entry(world, signed).tseq
    world.consumer(signed)
    world.sequence()
    kept = first["head.tlog-proof"]
    upload = unzip(body_of(browser.post(address, {"kept_file": SimpleUploadedFile("head", kept)})))
    pasted = unzip(body_of(browser.post(address, {"since": kept.decode().replace("\n", "\r\n")})))
    for files in (upload, pasted):
        assert json.loads(files["consistency.json"])["old"] == parse(kept.decode()).checkpoint


def recorded(admin: psycopg.Connection, audit_id: str) -> dict[str, Any]:
    """Action, who acted and detail of an event, numbered or not."""
    body = recording_of(admin, UUID(audit_id))
    return {"action": body["action"], "actor": body["actor"]["id"], "detail": body["detail"]}


def test_an_export_leaves_an_entry_with_its_count_and_checkpoint(
    world: World, signed: Cast, admin_connection: psycopg.Connection
) -> None:
    answer = sign_in(signed.auditor).post(at("audit:export", signed))
    files = unzip(body_of(answer))
    head = parse_checkpoint(SignedNote.parse(parse(files["head.tlog-proof"].decode()).checkpoint).body)
    assert recorded(admin_connection, answer["Audit-Id"]) == {
        "action": "audit.exported",
        "actor": str(signed.auditor.pk),
        "detail": {"count": len(files["entries.jsonl"].splitlines()), "size": head.size},
    }
    assert answer["X-Export-Entries"] == str(len(files["entries.jsonl"].splitlines()))


def test_an_export_over_the_api_leaves_an_entry_too(
    world: World, signed: Cast, admin_connection: psycopg.Connection
) -> None:
    reader = world.consumer(signed, scopes=("audit:read",))
    answer = Client(headers=reader.headers).get(f"/api/v1/tenants/{signed.slug}/audit/export/")
    assert unzip(body_of(answer))["entries.jsonl"]
    found = recorded(admin_connection, answer["Audit-Id"])
    assert (found["action"], found["actor"]) == ("audit.exported", str(reader.consumer.id))
    refused = Client(headers=reader.headers).get(f"/api/v1/tenants/{signed.slug}/audit/export/", {"since": "x"})
    assert (refused.status_code, "Audit-Id" in refused) == (422, False)


def test_a_saved_list_leaves_an_entry_with_its_filters_and_does_not_hold_it(
    world: World, signed: Cast, admin_connection: psycopg.Connection
) -> None:
    browser, last = sign_in(signed.auditor), last_entry(world, signed).tseq
    query = {"action": "member.joined", "outcome": "allowed"}
    answer = browser.get(at("audit:save-csv", signed), query)
    assert recorded(admin_connection, answer["Audit-Id"]) == {
        "action": "audit.saved",
        "actor": str(signed.auditor.pk),
        "detail": {"filters": ["action=member.joined", "outcome=allowed"], "format": "csv", "upto": last},
    }
    everything = browser.get(at("audit:save-jsonl", signed))
    world.sequence()  # numbers the entry of the saving itself before its file is read
    assert len(body_of(everything).splitlines()) == last
    assert browser.head(at("audit:save-jsonl", signed)).status_code == 405


def test_a_head_of_another_log_is_named_on_the_form(world: World, signed: Cast) -> None:
    answer = sign_in(signed.auditor).post(at("audit:export", signed), {"since": "nothing of ours"})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == ["since"]


def test_the_verifier_is_the_file_of_this_release(signed: Cast) -> None:
    answer = sign_in(signed.auditor).get(at("audit:verifier", signed))
    assert answer.content == VERIFIER.read_bytes()
    assert answer["Content-Disposition"] == 'attachment; filename="byok_verify.py"'


def test_the_filtered_list_is_saved_in_batches(world: World, signed: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.pages.saving.BATCH", 2)
    browser = sign_in(signed.auditor)
    with world.inside(signed):
        leaves = list(Entry.objects.filter(tenant_id=signed.id).order_by("-tseq").values_list("leaf", flat=True))
    lines = body_of(browser.get(at("audit:save-jsonl", signed))).decode().splitlines()
    assert lines == leaves
    joined = body_of(browser.get(at("audit:save-csv", signed), {"action": "member.joined"})).decode()
    rows = list(csv.DictReader(io.StringIO(joined)))
    assert {row["action"] for row in rows} == {"member.joined"}
    assert len(rows) == sum('"action":"member.joined"' in leaf for leaf in leaves)
    bad = browser.get(at("audit:save-csv", signed), {"action": "nope"})
    assert (bad.status_code, bad["Location"]) == (302, at("audit:list", signed) + "?action=nope")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_no_cell_of_a_saved_table_is_a_formula(world: World, signed: Cast, start: str) -> None:
    from audit.pages.saving import _disarm  # noqa: PLC0415  # settings must be ready

    del world, signed
    assert _disarm(f"{start}cmd()") == f"'{start}cmd()"
    assert _disarm("plain") == "plain"


def test_evidence_of_one_tenant_is_not_another_ones(world: World, signed: Cast) -> None:
    entry, other = last_entry(world, signed), world.tenant("globex")
    browser = sign_in(other.owner)
    for name in ("audit:entry-file", "audit:proof-file"):
        assert browser.get(at(name, other, entry.event_id)).status_code == 404
        assert browser.get(at(name, signed, entry.event_id)).status_code == 404
    assert browser.get(at("audit:save-csv", signed)).status_code == 404


@pytest.mark.skipif(shutil.which("node") is None, reason="needs a JavaScript engine")
def test_the_browser_program_accepts_the_proof_and_no_changed_one(world: World, signed: Cast) -> None:
    entry = last_entry(world, signed)
    proof = sign_in(signed.owner).get(at("audit:detail", signed, entry.event_id)).context["proof"]
    source = (VERIFIER.parents[2] / "static" / "verify.js").read_text()
    cut = source.index("if (globalThis.crypto?.subtle)")
    run = (
        "const [leaf, proof, keys, root] = JSON.parse(process.argv[1]);"
        "globalThis.document = { getElementById: () => ({ textContent: leaf }) };"
        "verify({ leaf: 'leaf', proof, keys, root }).then(a => console.log(a.signed), e => console.log(e.message));"
    )

    def ask(leaf: str, text: str, keys: str) -> str:
        values = json.dumps([leaf, text, keys, proof["root"]])
        command = ["node", "--no-warnings", "--input-type=commonjs", "-e", source[:cut] + run, values]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    keys = proof["keys"]
    assert ask(entry.leaf, proof["text"], keys) == "true"
    assert ask(entry.leaf + " ", proof["text"], keys) == "root"
    note = proof["text"].rstrip("\n").split("\n")
    name, _, signature = note[-1].rpartition(" ")
    middle = "A" if signature[40] != "A" else "B"
    forged = "\n".join([*note[:-1], f"{name} {signature[:40]}{middle}{signature[41:]}"]) + "\n"
    assert ask(entry.leaf, forged, keys) == "signature"
