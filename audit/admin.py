"""The record in the staff door: entries of every tenant and the platform's own, read-only, never counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.utils.html import format_html

from audit import log_admin, words
from audit.chain import leaf_hash
from audit.models import Entry, Outcome
from byok_portal.boundary.actors import ActorKind
from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.staff import StaffAdmin
from byok_portal.boundary.staff_lists import LongList, TextFilter, WordFilter

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

__all__ = ["EntryAdmin", "log_admin"]

"""Of a page number: further back, filters are the way."""


class ActionFilter(TextFilter):
    """By the action or how it begins."""

    title = "action"
    parameter_name = "action_name"
    hint = "key.revoked, or key."

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = self.text()
        if not text:
            return queryset
        needle = words.action_begins(text) if text.endswith(".") else words.action_is(text)
        return queryset.filter(leaf__startswith=needle)


class OutcomeFilter(WordFilter):
    """By what came of it."""

    title = "outcome"
    parameter_name = field = "outcome"
    words = Outcome.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(leaf__contains=words.outcome_is(value)) if value in Outcome.values else queryset


class ActorKindFilter(WordFilter):
    """By who acted."""

    title = "actor kind"
    parameter_name = field = "actor_kind"
    words = [(kind.value, kind.value.capitalize()) for kind in ActorKind]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        is_known = value in {kind.value for kind in ActorKind}
        return queryset.filter(leaf__contains=words.actor_kind_is(str(value))) if is_known else queryset


@admin.register(Entry)
class EntryAdmin(LongList, StaffAdmin):
    """Newest first. The leaf is shown as it was hashed; personal data stays in the side table."""

    list_display = ("time", "tenant_word", "tseq", "action", "outcome_word", "actor_kind", "target_kind")
    list_filter: ClassVar[Any] = (ActionFilter, OutcomeFilter, ActorKindFilter)
    search_fields = ("event_id",)
    search_help_text = "The id of an entry, as in the header Audit-Id"
    sortable_by = ()
    fields = readonly_fields = (
        *("tenant_word", "tseq", "idx", "event_id", "time", "action", "outcome_word"),
        *("actor_kind", "actor_id", "target_kind", "target_id", "canonical_leaf", "hash"),
    )

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Inside one tenant the index on its numbers serves the page; over all of them the log's own."""
        return ("-tseq", "-idx") if request.GET.get("tenant") else ("-idx",)

    def get_search_results(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        search_term: str,
    ) -> tuple[QuerySet[Any], bool]:
        """By the whole id only: part of a UUID tells nothing, and a scan of the log would."""
        if not search_term:
            return queryset, False
        event_id = parse_id(search_term.strip())
        return (queryset.filter(event_id=event_id) if event_id else queryset.none()), False

    @admin.display(description="time")
    def time(self, entry: Entry) -> datetime:
        return entry.occurred_at

    @admin.display(description="action")
    def action(self, entry: Entry) -> str:
        return entry.action

    @admin.display(description="outcome")
    def outcome_word(self, entry: Entry) -> str:
        return str(Outcome(entry.outcome).label)

    @admin.display(description="actor kind")
    def actor_kind(self, entry: Entry) -> str:
        return entry.actor_kind

    @admin.display(description="actor id")
    def actor_id(self, entry: Entry) -> str:
        return str(entry.actor_id)

    @admin.display(description="target kind")
    def target_kind(self, entry: Entry) -> str:
        return entry.target_kind

    @admin.display(description="target id")
    def target_id(self, entry: Entry) -> str:
        return str(entry.target_id)

    @admin.display(description="tenant")
    def tenant_word(self, entry: Entry) -> str:
        return str(entry.tenant_id)

    @admin.display(description="leaf")
    def canonical_leaf(self, entry: Entry) -> SafeString:
        return format_html('<pre class="leaf" tabindex="0">{}</pre>', entry.leaf)

    @admin.display(description="leaf hash")
    def hash(self, entry: Entry) -> str:
        return leaf_hash(entry.leaf.encode()).hex()
