"""Forgotten passwords: who has no account here is answered like who has one, and gets no mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core import mail
from django.test import Client

if TYPE_CHECKING:
    from tests.world import World

RESET = "/accounts/password/reset/"


def test_a_stranger_is_answered_like_a_member_and_only_the_member_gets_a_mail(world: World) -> None:
    member = world.tenant().owner.email
    mail.outbox.clear()
    answers = [Client().post(RESET, {"email": email}) for email in (member, "nobody@nowhere.example")]
    assert [(answer.status_code, answer["Location"]) for answer in answers] == [(302, f"{RESET}done/")] * 2
    assert [message.to for message in mail.outbox] == [[member]]
