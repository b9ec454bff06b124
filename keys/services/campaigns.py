"""Asking owners to confirm their keys: starting, closing and calling off a campaign. Answers are in `confirming`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import connections
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.actors import ActorKind
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, InvalidInput, NotFound, Refused
from keys import recertification, rulebook, selectors
from keys.models import Campaign, CampaignItem, Key
from keys.policies import Overdue
from keys.services import announcing, clocks
from keys.states import CampaignState, Environment, ItemState, KeyState
from tenants import rules
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

ALL, ENVIRONMENT, PROVIDER, RISK, POLICY = "all", "environment", "provider", "risk", "policy"
SELECTIONS: Final = (ALL, ENVIRONMENT, PROVIDER, RISK)
LONGEST: Final = timedelta(days=366)
LEAD: Final = timedelta(days=30)
"""How long before a policy's date the clock asks; half the interval when that is shorter."""
_CLOCK: Final = Absent("the clock asks when a policy wants it; people start a campaign with campaign.start")
_PEOPLE: Final = Absent("what follows from no answer is called off by people, in the web UI")


@operation(
    "campaign.start",
    permission=Permission.CAMPAIGN_RUN,
    events=("campaign.started",),
    page="keys:campaign-start",
    api="api:campaigns",
)
def start(
    *,
    actor: Actor,
    name: str,
    due_on: date,
    selection: str = ALL,
    value: str = "",
    consequence: str = Overdue.NOTIFY.value,
    note: str = "",
) -> Campaign:
    """Ask the owners of the chosen active keys to confirm each of them by a day.

    Raises InvalidInput naming the field, also when nothing is chosen.
    """
    require_active()
    today = timezone.now().date()
    if not today < due_on <= today + LONGEST:
        raise InvalidInput("Due on: from tomorrow to a year ahead.", code="out_of_range", field="due_on")
    campaign = Campaign(
        name=rules.require_text(name, field="name", maximum=120),
        selection=rules.require_choice(selection, SELECTIONS, field="selection"),
        value=_check_value(selection, value),
        due_on=due_on,
        consequence=rules.require_choice(consequence, [word.value for word in Overdue], field="consequence"),
        note=rules.require_text(note, field="note", maximum=500, required=False),
        started_by_id=actor.id,
    )
    clocks.change_policies()
    keys = _select(campaign.selection, campaign.value)
    if not keys:
        raise InvalidInput("No active key is chosen by this.", code="nothing_selected", field="selection")
    end = selectors.end_of(due_on)
    _store(campaign, [(key, due_on, end) for key in keys])
    if campaign.consequence == Overdue.SUSPEND:
        clocks.reset_all()
    return _started(actor, campaign, keys)


@operation("campaign.clock_start", permission=Permission.JOB_RUN, events=("campaign.started",), page=_CLOCK, api=_CLOCK)
def start_by_policy(*, actor: Actor) -> Campaign:
    """Ask about every key whose policy wants a confirmation soon and about which nobody has been asked.

    Raises Conflict when there is none. The policies say what follows without an answer, asked or not.
    """
    clocks.change_policies()
    due = _list_unasked()
    if not due:
        raise Conflict("Nobody is to be asked now.", code="nothing_due")
    first = min(moment for _, moment in due).date()
    campaign = Campaign(
        name=f"By policy, {timezone.now():%Y-%m-%d}",
        selection=POLICY,
        due_on=first,
        consequence=rulebook.read_book().policy().overdue or Overdue.NOTIFY,
        by_policy=True,
        started_by_id=actor.id,
    )
    _store(campaign, [(key, moment.date(), moment) for key, moment in due])
    return _started(actor, campaign, [key for key, _ in due])


@operation(
    "campaign.close",
    permission=Permission.CAMPAIGN_RUN,
    events=("campaign.closed",),
    page="keys:campaign-close",
    api="api:campaign-close",
)
def close(*, actor: Actor, campaign_id: UUID) -> Campaign:
    """End a campaign whose day is over. What has no answer keeps its consequence until an owner confirms it.

    Raises Conflict unless it is open, Refused while there is time to answer.
    """
    campaign = lock_open(campaign_id)
    progress = recertification.progress_of([campaign.id])[campaign.id]
    if progress.confirmed < progress.total and timezone.now().date() <= campaign.due_on:
        raise Refused("Owners still have time to answer. Call it off instead.", code="not_over")
    end(actor, campaign)
    return campaign


@operation(
    "campaign.cancel",
    permission=Permission.CAMPAIGN_RUN,
    events=("campaign.cancelled",),
    page="keys:campaign-cancel",
    api=_PEOPLE,
)
def cancel(*, actor: Actor, campaign_id: UUID, note: str) -> Campaign:
    """Call an open campaign off: nothing follows from it any more. A key that it suspended is resumed by a person.

    Raises Conflict unless it is open, Refused for somebody who still has to answer in it.
    """
    text = rules.require_text(note, field="note", maximum=500)
    clocks.change_policies()
    campaign = lock_open(campaign_id)
    open_ones = CampaignItem.objects.filter(campaign_id=campaign.id, state__in=recertification.UNANSWERED)
    owners = open_ones.exclude(key__state__in=selectors.ENDED_KEYS).values_list("key__owner_id", "key__backup_owner_id")
    if actor.kind is not ActorKind.PERSON or any(actor.id in pair for pair in owners):
        message = "You still have to answer in this campaign. Answer first, or have another owner call it off."
        raise Refused(message, code="own_items")
    campaign.state, campaign.ended_at = CampaignState.CANCELLED, timezone.now()
    campaign.save(update_fields=["state", "ended_at"])
    if campaign.consequence == Overdue.SUSPEND:
        clocks.reset_all()
    append(
        actor=actor,
        action="campaign.cancelled",
        target=Target("campaign", campaign.id),
        detail={"unanswered": len(owners)},
        private={"note": text},
    )
    return campaign


def get(campaign_id: UUID) -> Campaign:
    """One campaign of the bound tenant. Raises NotFound."""
    found = Campaign.objects.filter(id=campaign_id).first()
    if found is None:
        raise NotFound
    return found


def lock_open(campaign_id: UUID) -> Campaign:
    """The campaign, locked. Raises NotFound, Conflict when it has ended."""
    campaign = Campaign.objects.lock().filter(id=campaign_id).first()
    if campaign is None:
        raise NotFound
    if campaign.state != CampaignState.OPEN:
        raise Conflict(f"The campaign is {campaign.state} already.", code="campaign_state")
    return campaign


def end(actor: Actor, campaign: Campaign) -> None:
    """Write the close of a locked, open campaign; part of operations that declare `campaign.closed`."""
    progress = recertification.progress_of([campaign.id])[campaign.id]
    campaign.state, campaign.ended_at = CampaignState.CLOSED, timezone.now()
    campaign.save(update_fields=["state", "ended_at"])
    detail = {"confirmed": progress.confirmed, "unconfirmed": progress.total - progress.confirmed}
    append(actor=actor, action="campaign.closed", target=Target("campaign", campaign.id), detail=detail)


def list_unasked_tenants(limit: int = 1000) -> list[UUID]:
    """Tenants in which somebody may have to be asked by policy."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM directory_unasked_tenants(%s, %s)", [timezone.now() + LEAD, limit])
        return [row[0] for row in cursor.fetchall()]


def _check_value(selection: str, value: str) -> str:
    if selection == ENVIRONMENT:
        return rules.require_choice(value, [word.value for word in Environment], field="value")
    if selection == PROVIDER:
        known = Key.objects.values_list("provider__slug", flat=True).distinct()
        return rules.require_choice(value, list(known), field="value")
    return ""


def _select(selection: str, value: str) -> list[Key]:
    found = Key.objects.filter(state=KeyState.ACTIVE).select_related("provider").order_by("id")
    if selection == ENVIRONMENT:
        found = found.filter(environment=value)
    if selection == PROVIDER:
        found = found.filter(provider__slug=value)
    return [key for key in found if selection != RISK or recertification.is_high_risk(key)]


def _list_unasked() -> list[tuple[Key, datetime]]:
    now = timezone.now()
    soon = Key.objects.filter(state__in=[KeyState.ACTIVE, KeyState.SUSPENDED], recertify_due_at__lte=now + LEAD)
    # Asked for this date is asked, whatever became of the campaign: or its end would begin the next. A person's own
    # that was called off asked for nothing in the end.
    over = Q(due_at__gte=OuterRef("recertify_due_at")) & (
        Q(campaign__by_policy=True) | Q(campaign__state=CampaignState.CLOSED)
    )
    asked = CampaignItem.objects.exclude(state=ItemState.CONFIRMED).filter(
        Q(campaign__state=CampaignState.OPEN) | over, key_id=OuterRef("id")
    )
    keys = list(soon.exclude(Exists(asked)).order_by("id"))
    book = rulebook.read_book([key.id for key in keys])
    return [
        (key, key.recertify_due_at)
        for key in keys
        if key.recertify_due_at is not None and key.recertify_due_at <= now + _lead(book.policy(key.id).recertify_days)
    ]


def _lead(days: int | None) -> timedelta:
    return LEAD if days is None else min(LEAD, timedelta(days=days) / 2)


def _store(campaign: Campaign, asked: Iterable[tuple[Key, date, datetime]]) -> None:
    campaign.save(force_insert=True)
    CampaignItem.objects.bulk_create(
        [
            CampaignItem(tenant_id=campaign.tenant_id, campaign=campaign, key=key, due_on=due_on, due_at=due_at)
            for key, due_on, due_at in asked
        ]
    )


def _started(actor: Actor, campaign: Campaign, keys: list[Key]) -> Campaign:
    announcing.tell_asked(campaign, keys)
    append(
        actor=actor,
        action="campaign.started",
        target=Target("campaign", campaign.id),
        detail={
            "selection": campaign.selection,
            "value": campaign.value,
            "due_on": str(campaign.due_on),
            "consequence": str(campaign.consequence),
            "keys": len(keys),
        },
        private={"name": campaign.name, "note": campaign.note},
    )
    return campaign
