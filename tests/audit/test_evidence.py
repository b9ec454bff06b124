"""The real log end to end: numbered, signed, proven, exported, and checked by code that is not ours."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client

from audit import merkle, proofs
from audit.chain import leaf_hash
from audit.cosigning import WitnessClient, WitnessUnavailable
from audit.models import Checkpoint, LogState
from audit.notes import (
    CosignatureSigner,
    CosignatureVerifier,
    SignedNote,
    cosigned_at,
    open_note,
    parse_checkpoint,
    parse_verifiers,
)
from audit.sequencer import Sequencer
from audit.signing import LogSigner, SigningRefused
from audit.tiles import decode_bundle, entries_path, tile_path, tiles_of
from audit.tlog_proof import parse as parse_proof
from byok_portal.boundary import operations
from tenants.services import consumers
from tests.audit.independent.golang import go_open_export, go_open_tiles
from tests.audit.verifying import run_copy
from tests.audit.witness.witnessing import WitnessThread

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    import psycopg

    from tests.world import Cast, Credential, World


@pytest.fixture
def story(world: World) -> tuple[Cast, Credential]:
    """A tenant with a used key, everything numbered and signed."""
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast, scopes=("audit:read", "key:use"))
    world.grant(cast, key, credential)
    call_command("sequencer", "--once")
    return cast, credential


def get(cast: Cast, credential: Credential, path: str, **query: Any) -> Any:
    return Client(headers=credential.headers).get(f"/api/v1/tenants/{cast.slug}/audit/{path}", query)


def revoke_some_token(world: World, cast: Cast) -> UUID:
    """Some change of the tenant; returns its receipt."""
    other = world.consumer(cast)
    with world.bound(cast), operations.receipts() as receipts:
        consumers.revoke_token(actor=cast.actor, consumer_id=other.consumer.id, token_id=other.token_id)
    return receipts[-1]


def unpacked(answer: Any, folder: Path) -> Path:
    archive = folder / "export.zip"
    archive.write_bytes(b"".join(answer.streaming_content))
    with zipfile.ZipFile(archive) as members:
        members.extractall(folder / "export")
    return folder / "export"


def test_an_entry_is_proven_in_the_signed_tree(story: tuple[Cast, Credential]) -> None:
    cast, credential = story
    newest = get(cast, credential, "events/").json()["results"][0]
    answer = get(cast, credential, f"events/{newest['event_id']}/proof/")
    assert answer.status_code == 200, answer.content
    proof = parse_proof(answer.json()["proof"])
    head = parse_checkpoint(open_note(proof.checkpoint, parse_verifiers(settings.LOG_VKEY)).body)
    merkle.verify_inclusion(
        leaf_hash=leaf_hash(newest["leaf"].encode()),
        index=proof.index,
        size=head.size,
        proof=proof.hashes,
        root=head.root,
    )


def test_a_new_entry_answers_202_until_a_checkpoint_covers_it(story: tuple[Cast, Credential], world: World) -> None:
    cast, credential = story
    receipt = revoke_some_token(world, cast)
    path = f"events/{receipt}/proof/"
    waiting = get(cast, credential, path)
    assert (waiting.status_code, waiting["Retry-After"], waiting.json()["state"]) == (202, "5", "committed")
    while Sequencer().run_once():
        pass
    numbered = get(cast, credential, path)
    assert (numbered.status_code, numbered.json()["state"]) == (202, "numbered")
    call_command("sequencer", "--once")
    assert get(cast, credential, path).status_code == 200


def test_a_receipt_unmasks_an_event_that_was_taken_out_of_the_inbox(
    story: tuple[Cast, Credential], world: World, admin_connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast, credential = story
    receipt = revoke_some_token(world, cast)
    with admin_connection.transaction():
        admin_connection.execute("ALTER TABLE audit_inbox DISABLE TRIGGER ALL")
        admin_connection.execute("DELETE FROM audit_inbox WHERE event_id = %s", [receipt])
        admin_connection.execute("ALTER TABLE audit_inbox ENABLE ALWAYS TRIGGER append_only")
        admin_connection.execute("ALTER TABLE audit_inbox ENABLE ALWAYS TRIGGER only_sequencer")
    call_command("sequencer", "--once")
    monkeypatch.setattr(proofs, "PATIENCE_MS", -1)
    answer = get(cast, credential, f"events/{receipt}/proof/")
    assert (answer.status_code, answer.json()["code"]) == (500, "entry_missing")


def test_the_export_is_checked_by_the_lone_verifier_and_by_go(
    story: tuple[Cast, Credential], world: World, tmp_path: Path
) -> None:
    cast, credential = story
    folder = unpacked(get(cast, credential, "export/"), tmp_path)
    kept = (folder / "head.tlog-proof").read_text()
    answer = run_copy(tmp_path, tmp_path / "export.zip", "--log-key", settings.LOG_VKEY, "--no-heartbeat")
    assert answer.code == 0, answer.out + answer.err
    assert go_open_export(folder, tenant=str(cast.id))
    world.consumer(cast)
    call_command("sequencer", "--once")
    later = tmp_path / "later"
    later.mkdir()
    grown = unpacked(get(cast, credential, "export/", since=kept), later)
    (later / "kept.tlog-proof").write_text(kept)
    answer = run_copy(
        later, grown, "--log-key", settings.LOG_VKEY, "--no-heartbeat", "--since", later / "kept.tlog-proof"
    )
    assert answer.code == 0, answer.out + answer.err
    assert go_open_export(grown, tenant=str(cast.id))
    (grown / "entries.jsonl").write_bytes((grown / "entries.jsonl").read_bytes().replace(b"allowed", b"ollowed", 1))
    assert run_copy(later, grown, "--log-key", settings.LOG_VKEY, "--no-heartbeat").code == 14


def test_a_checkpoint_of_another_log_is_no_base_for_an_export(story: tuple[Cast, Credential]) -> None:
    answer = get(*story, "export/", since="somebody else's")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "since"


def test_public_tiles_prove_records_to_go_and_hold_no_entry(story: tuple[Cast, Credential], tmp_path: Path) -> None:
    note = Client().get("/log/checkpoint").content.decode()
    size = parse_checkpoint(open_note(note, parse_verifiers(settings.LOG_VKEY)).body).size
    for level, n, width in tiles_of(size):
        path = tile_path(level, n, width)
        answer = Client().get(f"/log/{path}")
        assert answer.status_code == 200
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(answer.content)
    (tmp_path / "checkpoint").write_text(note)
    (tmp_path / "log.vkey").write_text(settings.LOG_VKEY + "\n")
    assert go_open_tiles(tmp_path, records=8, old=[1, size // 2])
    assert Client().get("/log/tile/entries/000").status_code == 404
    assert Client().get("/log/tile/0/999").status_code == 404


def test_consistency_is_proven_between_any_two_signed_sizes(story: tuple[Cast, Credential]) -> None:
    cast, credential = story
    size = get(cast, credential, "checkpoint/").json()["size"]
    answer = get(cast, credential, "consistency/", **{"from": 1, "to": size})
    assert [len(base64.b64decode(value)) for value in answer.json()["hashes"]] == [32] * len(answer.json()["hashes"])
    wrong = get(cast, credential, "consistency/", **{"from": size + 1})
    assert (wrong.status_code, json.loads(wrong.content)["code"]) == (422, "out_of_range")


def test_a_witness_cosigns_every_published_checkpoint(
    story: tuple[Cast, Credential], tmp_path: Path, world: World
) -> None:
    signer = LogSigner.from_settings()
    assert signer is not None
    with WitnessThread(tmp_path, signer.signers[0].vkey) as witness:
        keys = [CosignatureVerifier.parse(witness.vkey)]
        signer.witness, signer.witness_keys = WitnessClient(witness.url, keys), keys
        for _ in range(2):
            revoke_some_token(world, story[0])
            while Sequencer().run_once():
                pass
            published = signer.publish("sequencer")
            assert published is not None
            stored = Checkpoint.objects.get(size=published.size)
            assert stored.witnessed_at is not None
            assert cosigned_at(SignedNote.parse(stored.note), keys[0]) == int(stored.witnessed_at.timestamp())


def test_nothing_is_published_while_the_witness_is_away(story: tuple[Cast, Credential], world: World) -> None:
    signer = LogSigner.from_settings()
    assert signer is not None
    key = CosignatureSigner.generate("witness.example/away").verifier
    assert isinstance(key, CosignatureVerifier)
    signer.witness, signer.witness_keys = WitnessClient("http://127.0.0.1:9", [key], timeout=1), [key]
    revoke_some_token(world, story[0])
    while Sequencer().run_once():
        pass
    before = Checkpoint.objects.count()
    with pytest.raises(WitnessUnavailable):
        signer.publish("sequencer")
    assert Checkpoint.objects.count() == before
    call_command("sequencer", "--once")
    assert Checkpoint.objects.count() == before + 1


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("UPDATE audit_logstate SET size = size - 1", "leaves, but"),
        ("UPDATE audit_edge SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1) WHERE level = 0", "rewritten"),
    ],
)
def test_a_rewritten_tree_is_not_signed(
    story: tuple[Cast, Credential], world: World, admin_connection: psycopg.Connection, attack: str, reason: str
) -> None:
    signer = LogSigner.from_settings()
    assert signer is not None
    revoke_some_token(world, story[0])
    while Sequencer().run_once():
        pass
    kept = admin_connection.execute("SELECT level, hashes FROM audit_edge").fetchall()
    size = admin_connection.execute("SELECT size FROM audit_logstate").fetchone()
    assert size
    admin_connection.execute(attack)
    try:
        with pytest.raises(SigningRefused, match=reason):
            signer.publish("sequencer")
    finally:
        admin_connection.execute("UPDATE audit_logstate SET size = %s", size)
        for level, hashes in kept:
            admin_connection.execute("UPDATE audit_edge SET hashes = %s WHERE level = %s", [hashes, level])
    assert signer.publish("sequencer") is not None


def test_a_log_that_lost_entries_is_not_signed(story: tuple[Cast, Credential], world: World) -> None:
    signer = LogSigner.from_settings()
    assert signer is not None
    pinned = signer.pin.read(signer.origin)
    assert pinned is not None
    signer.pin.write(dataclasses.replace(pinned, size=pinned.size + 1000))
    revoke_some_token(world, story[0])
    while Sequencer().run_once():
        pass
    with pytest.raises(SigningRefused, match="some are lost"):
        signer.publish("sequencer")
    signer.pin.path.unlink()
    with pytest.raises(SigningRefused, match="the pin of what was signed is gone"):
        signer.publish("sequencer")
    signer.pin.write(pinned)
    assert signer.publish("sequencer") is not None


def test_the_log_as_static_files_is_opened_by_go_and_grows(
    story: tuple[Cast, Credential], world: World, tmp_path: Path
) -> None:
    for _ in range(2):
        call_command("audit_tiles", "--to", str(tmp_path))
        (tmp_path / "log.vkey").write_text(settings.LOG_VKEY + "\n")
        assert go_open_tiles(tmp_path, records=8)
        size = parse_checkpoint(SignedNote.parse((tmp_path / "checkpoint").read_text()).body).size
        bundle = (tmp_path / entries_path(0, min(size, 256))).read_bytes()
        hashes = [leaf_hash(leaf) for leaf in decode_bundle(bundle)]
        assert b"".join(hashes) == (tmp_path / tile_path(0, 0, min(size, 256))).read_bytes()
        revoke_some_token(world, story[0])
        call_command("sequencer", "--once")


def test_the_log_state_says_how_long_an_event_waited(story: tuple[Cast, Credential], world: World) -> None:
    revoke_some_token(world, story[0])
    time.sleep(0.3)
    call_command("sequencer", "--once")
    assert 300 <= LogState.objects.get().lag_ms < 30_000
