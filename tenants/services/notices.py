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
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

    from byok_portal.boundary.actors import Actor
    from tenants.notices import Plain

GATHER: Final = "tenants.tasks.gather_mails"
# What is common to many recipients goes over once, and the database looks up how each of them wants to hear.
_INSERT: Final = """
WITH said AS (
  INSERT INTO tenants_notice (id, tenant_id, created_at, recipient_kind, recipient_id, kind, subject_kind, subject_id,
                              dedupe, facts, channel, mail_at)
  SELECT r.id, %(tenant)s, %(now)s, r.kind, r.recipient_id, n.kind, n.subject_kind, n.subject_id,
         n.dedupe, n.facts, w.channel, w.mail_at
  FROM json_to_recordset(%(rows)s::json) AS n (
    kind text, subject_kind text, subject_id uuid, dedupe text, facts jsonb, ids uuid[], recipients uuid[], kinds text[]
  )
  CROSS JOIN LATERAL unnest(n.ids, n.recipients, n.kinds) AS r (id, recipient_id, kind)
  LEFT JOIN tenants_noticepreference p ON p.tenant_id = %(tenant)s AND r.kind = 'person'
    AND p.user_id = r.recipient_id AND p.kind = n.kind
  LEFT JOIN json_to_recordset(%(ways)s::json) AS w (kind text, chosen text, channel text, mail_at timestamptz)
    ON w.kind = n.kind AND w.chosen = coalesce(p.channel, '')
  ORDER BY r.recipient_id, n.dedupe
  ON CONFLICT (tenant_id, recipient_id, dedupe) DO NOTHING
  RETURNING channel
)
SELECT count(*), count(*) FILTER (WHERE channel = 'at_once') FROM said
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
    rows = [row for each in announcements if (row := _row_of(each))["ids"]]
    if not rows:
        return 0
    kinds = [notices.get_kind(name) for name in {each.kind for each in announcements}]
    now = timezone.now()
    # As JSON, which Python writes far faster than the driver does arrays.
    values: dict[str, Any] = {
        "tenant": binding.get_tenant(),
        "now": now,
        "rows": msgspec.json.encode(rows).decode(),
        "ways": msgspec.json.encode([way for kind in kinds for way in _ways_of(kind, now)]).decode(),
    }
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_INSERT, values)
        said, at_once = cursor.fetchone()
    if at_once:
        # In the same transaction: an outbox. Lost or doubled, the clock finds the same mail due.
        async_task(GATHER, save=False)
    return int(said)


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


def _row_of(announcement: Announcement) -> dict[str, Any]:
    """An announcement as the statement takes it, with an id for the notice of each recipient."""
    people, workloads = dict.fromkeys(announcement.recipients), dict.fromkeys(announcement.consumers)
    recipients = [*people, *workloads]
    return {
        "kind": announcement.kind,
        "subject_kind": announcement.subject.kind,
        "subject_id": announcement.subject.id,
        "dedupe": announcement.dedupe,
        "facts": notices.check_facts(notices.get_kind(announcement.kind), announcement.facts),
        "ids": [new_id() for _ in recipients],
        "recipients": recipients,
        "kinds": [RecipientKind.PERSON.value] * len(people) + [RecipientKind.CONSUMER.value] * len(workloads),
    }


def _ways_of(kind: notices.Kind, now: datetime) -> Iterator[dict[str, Any]]:
    """How a kind reaches who has chosen each of the channels, and who has chosen none."""
    mail_at = {
        Channel.PORTAL: None,
        Channel.AT_ONCE: now,
        Channel.DIGEST: now + timedelta(seconds=settings.DIGEST_WAIT_SECONDS),
    }
    for chosen in (None, *Channel.values):
        channel = _channel_of(kind, chosen)
        yield {"kind": kind.name, "chosen": chosen or "", "channel": channel.value, "mail_at": mail_at[channel]}


def _channel_of(kind: notices.Kind, chosen: str | None) -> Channel:
    """What was chosen, unless the kind has become one that may not be muted."""
    if chosen is None or (chosen == Channel.PORTAL and not kind.may_mute):
        return kind.channel
    return Channel(chosen)


def _self(actor: Actor) -> Target:
    # A staff member's own inbox is a person's, whichever door it is read at.
    kind = ActorKind.PERSON if actor.kind is ActorKind.STAFF else actor.kind
    return Target(kind.value, actor.id)
