"""The mails of the quick start, for anybody at this machine: there is no mail server to send them to. Never production.

It reads what Django's file backend wrote; without `BYOK_MAILBOX` there is no such page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from byok_portal.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

    from django.http import HttpRequest, HttpResponse

MOST: Final = 100
_END: Final = b"-" * 79 + b"\n"
"""What the file backend writes after each mail."""
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shown:
    """One mail as the page lists it."""

    subject: str
    to: str
    at: datetime
    text: str
    has_html: bool


@require_safe
@never_cache
def show(request: HttpRequest) -> HttpResponse:
    """The newest mails, to everybody. Raises NotFound outside the quick start."""
    if not settings.MAILBOX:
        raise NotFound
    mails = sorted(read(Path(settings.MAILBOX)), key=lambda mail: mail.at, reverse=True)[:MOST]
    return render(request, "demo/mailbox.html", {"mails": mails})


def read(folder: Path) -> Iterator[Shown]:
    """Every mail in the folder, in no order."""
    for path in folder.glob("*.log"):
        for part in path.read_bytes().split(_END):
            if part.strip():
                message: EmailMessage = message_from_bytes(part, policy=policy.default)
                yield _show(message)


def _show(message: EmailMessage) -> Shown:
    body = message.get_body(("plain",))
    date = message["Date"]
    return Shown(
        subject=str(message["Subject"] or ""),
        to=str(message["To"] or ""),
        at=parsedate_to_datetime(date).replace(tzinfo=UTC) if date else _NEVER,  # Django writes UTC
        text=body.get_content() if body is not None else "",
        has_html=message.get_body(("html",)) is not None,
    )
