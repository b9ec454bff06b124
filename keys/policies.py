"""What a policy asks of a key, and the moments that follow from it. Must never import Django or read a clock.

A field that is None says nothing. Age counts from the day a version was activated: no drain and no roll back resets it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from byok_portal.errors import InvalidInput, InvalidInputs, PortalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class Overdue(StrEnum):
    """What happens to a key whose rotation is overdue; each word includes those before it."""

    NOTIFY = "notify"
    BLOCK_GRANTS = "block_grants"
    SUSPEND = "suspend"


@dataclass(frozen=True, slots=True)
class Policy:
    """One layer's rules, or several layers' together.

    `max_lifetime_days` is hard: a version is refused from its end on, whatever `overdue` says. `rotation_days` is the
    date that people are held to: from then on `overdue` counts, and its suspension comes `grace_days` later. So it is
    with `recertify_days`, counted from the day on which an owner last confirmed the key.
    """

    max_lifetime_days: int | None = None
    rotation_days: int | None = None
    max_drain_hours: int | None = None
    dormant_days: int | None = None
    proof_days: int | None = None
    recertify_days: int | None = None
    reminder_days: tuple[int, ...] | None = None
    overdue: Overdue | None = None
    grace_days: int | None = None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What follows for a version of one activation, or for a key that was last confirmed then; None: never."""

    rotation_due_at: datetime | None = None
    lifetime_ends_at: datetime | None = None
    blocks_grants_at: datetime | None = None
    suspends_at: datetime | None = None
    recertify_due_at: datetime | None = None
    unconfirmed_blocks_at: datetime | None = None
    unconfirmed_suspends_at: datetime | None = None

    @property
    def due_at(self) -> datetime | None:
        """When another version should be there at the latest."""
        return earliest(self.rotation_due_at, self.lifetime_ends_at)


@dataclass(frozen=True, slots=True)
class Edition:
    """A policy with its number in its layer. In force is the highest number whose start has come."""

    number: int
    starts_at: datetime
    policy: Policy


LONGEST_DAYS: Final = 3 * 366
BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "max_lifetime_days": (1, LONGEST_DAYS),
    "rotation_days": (1, LONGEST_DAYS),
    "max_drain_hours": (0, 30 * 24),
    "dormant_days": (1, LONGEST_DAYS),
    "proof_days": (1, LONGEST_DAYS),
    "recertify_days": (1, LONGEST_DAYS),
    "grace_days": (0, 30),
}
"""Whole numbers, from and to. The smaller one is the stricter one in every field."""

DEFAULT_REMINDERS: Final = (30, 14, 7, 1)
MAX_REMINDERS: Final = 10
_LATEST_REMINDER: Final = 365
_RANKS: Final = {word: rank for rank, word in enumerate(Overdue)}


def strictest(layers: Iterable[Policy]) -> Policy:
    """What holds under all of them: the smallest numbers, every reminder, the strongest consequence."""
    given = list(layers)
    reminders = {day for layer in given for day in layer.reminder_days or ()}
    spoken = [layer.overdue for layer in given if layer.overdue is not None]
    numbers: dict[str, Any] = {
        name: min((value for layer in given if (value := getattr(layer, name)) is not None), default=None)
        for name in BOUNDS
    }
    return Policy(
        **numbers,
        reminder_days=tuple(sorted(reminders, reverse=True)) if reminders else None,
        overdue=max(spoken, key=_RANKS.__getitem__, default=None),
    )


def find_laxer(policy: Policy, floor: Policy) -> list[tuple[str, str]]:
    """(field, rule) of everything that `policy` says and `floor` does not allow. Silence is never laxer."""
    found = [
        (name, f"at most {bound}, as the policy above it says")
        for name in BOUNDS
        if (own := getattr(policy, name)) is not None and (bound := getattr(floor, name)) is not None and own > bound
    ]
    missing = set(floor.reminder_days or ()) - set(policy.reminder_days or ())
    if policy.reminder_days is not None and missing:
        days = ", ".join(map(str, sorted(missing, reverse=True)))
        found.append(("reminder_days", f"includes {days}, as the policy above it says"))
    if policy.overdue and floor.overdue and _RANKS[policy.overdue] < _RANKS[floor.overdue]:
        found.append(("overdue", f"at least {floor.overdue.value}, as the policy above it says"))
    return found


def require_no_laxer(policy: Policy, floor: Policy) -> None:
    """Raises InvalidInputs, each with the field and the rule."""
    _raise(
        [InvalidInput(f"{_word(name)}: {rule}.", code="laxer", field=name) for name, rule in find_laxer(policy, floor)]
    )


def parse_policy(document: object) -> Policy:
    """The policy in a JSON object; null is silence. Raises InvalidInputs, each with the field and the rule."""
    if not isinstance(document, dict):
        raise InvalidInput("Rules are an object of fields.", code="not_an_object", field="rules")
    known = {each.name for each in fields(Policy)}
    problems: list[InvalidInput] = []
    values: dict[str, Any] = {}
    for name, value in document.items():
        if name not in known:
            problems.append(InvalidInput(f"{str(name)[:60]!r} is no rule.", code="unknown_field", field="rules"))
        elif value is not None:
            try:
                values[name] = _parse(name, value)
            except InvalidInput as problem:
                problems.append(problem)
    _raise(problems)
    rotation, lifetime = values.get("rotation_days"), values.get("max_lifetime_days")
    if rotation and lifetime and rotation > lifetime:
        message = "Rotation days: at most the maximum lifetime, or nobody could keep it."
        raise InvalidInput(message, code="after_lifetime", field="rotation_days")
    return Policy(**values)


def to_document(policy: Policy) -> dict[str, Any]:
    """The JSON object of a policy: only what it speaks about."""
    stored = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(policy).items()}
    return {name: value for name, value in stored.items() if value is not None}


def deadlines(policy: Policy, activated_at: datetime | None) -> Deadlines:
    """When a version that was activated then is due, blocked and suspended. A silent grace is the longest one.

    For a key that was last confirmed then: when it is to be confirmed again, and what follows.
    """
    if activated_at is None:
        return Deadlines()
    rotation = _after(activated_at, policy.rotation_days)
    lifetime = _after(activated_at, policy.max_lifetime_days)
    blocks, suspends = _consequences(policy, rotation)
    recertify = _after(activated_at, policy.recertify_days)
    unconfirmed_blocks, unconfirmed_suspends = _consequences(policy, recertify)
    return Deadlines(
        rotation_due_at=rotation,
        lifetime_ends_at=lifetime,
        blocks_grants_at=earliest(blocks, lifetime),
        suspends_at=earliest(suspends, lifetime),
        recertify_due_at=recertify,
        unconfirmed_blocks_at=unconfirmed_blocks,
        unconfirmed_suspends_at=unconfirmed_suspends,
    )


def _consequences(policy: Policy, due_at: datetime | None) -> tuple[datetime | None, datetime | None]:
    rank = _RANKS[policy.overdue or Overdue.NOTIFY]
    grace = BOUNDS["grace_days"][1] if policy.grace_days is None else policy.grace_days
    blocks = due_at if rank >= _RANKS[Overdue.BLOCK_GRANTS] else None
    return blocks, _after(due_at, grace) if rank >= _RANKS[Overdue.SUSPEND] else None


def in_force(editions: Iterable[Edition], at: datetime) -> Policy:
    """One layer's policy at a moment."""
    begun = [edition for edition in editions if edition.starts_at <= at]
    return max(begun, key=lambda edition: edition.number).policy if begun else Policy()


def effective(layers: Sequence[Sequence[Edition]], at: datetime) -> Policy:
    """What all layers ask together at a moment."""
    return strictest(in_force(layer, at) for layer in layers)


def list_stages(layers: Sequence[Sequence[Edition]], now: datetime) -> list[tuple[datetime, Policy]]:
    """What all layers ask together from now on: the present policy, then each that is scheduled, with its start."""
    changes = {edition.starts_at for layer in layers for edition in layer if edition.starts_at > now}
    return [(start, effective(layers, start)) for start in (now, *sorted(changes))]


def find_first(
    stages: Sequence[tuple[datetime, Policy]],
    activated_at: datetime | None,
    which: Callable[[Deadlines], datetime | None],
) -> datetime | None:
    """The first moment at which the policy of that moment says so. One that has come already may lie in the past."""
    for number, (start, policy) in enumerate(stages):
        moment = which(deadlines(policy, activated_at))
        if moment is None:
            continue
        if number:
            moment = max(moment, start)
        if number + 1 == len(stages) or moment < stages[number + 1][0]:
            return moment
    return None


def earliest(*moments: datetime | None) -> datetime | None:
    """The first of the moments that are ever."""
    return min((moment for moment in moments if moment is not None), default=None)


def _after(moment: datetime | None, days: int | None) -> datetime | None:
    return None if moment is None or days is None else moment + timedelta(days=days)


def _parse(name: str, value: object) -> Any:
    if name == "overdue":
        if value not in list(Overdue):
            known = ", ".join(Overdue)
            raise InvalidInput(f"Overdue must be one of: {known}.", code="unknown_choice", field=name)
        return Overdue(str(value))
    if name == "reminder_days":
        return _parse_reminders(value)
    return _parse_number(name, value, *BOUNDS[name])


def _parse_reminders(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_REMINDERS:
        rule = f"Reminder days are 1 to {MAX_REMINDERS} numbers."
        raise InvalidInput(rule, code="out_of_range", field="reminder_days")
    days = {_parse_number("reminder_days", day, 1, _LATEST_REMINDER) for day in value}
    return tuple(sorted(days, reverse=True))


def _parse_number(name: str, value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        rule = f"{_word(name)} must be a whole number from {least} to {most}."
        raise InvalidInput(rule, code="out_of_range", field=name)
    return value


def _word(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _raise(problems: list[InvalidInput]) -> None:
    if len(problems) == 1:
        raise problems[0]
    if problems:
        error: PortalError = InvalidInputs(problems)
        raise error
