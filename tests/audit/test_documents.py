"""Documents: recorded when they are issued, handed out with their proofs, checked when the portal is gone."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django.urls import reverse

from audit import paper
from audit.models import Document, Entry
from audit.services import documents as issuing
from audit.services.recording import Target
from byok_portal.errors import InvalidInput
from tests.audit.verifying import run_copy
from tests.pages.browser import sign_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.world import Cast, Credential, World

STATEMENT = {
    "reason": "contract_ended",
    "refused_from": "2026-11-23T16:00:00Z",
    "steps": [{"step": "Revoke <the> key", "state": "done"}, {"step": "Close", "state": "done"}],
}


@pytest.fixture(scope="module")
def issued(world_setup: World) -> tuple[Cast, Credential, Document]:
    """A certificate over three entries of a tenant, numbered and signed."""
    world = world_setup
    cast = world.tenant()
    world.key(cast)
    credential = world.consumer(cast, scopes=("audit:read",))
    call_command("sequencer", "--once")
    with world.bound(cast), transaction.atomic():
        events = list(Entry.objects.order_by("tseq").values_list("event_id", flat=True)[:3])
        document = issuing.issue(
            actor=cast.actor,
            kind="offboarding_certificate",
            subject=Target("tenant", cast.id),
            statement=STATEMENT,
            events=events,
            title="Offboarding certificate",
        )
    call_command("sequencer", "--once")
    return cast, credential, document


@pytest.fixture
def folder(issued: tuple[Cast, Credential, Document], tmp_path: Path) -> Path:
    """The ZIP as it was downloaded, unpacked."""
    cast, credential, document = issued
    answer: Any = ask(cast, credential, f"documents/{document.id}/bundle/")
    assert answer.status_code == 200, answer.content
    (tmp_path / "certificate.zip").write_bytes(b"".join(answer.streaming_content))
    with zipfile.ZipFile(tmp_path / "certificate.zip") as archive:
        archive.extractall(tmp_path / "certificate")
    return tmp_path / "certificate"


def ask(cast: Cast, credential: Credential, path: str) -> Any:
    return Client(headers=credential.headers).get(f"/api/v1/tenants/{cast.slug}/{path}")


def check(folder: Path, *arguments: str) -> Any:
    return run_copy(folder.parent, folder, "--log-key", folder / "log.vkey", *arguments)


def test_a_document_verifies_offline_from_its_zip_alone(
    issued: tuple[Cast, Credential, Document], folder: Path
) -> None:
    cast, _, document = issued
    answers = [
        run_copy(folder.parent, each, "--log-key", folder / "log.vkey")
        for each in (folder, folder.with_name("certificate.zip"))
    ]
    assert [answer.code for answer in answers] == [0, 0], answers
    assert f"the offboarding_certificate of tenant {cast.id}" in answers[0].out
    assert "the 3 entries that it rests on" in answers[0].out
    recorded = json.loads((folder / "issued.json").read_text())["body"]
    assert recorded["action"] == "document.issued"
    assert recorded["detail"]["sha256"] == hashlib.sha256(document.body.encode()).hexdigest()
    assert "Revoke &lt;the&gt; key" in (folder / "document.html").read_text()


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def drop_line(folder: Path) -> None:
    lines = (folder / "evidence.jsonl").read_text().splitlines(keepends=True)
    (folder / "evidence.jsonl").write_text("".join(lines[:-1]))


def swap_lines(folder: Path) -> None:
    lines = (folder / "evidence.jsonl").read_text().splitlines(keepends=True)
    (folder / "evidence.jsonl").write_text("".join([lines[1], lines[0], *lines[2:]]))


def repeat_line(folder: Path) -> None:
    text = (folder / "evidence.jsonl").read_text()
    (folder / "evidence.jsonl").write_text(text + text.splitlines(keepends=True)[-1])


def issue_by_another_entry(folder: Path) -> None:
    """A true entry of the log in the place of the one that issued the document."""
    line = json.loads((folder / "evidence.jsonl").read_text().splitlines()[0])
    (folder / "issued.json").write_text(line["entry"])
    note = (folder / "head.tlog-proof").read_text().partition("\n\n")[2]
    head = "\n".join(["c2sp.org/tlog-proof@v1", f"index {line['index']}", *line["hashes"]])
    (folder / "head.tlog-proof").write_text(f"{head}\n\n{note}")


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        (edit("document.json", '"done"', '"gone"'), 25, "document.json was changed"),
        (edit("document.html", "Close", "Open"), 25, "document.html was changed"),
        (edit("issued.json", '"allowed"', '"denied"'), 13, "The entry that records the document is not in the signed"),
        (edit("evidence.jsonl", "allowed", "denied"), 13, "The entry in line 1 of evidence.jsonl is not in the signed"),
        (edit("document.json", '"v":1', '"v": 1'), 25, "document.json was changed"),
        (edit("head.tlog-proof", "— ", "— other"), 11, "signed the checkpoint"),
        (drop_line, 15, "1 of the entries that the document rests on are missing"),
        (swap_lines, 16, "is not the entry that the document names there"),
        (repeat_line, 16, "has entries that the document does not name"),
        (issue_by_another_entry, 25, "does not issue a document"),
    ],
    ids=["json", "page", "issued", "evidence", "form", "signature", "dropped", "swapped", "repeated", "other-entry"],
)
def test_each_change_is_named(change: Callable[[Path], None], code: int, sentence: str, folder: Path) -> None:
    change(folder)
    answer = check(folder)
    assert (answer.code, sentence in answer.out) == (code, True), answer.out


def test_a_document_of_another_tenant_is_told(folder: Path) -> None:
    answer = check(folder, "--tenant", "01a20000-0000-7000-8000-000000000000")
    assert (answer.code, "of another tenant" in answer.out) == (17, True), answer.out


def test_before_a_checkpoint_covers_it_the_api_says_when_to_ask_again(world: World) -> None:
    cast = world.tenant()
    credential = world.consumer(cast, scopes=("audit:read",))
    with world.bound(cast), transaction.atomic():
        document = issuing.issue(
            actor=cast.actor, kind="report", subject=Target("tenant", cast.id), statement={}, events=[], title="Report"
        )
    pending = ask(cast, credential, f"documents/{document.id}/bundle/")
    assert (pending.status_code, pending["Retry-After"]) == (202, "5")
    assert ask(cast, credential, f"documents/{document.id}/").json()["signed"] is False
    call_command("sequencer", "--once")
    assert ask(cast, credential, f"documents/{document.id}/").json()["signed"] is True
    taken = ask(cast, credential, f"documents/{document.id}/bundle/")
    assert b"document.json" in b"".join(taken.streaming_content)
    call_command("sequencer", "--once")
    newest = ask(cast, credential, "audit/events/").json()["results"][0]
    assert (newest["action"], newest["body"]["target"]["id"]) == ("document.handed_out", str(cast.id))
    assert newest["body"]["detail"]["document"] == str(document.id)


def test_pages_list_it_and_hand_out_what_was_hashed(issued: tuple[Cast, Credential, Document]) -> None:
    cast, _, document = issued
    browser = sign_in(cast.owner)
    listed = browser.get(reverse("audit:documents", args=[cast.slug])).content.decode()
    address = reverse("audit:document", args=[cast.slug, document.id])
    assert address in listed
    assert "contract_ended" in browser.get(address).content.decode()
    for name, text in (("document-json", document.body), ("document-page", document.page)):
        answer = browser.get(reverse(f"audit:{name}", args=[cast.slug, document.id]))
        assert answer.content.decode() == text
        assert answer["Content-Disposition"].startswith("attachment;")
    bundle: Any = browser.get(reverse("audit:document-bundle", args=[cast.slug, document.id]))
    assert (bundle.status_code, bundle["Content-Type"]) == (200, "application/zip")


def test_a_stored_document_cannot_be_changed(issued: tuple[Cast, Credential, Document], world: World) -> None:
    from django.db import ProgrammingError  # noqa: PLC0415

    cast, _, document = issued
    with world.bound(cast):
        for change in (
            lambda: Document.objects.filter(id=document.id).update(body="{}"),
            lambda: Document.objects.filter(id=document.id).delete(),
        ):
            with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
                change()


def test_what_no_canonical_document_can_hold_is_refused(world: World) -> None:
    cast = world.tenant()
    with world.bound(cast), pytest.raises(InvalidInput), transaction.atomic():
        issuing.issue(
            actor=cast.actor,
            kind="report",
            subject=Target("tenant", cast.id),
            statement={"share": 0.5},
            events=[],
            title="Report",
        )
    with world.bound(cast), transaction.atomic():
        assert not Document.objects.exists()


def test_a_statement_is_laid_out_in_its_order() -> None:
    sections = paper.lay_out(
        {
            "reason": "superseded",
            "counts": {"keys": 2, "consumers": 0, "lost": [{"name": "a"}]},
            "steps": [{"step": "one", "at": "2026-11-23T16:00:00.123Z"}, {"step": "two", "note": True}],
            "none": [],
        }
    )
    assert [section.title for section in sections] == ["", "Counts", "Counts lost", "Steps", "None"]
    assert sections[0].facts == [("Reason", "superseded")]
    assert sections[1].facts == [("Keys", "2"), ("Consumers", "0")]
    table = sections[3].table
    assert table
    assert table.columns == ["Step", "At", "Note"]
    assert table.rows == [["one", "2026-11-23 16:00:00 UTC", "-"], ["two", "-", "yes"]]
    assert sections[4].items == ["-"]


def test_a_document_that_nobody_recorded_is_read_no_further(folder: Path) -> None:
    (folder / "document.json").write_text('{"events":[' + "[]," * 2_000_000 + "[]]}")
    answer = check(folder, "--json")
    assert answer.code == 25
    assert len(json.loads(answer.out)["faults"]) == 1
