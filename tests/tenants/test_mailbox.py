"""The mailbox page of the quick start: what was sent, and nothing at all anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.filebased import EmailBackend
from django.test import Client, override_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

ADDRESS = "/demo/mailbox/"


def send(folder: Path, subject: str, text: str) -> None:
    message = EmailMultiAlternatives(subject, text, "portal@byok.example", ["owner@acme.example"])
    message.attach_alternative("<p>x</p>", "text/html")
    EmailBackend(file_path=str(folder)).send_messages([message])


def test_outside_the_quick_start_there_is_no_mailbox(world: World) -> None:
    assert Client().get(ADDRESS).status_code == 404
    assert Client().get(ADDRESS).content == Client().get("/no-such-page/").content


def test_it_shows_every_mail_with_its_links_and_without_its_markup(world: World, tmp_path: Path, settings: Any) -> None:
    send(tmp_path, "One <b>", "See http://localhost:8000/t/acme/inbox/ <script>alert(1)</script>")
    send(tmp_path, "Zwei für Ümit", "-" * 200)
    with override_settings(MAILBOX=str(tmp_path)):
        answer = Client().get(ADDRESS)
    html = answer.content.decode()
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert "One &lt;b&gt;" in html
    assert "Zwei für Ümit" in html
    assert '<a href="http://localhost:8000/t/acme/inbox/"' in html
    assert "<script>alert" not in html
    assert html.count("owner@acme.example") == 2


def test_an_empty_mailbox_says_so(world: World, tmp_path: Path) -> None:
    with override_settings(MAILBOX=str(tmp_path)):
        assert "No mail yet" in Client().get(ADDRESS).content.decode()
