"""Filters and paging of the audit log, from the query string. A bad value is named, never guessed at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from audit.models import Outcome
from audit.selectors import Filters
from byok_portal.boundary import operations
from byok_portal.boundary.actors import ActorKind

if TYPE_CHECKING:
    from datetime import date

    from django.http import QueryDict

_OUTCOMES: Final = [(word.value, word.label) for word in Outcome]
_KINDS: Final = [(kind.value, kind.value.capitalize()) for kind in ActorKind]
_DIGITS: Final = 18
"""Fewer than a bigint has, so that every number that is let through can be compared in the database."""


@dataclass(frozen=True, slots=True)
class Paging:
    """Where a page begins: below or above a number, or at the newest entry."""

    newer_than: int | None = None
    older_than: int | None = None


def paging_of(query: QueryDict) -> Paging:
    """The paging in a query string; what is not a number counts as absent."""
    return Paging(_number(query.get("newer_than", "")), _number(query.get("older_than", "")))


def list_actions() -> list[str]:
    """Every action that can be in the log: the events of the operations, and the operations for denials."""
    rows = operations.REGISTRY.values()
    return sorted({event for row in rows for event in row.events} | {row.name for row in rows})


class FilterForm(forms.Form):
    """`from` and `to` are days, both included; `from` is no Python name, so its field is added by hand."""

    action = forms.ChoiceField(required=False, label=_("Action"))
    outcome = forms.ChoiceField(required=False, label=_("Outcome"), choices=[("", ""), *_OUTCOMES])
    actor_kind = forms.ChoiceField(required=False, label=_("Actor"), choices=[("", ""), *_KINDS])
    key = forms.UUIDField(required=False, label=_("Key"))
    consumer = forms.UUIDField(required=False, label=_("Consumer"))

    def __init__(self, data: QueryDict, *, keys: list[tuple[str, str]], consumers: list[tuple[str, str]]) -> None:
        super().__init__(data)
        self.options = {
            "action_options": [(action, action) for action in list_actions()],
            "outcome_options": _OUTCOMES,
            "actor_kind_options": _KINDS,
            "key_options": keys,
            "consumer_options": consumers,
        }
        self.fields["action"].choices = [("", ""), *self.options["action_options"]]  # type: ignore[attr-defined]
        self.fields["from"] = forms.DateField(required=False, label=_("From"))
        self.fields["to"] = forms.DateField(required=False, label=_("To"))

    def filters(self) -> Filters:
        """The valid form as filters."""
        values = self.cleaned_data
        until: date | None = values["to"]
        return Filters(
            action=values["action"],
            outcome=values["outcome"],
            actor_kind=values["actor_kind"],
            actor_id=values["consumer"],
            target_id=values["key"],
            since=_start_of(values["from"]),
            until=_start_of(until + timedelta(days=1)) if until else None,
        )

    @property
    def query(self) -> str:
        """The filters that are set, as a query string without paging."""
        return urlencode({name: value for name, value in self._shown.items() if value})

    @property
    def messages(self) -> list[str]:
        """Each bad value with its field."""
        return [f"{self.fields[name].label}: {text}" for name, texts in self.errors.items() for text in texts]

    @property
    def context(self) -> dict[str, Any]:
        """What the template shows of the filters."""
        return {"filters": self._shown, **self.options}

    @property
    def _shown(self) -> dict[str, str]:
        """A bad value is named in a message, not put back: no field could show it."""
        return {name: "" if name in self.errors else str(self.data.get(name, "")) for name in self.fields}


def _start_of(day: date | None) -> datetime | None:
    return datetime.combine(day, time.min, tzinfo=UTC) if day else None


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    return int(text) if is_number else None
