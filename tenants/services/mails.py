"""Mails: gathered from notices, claimed before they are sent, confirmed after. At most once, whatever is killed.

Like the job records, these rows are the worker door's own bookkeeping and leave no entry in the audit log.
See docs/decisions/0014-mail-at-most-once.md.
"""

from __future__ import annotations

import smtplib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from django.conf import settings
from django.core.mail import get_connection
from django.db import connections, transaction
from django.utils import timezone

from byok_portal.boundary import binding, jobs
from tenants import mails
from tenants.models import Channel, Mail, Notice

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from django.core.mail import EmailMultiAlternatives
    from django.db.models import QuerySet

    from byok_portal.boundary.secrets import Secret
    from tenants.services.members import IssuedInvitation

log = structlog.get_logger("byok.mails")

SEND: Final = "mail.send"
GATHER: Final = "mail.gather"
UNCONFIRMED: Final = "mail_unconfirmed"
URGENT_GAP: Final = timedelta(seconds=20)
"""A storm of urgent notices becomes a mail each 20 seconds, not one for each of them."""
BATCH: Final = 1000
ATTEMPTS: Final = 100
"""While the mail server is down: about a day."""
_BROKEN: Final = (OSError, smtplib.SMTPException)
_REFUSED: Final = (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused, smtplib.SMTPNotSupportedError)
"""The server answered no: the mail was certainly not taken. Everything else while sending leaves that open."""


class NotTaken(Exception):
    """The mail server certainly did not take the mail."""


def list_due(limit: int = BATCH) -> list[tuple[UUID, UUID]]:
    """(tenant, recipient) of notices that should go out by mail now."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id, recipient_id FROM directory_due_mails(%s, %s)", [timezone.now(), limit])
        return [(row[0], row[1]) for row in cursor.fetchall()]


def gather(recipient_id: UUID) -> Mail | None:
    """Put what waits for one recipient of the bound tenant into one mail and queue it; None when none is due.

    An urgent notice takes the waiting ones along. Without one, a person has at most one mail in `DIGEST_MINUTES`.
    """
    with transaction.atomic():
        if not _lock_recipient(recipient_id):
            return None  # another worker gathers for this person right now
        waiting = Notice.objects.filter(recipient_id=recipient_id, mail=None, mail_at__isnull=False)
        rows = list(waiting.order_by("created_at"))
        now = timezone.now()
        due = [row for row in rows if row.mail_at is not None and row.mail_at <= now]
        if not due:
            return None
        if not mails.find_address(rows[0].recipient_kind, recipient_id):
            waiting.update(mail_at=None)  # left, or without an address: the inbox has it
            return None
        is_urgent = any(row.channel == Channel.AT_ONCE for row in due)
        later = _not_before(recipient_id, is_urgent=is_urgent)
        if later is not None and later > now:
            _postpone(waiting, recipient_id, later, is_urgent=is_urgent)
            return None
        mail = Mail.objects.create(
            recipient_kind=rows[0].recipient_kind, recipient_id=recipient_id, is_digest=not is_urgent
        )
        Notice.objects.filter(id__in=[row.id for row in rows]).update(mail=mail)
        jobs.enqueue(SEND, subject_id=mail.id, max_attempts=ATTEMPTS)
        return mail


def send(mail_id: UUID, *, attempts_allowed: int) -> None:
    """Send one gathered mail of the bound tenant. Raises GiveUp when an earlier attempt may have sent it.

    `attempts_allowed`: the job's, which grows when a person retries a dead letter: that person decided.
    """
    with binding.reading():
        mail = Mail.objects.get(id=mail_id)
        message = mails.compose(mail)
    if message is None:
        _settle(mail, Mail.State.DROPPED, code="no_recipient")
        return
    if not _claim(mail, attempts_allowed):
        with binding.reading():
            mail.refresh_from_db()
        if mail.state == Mail.State.UNCONFIRMED:
            raise jobs.GiveUp(UNCONFIRMED)
        return
    try:
        deliver(message)
    except NotTaken as refusal:
        _settle(mail, Mail.State.QUEUED, code=str(refusal))
        raise jobs.RetryLater(str(refusal)) from None
    except Exception as error:
        # Only the type: a library's text may hold an address.
        log.exception("mail_unconfirmed", mail_id=str(mail.id), error=type(error).__name__)
        raise jobs.GiveUp(UNCONFIRMED) from None
    _settle(mail, Mail.State.SENT)


def send_invitation(issued: IssuedInvitation, *, link: Secret) -> bool:
    """Mail the link of an invitation at once, from the process that made it: it is stored nowhere.

    True when the mail server took it. A person who invites again makes a new link.
    """
    if not settings.MAIL_CONFIGURED:
        return False
    invitation = issued.invitation
    with transaction.atomic():
        mail = Mail.objects.create(
            kind=Mail.Kind.INVITATION,
            recipient_id=invitation.user_id,
            state=Mail.State.UNCONFIRMED,
            claimed_at=timezone.now(),
        )
        role = invitation.get_role_display()
        message = mails.compose_invitation(mail, role=role, plaintext=link)
    try:
        deliver(message)
    except NotTaken as refusal:
        _settle(mail, Mail.State.DROPPED, code=str(refusal))
        return False
    except Exception as error:  # the invitation stands, and whoever invites sees the link
        log.exception("mail_unconfirmed", mail_id=str(mail.id), error=type(error).__name__)
        return False
    _settle(mail, Mail.State.SENT)
    return True


def deliver(message: EmailMultiAlternatives) -> None:
    """Hand one message over. Raises NotTaken when it certainly was not taken; any other exception leaves it open."""
    connection = get_connection()
    try:
        connection.open()
    except _BROKEN as error:
        raise NotTaken(type(error).__name__) from None
    try:
        connection.send_messages([message])
    except _REFUSED as error:
        raise NotTaken(type(error).__name__) from None
    finally:
        _close(connection)


def _close(connection: object) -> None:
    try:
        connection.close()  # type: ignore[attr-defined]
    except _BROKEN as error:  # the message has been taken or refused by then
        log.info("mail_connection", error=type(error).__name__)


def _claim(mail: Mail, attempts_allowed: int) -> bool:
    """Note that the mail may be sent from now on; only one attempt of a queued mail ever gets a yes."""
    with transaction.atomic():
        queued = Mail.objects.filter(id=mail.id, state=Mail.State.QUEUED)
        retried = Mail.objects.filter(id=mail.id, state=Mail.State.UNCONFIRMED, attempts_allowed__lt=attempts_allowed)
        return bool(
            (queued | retried).update(
                state=Mail.State.UNCONFIRMED, claimed_at=timezone.now(), attempts_allowed=attempts_allowed
            )
        )


def _settle(mail: Mail, state: Mail.State, *, code: str = "") -> None:
    with transaction.atomic():
        sent_at = timezone.now() if state is Mail.State.SENT else None
        Mail.objects.filter(id=mail.id).exclude(state=Mail.State.SENT).update(
            state=state, sent_at=sent_at, last_error=code[:60]
        )


def _lock_recipient(recipient_id: UUID) -> bool:
    with connections[binding.DEFAULT].cursor() as cursor:
        name = f"mail {binding.get_tenant()} {recipient_id}"
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        return bool(cursor.fetchone()[0])


def _not_before(recipient_id: UUID, *, is_urgent: bool) -> datetime | None:
    last = Mail.objects.filter(recipient_id=recipient_id, kind=Mail.Kind.NOTICES).order_by("-created_at").first()
    if last is None or last.created_at > timezone.now():
        return None  # none yet, or the clock was put back: that must not silence anybody
    return last.created_at + (URGENT_GAP if is_urgent else timedelta(minutes=settings.DIGEST_MINUTES))


def _postpone(waiting: QuerySet[Notice], recipient_id: UUID, later: datetime, *, is_urgent: bool) -> None:
    if is_urgent:
        waiting.filter(channel=Channel.AT_ONCE).update(mail_at=later)
        jobs.enqueue(GATHER, subject_id=recipient_id, run_after=later)
    else:
        waiting.update(mail_at=later)
