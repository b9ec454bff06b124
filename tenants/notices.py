"""The closed list of what can be said to people: each kind with its words, its link, how loud it is. Reads no row.

A notice stores its kind and plain facts; the words are made when it is read. No fact may be a secret or an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from tenants.models import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrPromise

Plain: TypeAlias = str | int | bool
MAX_FACT: Final = 300


class Severity(IntEnum):
    """How much it matters, the least first."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


SEVERITY_LABELS: Final = {
    Severity.INFO: _("For your information"),
    Severity.WARNING: _("Needs attention"),
    Severity.CRITICAL: _("Urgent"),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can be said.

    `facts`: the names it is said with, each one required. `subject` and `text` have them as `%(name)s`. `page`: the URL
    name that it leads to, `arguments`: the facts that the address takes after the tenant's slug. `title` names the kind
    itself on the preferences page. A kind that may not be muted always comes by mail.
    """

    name: str
    severity: Severity
    title: str | _StrPromise
    subject: str | _StrPromise
    text: str | _StrPromise
    facts: frozenset[str]
    page: str
    arguments: tuple[str, ...] = ()
    channel: Channel = Channel.DIGEST
    may_mute: bool = True
    for_staff: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """A notice in words."""

    subject: str
    text: str
    severity: Severity
    severity_label: str
    path: str

    @property
    def url(self) -> str:
        """For a mail."""
        return settings.BASE_URL.rstrip("/") + self.path


_KINDS: Final[dict[str, Kind]] = {}


def declare(*kinds: Kind) -> None:
    """Add kinds to the list; each app calls it once, when it is ready."""
    _KINDS.update({kind.name: kind for kind in kinds})


def get_kind(name: str) -> Kind:
    """Raises KeyError for a kind that nobody declared: always a bug."""
    return _KINDS[name]


def list_kinds() -> list[Kind]:
    """What members can be told, the gravest first."""
    members = [kind for kind in _KINDS.values() if not kind.for_staff]
    return sorted(members, key=lambda kind: (-kind.severity, kind.name))


def list_all_kinds() -> list[Kind]:
    """With what staff are told."""
    return list(_KINDS.values())


def check_facts(kind: Kind, facts: Mapping[str, Plain]) -> dict[str, Plain]:
    """Exactly the kind's facts, each a short plain value. Raises ValueError: whoever says it is wrong, not a person."""
    if set(facts) != kind.facts:
        message = f"{kind.name} takes the facts {sorted(kind.facts)}"
        raise ValueError(message)
    for name, value in facts.items():
        # Whatever the annotation says: a Secret or a datetime must not get into a stored row.
        if type(value) not in {str, int, bool} or len(str(value)) > MAX_FACT:
            message = f"{kind.name}: {name} must be a short text or a number"
            raise ValueError(message)
    return dict(facts)


def say(kind_name: str, facts: Mapping[str, Any], *, slug: str) -> Said:
    """A notice in words and with its path; `slug`: the tenant's, unused in what staff are told."""
    kind = get_kind(kind_name)
    subject = " ".join((str(kind.subject) % facts).split())  # one line, whatever a name holds
    place = [] if kind.for_staff else [slug]
    return Said(
        subject=subject,
        text=str(kind.text) % facts,
        severity=kind.severity,
        severity_label=str(SEVERITY_LABELS[kind.severity]),
        path=reverse(kind.page, args=[*place, *(facts[name] for name in kind.arguments)]),
    )
