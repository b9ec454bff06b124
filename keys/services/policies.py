"""Setting the policies of the platform, a tenant and a key. What was set is never changed: a new edition follows it.

A tenant may be stricter than the platform and a key stricter than its tenant, never laxer.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import binding, jobs
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, InvalidInput, Refused
from keys import rulebook, selectors
from keys.models import AppliedPolicy, PlatformPolicy, PolicyEdition
from keys.policies import Policy, parse_policy, require_no_laxer, to_document
from keys.services import clocks, reminders
from tenants import rules as inputs
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from keys.models import Key

APPLY: Final = "policy.apply"
FURTHEST: Final = timedelta(days=366)
_SLACK: Final = timedelta(minutes=5)
_CLOCK: Final = Absent("the clock brings a platform policy to every tenant; staff set it in the staff admin")


@operation(
    "policy.set",
    permission=Permission.POLICY_SET,
    events=("policy.changed",),
    page="keys:policy-set",
    api="api:policy",
)
def set_tenant(
    *,
    actor: Actor,
    rules: Mapping[str, Any],
    starts_at: datetime | None = None,
    note: str = "",
    replaces: int | None = None,
    accept_suspensions: bool = False,
) -> PolicyEdition:
    """Set the tenant's policy, now or from a date on; it also calls off what was scheduled before.

    Raises InvalidInput(s) naming field and rule, Conflict when `replaces` is not the newest edition any more, Refused
    when keys are suspended as soon as it starts and that was not accepted.
    """
    return _set(actor, None, rules, starts_at, note, replaces=replaces, accept_suspensions=accept_suspensions)


@operation(
    "policy.set_key",
    permission=Permission.POLICY_SET,
    events=("policy.changed",),
    page="keys:key-policy-set",
    api="api:key-policy",
)
def set_key(
    *,
    actor: Actor,
    key_id: UUID,
    rules: Mapping[str, Any],
    starts_at: datetime | None = None,
    note: str = "",
    replaces: int | None = None,
    accept_suspensions: bool = False,
) -> PolicyEdition:
    """Set what one key asks beyond its tenant's policy. Raises as `set_tenant`, and Conflict for an ended key."""
    return _set(actor, key_id, rules, starts_at, note, replaces=replaces, accept_suspensions=accept_suspensions)


@operation(
    "platform.set_policy",
    permission=Permission.PLATFORM_POLICY,
    events=("platform.policy_changed",),
    page="admin:keys_platformpolicy_add",
    api=Absent("the floor of every tenant is set by platform staff, in the staff admin"),
    alias=binding.STAFF,
)
def set_platform(
    *, actor: Actor, rules: Mapping[str, Any], starts_at: datetime | None = None, note: str = ""
) -> PlatformPolicy:
    """Set the floor of every tenant. It counts from its start on; each tenant's clocks learn of it by a job.

    Raises InvalidInput(s) naming field and rule, Conflict when another one was set at the same time.
    """
    policy, start, text = _check(rules, starts_at, note)
    row = PlatformPolicy(
        number=rulebook.newest_number() + 1,
        rules=to_document(policy),
        starts_at=start,
        set_by_id=actor.id,
        note=text,
    )
    _insert(row)
    detail = {"number": row.number, "starts_at": _written(start), **row.rules}
    target = Target("tenant", binding.get_tenant())
    append(actor=actor, action="platform.policy_changed", target=target, detail=detail, private={"note": text})
    return row


@operation(
    "policy.apply",
    permission=Permission.JOB_RUN,
    events=("policy.applied",),
    page=_CLOCK,
    api=_CLOCK,
)
def apply(*, actor: Actor) -> int:
    """Set the clocks of the tenant's keys by the newest platform policy; answers how many changed.

    Raises Conflict when they are.
    """
    clocks.change_policies()
    newest = rulebook.newest_number()
    applied, _ = AppliedPolicy.objects.get_or_create(defaults={"number": 0})
    if applied.number >= newest:
        raise Conflict("The newest platform policy is applied.", code="applied")
    changed = clocks.reset_all().keys
    reminders.look_again(timezone.now().date())
    AppliedPolicy.objects.filter(id=applied.id).update(number=newest)
    detail = {"number": newest, "keys": changed}
    append(actor=actor, action="policy.applied", target=Target("tenant", binding.get_tenant()), detail=detail)
    return changed


def enqueue_apply() -> None:
    """One job for the bound tenant."""
    with transaction.atomic():
        jobs.enqueue(APPLY, subject_id=binding.get_tenant())


def reminder_days_of(key: Key) -> tuple[int, ...]:
    """Days before a date of the key on which its people are told, the longest first."""
    return rulebook.reminders_of(rulebook.policy_of(key))


def _set(
    actor: Actor,
    key_id: UUID | None,
    rules: Mapping[str, Any],
    starts_at: datetime | None,
    note: str,
    *,
    replaces: int | None,
    accept_suspensions: bool,
) -> PolicyEdition:
    require_active()
    policy, start, text = _check(rules, starts_at, note)
    clocks.change_policies()
    key = selectors.lock_key(key_id) if key_id is not None else None
    if key is not None and key.state in selectors.ENDED_KEYS:
        raise Conflict(f"The key is {key.state}; no policy can be set for it.", code="key_state")
    book = rulebook.read_book([key.id] if key else ())
    require_no_laxer(policy, book.floor(key_id, at=start))
    newest = rulebook.newest_of(book.layers(key_id)[2 if key_id else 1])
    number = newest.number if newest else 0
    if replaces is not None and replaces != number:
        raise Conflict("Another policy was set meanwhile. Look at it first.", code="policy_changed")
    row = PolicyEdition(
        key=key,
        number=number + 1,
        rules=to_document(policy),
        starts_at=start,
        set_by_id=actor.id,
        note=text,
    )
    _insert(row)
    changed = clocks.reset_all(key_id)
    reminders.look_again(timezone.now().date())
    suspended = changed.count_suspended(start)
    if suspended and not accept_suspensions:
        message = f"{suspended} of the keys are older than this allows, and are suspended when it starts. Accept that."
        raise Refused(message, code="suspends_keys", field="accept_suspensions")
    detail = {
        "number": row.number,
        "starts_at": _written(start),
        "keys_changed": changed.keys,
        "keys_suspended": suspended,
        **row.rules,
    }
    target = Target("key", key.id) if key else Target("tenant", binding.get_tenant())
    append(actor=actor, action="policy.changed", target=target, detail=detail, private={"note": text})
    return row


def _check(rules: Mapping[str, Any], starts_at: datetime | None, note: str) -> tuple[Policy, datetime, str]:
    policy, now = parse_policy(rules), timezone.now()
    start = starts_at or now
    if start < now - _SLACK:
        raise InvalidInput("Starts at: a policy cannot start in the past.", code="starts_in_past", field="starts_at")
    if start > now + FURTHEST:
        raise InvalidInput("Starts at is at most a year ahead.", code="starts_too_far", field="starts_at")
    return policy, max(start, now), inputs.require_text(note, field="note", maximum=500, required=False)


def _insert(row: PolicyEdition | PlatformPolicy) -> None:
    try:
        with transaction.atomic(using=binding.get_alias()):
            row.save(force_insert=True)
    except IntegrityError:
        raise Conflict("Another policy was set at the same time. Look at it first.", code="policy_changed") from None


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
