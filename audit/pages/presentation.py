"""Entries as rows and facts for people. Decides nothing; personal data is shown only while it is kept."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _

from audit import labels, selectors
from audit.models import Outcome
from audit.personal import State
from audit.words import DELIVERIES, delivery_of
from byok_portal.ui.wording import word_moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audit.labels import Subject
    from audit.models import Entry
    from audit.personal import Personal

DASH: Final = "\N{EN DASH}"
_PRIVATE: Final = ("label", "address", "user_agent")


def rows_of(entries: Sequence[Entry], *, slug: str) -> list[dict[str, Any]]:
    """Rows of the list: one query for the personal data and one per kind of label."""
    private = selectors.find_private([entry.event_id for entry in entries])
    subjects = [(e.actor_kind, e.actor_id) for e in entries] + [(e.target_kind, e.target_id) for e in entries]
    names = labels.find_labels(subjects)
    return [row_of(entry, names, private.get(entry.event_id), slug=slug) for entry in entries]


def row_of(
    entry: Entry, names: Mapping[Subject, str], private: Mapping[str, Any] | None, *, slug: str
) -> dict[str, Any]:
    """One entry. A use also shows its code, scope and where it came from."""
    detail, private = detail_of(entry), _visible(entry, private)
    return {
        "number": entry.tseq,
        "time": entry.occurred_at,
        "action": entry.action,
        "outcome": entry.outcome,
        "outcome_label": Outcome(entry.outcome).label,
        "code": _code(entry, detail),
        "actor_label": names.get((entry.actor_kind, entry.actor_id)) or _private_label(private) or str(entry.actor_id),
        "actor_kind": entry.actor_kind.capitalize(),
        "target_label": names.get((entry.target_kind, entry.target_id)) or entry.target_kind.capitalize(),
        "scope": detail.get("scope", ""),
        "network": network_of(detail, private),
        "url": reverse("audit:detail", args=[slug, entry.event_id]),
    }


def detail_of(entry: Entry) -> dict[str, Any]:
    """The recorded detail, read from the leaf: the leaf is what counts."""
    return dict(json.loads(entry.leaf)["body"]["detail"])


def network_of(detail: Mapping[str, Any], private: Mapping[str, Any] | None) -> str:
    """The exact address while it is kept, with the network that admitted it."""
    address, network = (private or {}).get("address", ""), detail.get("network", "")
    return f"{address} ({network})" if address and network else address or network


def facts_of(entry: Entry, row: Mapping[str, Any], personal: Personal, *, slug: str) -> list[tuple[str, Any]]:
    """Everything of one entry, in words."""
    facts: list[tuple[str, Any]] = [
        (_("Actor"), f"{row['actor_label']} ({entry.actor_kind})"),
        (_("Actor id"), str(entry.actor_id)),
        (_("Target"), f"{row['target_label']} ({entry.target_kind})"),
        (_("Target id"), str(entry.target_id)),
        (_("Audit id"), str(entry.event_id)),
        # The first event of a request goes by the request's own id and does not repeat it.
        (_("Request id"), entry.body.get("req") or str(entry.event_id)),
    ]
    facts += [(_word(name), _value(name, value)) for name, value in detail_of(entry).items()]
    return facts + _personal_facts(entry, personal, slug=slug)


def _visible(entry: Entry, private: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A tenant sees that platform staff acted and what they noted, not which person at which address."""
    if private is None or entry.actor_kind != "staff":
        return private
    return {name: value for name, value in private.items() if name not in _PRIVATE}


def _personal_facts(entry: Entry, personal: Personal, *, slug: str) -> list[tuple[str, Any]]:
    if personal.state != State.KEPT:
        return [(_("Personal data"), _word_loss(personal, slug=slug))]
    private = _visible(entry, personal.data) or {}
    names = [*_PRIVATE, *(name for name in private if name not in _PRIVATE)]
    words = {"label": _("Shown as"), "address": _("Address"), "user_agent": _("User agent")}
    return [(words.get(name, _word(name)), private[name]) for name in names if private.get(name)]


def _word_loss(personal: Personal, *, slug: str) -> Any:
    """Why there is nothing to read, truthfully: gone is said only of what is gone."""
    if personal.state == State.SEALED:
        return _("Sealed. It cannot be opened here: this process has no key file.")
    if personal.state == State.ABSENT:
        return _("None is kept: it could not be sealed when this was recorded, or it was erased a moment ago.")
    if personal.state == State.SHREDDED:
        text = _("Erased on %(day)s, when the tenant's keys were shredded.")
        return text % {"day": word_moment(personal.shredded_at) if personal.shredded_at else DASH}
    erasure = personal.erasure
    if erasure is None:
        return _("Erased; the entry keeps its salted hash.")
    names = labels.find_labels([(erasure.actor_kind, erasure.actor_id)])
    who = names.get((erasure.actor_kind, erasure.actor_id)) or f"{erasure.actor_kind} {erasure.actor_id}"
    words = {"day": word_moment(erasure.occurred_at), "who": who}
    text = _("Erased on %(day)s by %(who)s; the entry keeps its salted hash.") % words
    url = reverse("audit:detail", args=[slug, erasure.event_id])
    link = _("Entry %(number)s records it") % {"number": erasure.tseq}
    return format_html('{} <a class="link" href="{}">{}</a>', text, url, link)


def _code(entry: Entry, detail: Mapping[str, Any]) -> str:
    code = detail.get("code", "")
    return "" if code == entry.outcome else str(code)


def _private_label(private: Mapping[str, Any] | None) -> str:
    return str((private or {}).get("label", ""))


def _word(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _value(name: str, value: object) -> Any:
    if name in DELIVERIES and type(value) is int:
        return _("version %(number)s") % {"number": value} if value else _("no version")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, str) and name.endswith("_at"):
        with contextlib.suppress(ValueError):  # what is no time is shown as it is
            return datetime.fromisoformat(value)
    return value.replace("_", " ").capitalize() if name == "reason" and isinstance(value, str) else str(value)


def uses_of(entries: Sequence[Entry], *, slug: str) -> list[dict[str, Any]]:
    """Uses of a key, as its page lists them."""
    shown = []
    for entry, row in zip(entries, rows_of(entries, slug=slug), strict=True):
        delivery, _ = delivery_of(entry.detail)
        shown.append({**row, "at": entry.occurred_at, "consumer": row["actor_label"], "delivery": delivery})
    return shown
