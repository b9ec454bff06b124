"""Saying something to people and workloads, once each; reading it, and choosing how to hear. Sends nothing itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from django.conf import settings
from django.db import connections
from django.utils import timezone
from django_q.tasks import async_task

from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.actors import ActorKind
from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, InvalidInput, NotFound
from tenants import notices, rules
from tenants.models import Channel, Notice, NoticePreference, RecipientKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from byok_portal.boundary.actors import Actor
    from tenants.notices import Plain

GATHER: Final = "tenants.tasks.gather_mails"
_INSERT: Final = """
INSERT INTO tenants_notice (id, tenant_id, created_at, recipient_kind, recipient_id, kind, subject_kind, subject_id,
                            dedupe, facts, channel, mail_at)
SELECT n.id, %(tenant)s, %(now)s, n.recipient_kind, n.recipient_id, n.kind, n.subject_kind, n.subject_id,
       n.dedupe, n.facts, n.channel, n.mail_at
FROM json_to_recordset(%(rows)s::json) AS n (
  id uuid, recipient_kind text, recipient_id uuid, kind text, subject_kind text, subject_id uuid, dedupe text,
  facts jsonb, channel text, mail_at timestamptz
)
ORDER BY n.recipient_id, n.dedupe
ON CONFLICT (tenant_id, recipient_id, dedupe) DO NOTHING
RETURNING channel
"""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One thing to say to several recipients: people by user id, and consumers, who are mailed at their contact."""

    kind: str
    subject: Target
    dedupe: str
    facts: Mapping[str, Plain]
    recipients: Iterable[UUID]
    consumers: Iterable[UUID] = field(default=())


def notify(  # the six things that make a notice
    *,
    recipients: Iterable[UUID],
    kind: str,
    subject: Target,
    dedupe: str,
    facts: Mapping[str, Plain],
    consumers: Iterable[UUID] = (),
) -> int:
    """Say one thing, in the caller's transaction and the bound tenant. Returns how many had not heard it.

    A recipient hears each `dedupe` once, whatever runs twice. Raises KeyError for a kind that is not declared and
    ValueError for facts that are not its own.
    """
    return notify_each([Announcement(kind, subject, dedupe, facts, recipients, consumers)])


def notify_each(announcements: Sequence[Announcement]) -> int:
    """Say many things in one statement, as `notify` does."""
    rows = [row for each in announcements for row in _rows_of(each)]
    if not rows:
        return 0
    channels = _channels(rows)
    now = timezone.now()
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_INSERT, _values(rows, channels, now))
        said = [row[0] for row in cursor.fetchall()]
    if Channel.AT_ONCE in said:
        # In the same transaction: an outbox. Lost or doubled, the clock finds the same mail due.
        async_task(GATHER, save=False)
    return len(said)


def list_inbox(recipient_id: UUID) -> QuerySet[Notice]:
    """What was said to one recipient in the bound tenant, newest first."""
    return Notice.objects.filter(recipient_id=recipient_id).order_by("-created_at", "-id")


def count_unread(recipient_id: UUID, *, at_most: int) -> int:
    """How many of them are not read, counted no further than `at_most`."""
    unread = Notice.objects.filter(recipient_id=recipient_id, read_at=None)
    return len(unread.values_list("id")[:at_most])


def list_preferences(user_id: UUID) -> dict[str, Channel]:
    """The channel of every kind that members can be told, as the person has it."""
    chosen = dict(NoticePreference.objects.filter(user_id=user_id).values_list("kind", "channel"))
    return {kind.name: _channel_of(kind, chosen.get(kind.name)) for kind in notices.list_kinds()}


@operation(
    "notice.mark_read",
    permission=Permission.NOTICE_READ,
    events=("notice.read",),
    page="tenants:inbox",
    api="api:notices-read",
)
def mark_read(*, actor: Actor, notice_ids: Sequence[UUID] | None) -> int:
    """Mark the actor's own notices as read, all of them for None. Returns how many were not.

    Raises NotFound when one is not the actor's, Conflict when none was unread.
    """
    own = Notice.objects.filter(recipient_id=actor.id)
    if notice_ids is not None:
        own = own.filter(id__in=notice_ids)
        if own.count() != len(set(notice_ids)):
            raise NotFound
    count = own.filter(read_at=None).update(read_at=timezone.now())
    if not count:
        raise Conflict("Nothing here is unread.", code="nothing_unread")
    append(actor=actor, action="notice.read", target=_self(actor), detail={"notices": count})
    return count


@operation(
    "notice.prefer",
    permission=Permission.NOTICE_PREFER,
    events=("notice.preferred",),
    page="tenants:preferences",
    api=Absent("how a person wants to hear is chosen by that person, in the web UI"),
)
def prefer(*, actor: Actor, channels: Mapping[str, str]) -> dict[str, Channel]:
    """Set the actor's own channels, kind by kind. Returns all of them.

    Raises InvalidInput for an unknown kind or channel, and for muting what may not be muted.
    """
    known = {kind.name: kind for kind in notices.list_kinds()}
    for name, channel in channels.items():
        kind = known[rules.require_choice(name, known, field="kind")]
        wanted = Channel(rules.require_choice(channel, Channel.values, field=name))
        if wanted is Channel.PORTAL and not kind.may_mute:
            raise InvalidInput(f"{kind.title}: this always comes by mail.", code="not_mutable", field=name)
        NoticePreference.objects.update_or_create(user_id=actor.id, kind=name, defaults={"channel": wanted})
    changed = sorted(f"{name}: {channel}" for name, channel in channels.items())
    append(actor=actor, action="notice.preferred", target=_self(actor), detail={"channels": changed})
    return list_preferences(actor.id)


@dataclass(frozen=True, slots=True)
class _Row:
    recipient_kind: RecipientKind
    recipient_id: UUID
    announcement: Announcement
    facts: dict[str, Plain]


def _rows_of(announcement: Announcement) -> list[_Row]:
    facts = notices.check_facts(notices.get_kind(announcement.kind), announcement.facts)
    people = [(RecipientKind.PERSON, each) for each in dict.fromkeys(announcement.recipients)]
    workloads = [(RecipientKind.CONSUMER, each) for each in dict.fromkeys(announcement.consumers)]
    return [_Row(kind, identifier, announcement, facts) for kind, identifier in (*people, *workloads)]


def _channels(rows: list[_Row]) -> list[Channel]:
    people = {row.recipient_id for row in rows if row.recipient_kind is RecipientKind.PERSON}
    kinds = {row.announcement.kind for row in rows}
    stored = NoticePreference.objects.filter(user_id__in=people, kind__in=kinds)
    chosen = {(user, kind): channel for user, kind, channel in stored.values_list("user_id", "kind", "channel")}
    return [
        _channel_of(notices.get_kind(row.announcement.kind), chosen.get((row.recipient_id, row.announcement.kind)))
        for row in rows
    ]


def _channel_of(kind: notices.Kind, chosen: str | None) -> Channel:
    """What was chosen, unless the kind has become one that may not be muted."""
    if chosen is None or (chosen == Channel.PORTAL and not kind.may_mute):
        return kind.channel
    return Channel(chosen)


def _values(rows: list[_Row], channels: list[Channel], now: Any) -> dict[str, Any]:
    mail_at = {
        Channel.PORTAL: None,
        Channel.AT_ONCE: now,
        Channel.DIGEST: now + timedelta(seconds=settings.DIGEST_WAIT_SECONDS),
    }
    values = [
        {
            "id": new_id(),
            "recipient_kind": row.recipient_kind.value,
            "recipient_id": row.recipient_id,
            "kind": row.announcement.kind,
            "subject_kind": row.announcement.subject.kind,
            "subject_id": row.announcement.subject.id,
            "dedupe": row.announcement.dedupe,
            "facts": row.facts,
            "channel": channel.value,
            "mail_at": mail_at[channel],
        }
        for row, channel in zip(rows, channels, strict=True)
    ]
    # As JSON, which Python writes far faster than the driver does arrays.
    return {"tenant": binding.get_tenant(), "now": now, "rows": msgspec.json.encode(values).decode()}


def _self(actor: Actor) -> Target:
    # A staff member's own inbox is a person's, whichever door it is read at.
    kind = ActorKind.PERSON if actor.kind is ActorKind.STAFF else actor.kind
    return Target(kind.value, actor.id)
