"""How the staff door finds rows in tables of every tenant: filters to type into, pages without a count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import parse_qsl

from django.contrib.admin import SimpleListFilter
from django.core.paginator import Paginator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.http import HttpRequest


NEWEST: Final = ("-created_at", "-id")
"""The order of a long list; its table has an index for it."""
_MAX_DIGITS: Final = 6


class TextFilter(SimpleListFilter):
    """A filter with a text box: a list of every tenant as links would not do for thousands of them."""

    template = "admin/staff/filter_text.html"
    hint: ClassVar[str] = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]  # a filter without choices would not be shown

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        rest = changelist.get_query_string(remove=[str(self.parameter_name), "p"])
        yield {
            "name": self.parameter_name,
            "value": self.value() or "",
            "hint": self.hint,
            "rest": rest,
            "hidden": parse_qsl(rest.removeprefix("?")),
        }

    def text(self) -> str:
        """What was typed, trimmed; NUL never reaches the database."""
        return (self.value() or "").replace("\0", "").strip()[:100]


class WordFilter(SimpleListFilter):
    """A filter over a closed list of words; `words` are (value, label), `field` is the column."""

    words: ClassVar[list[tuple[str, str]]] = []
    field: ClassVar[str] = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return self.words

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        known = {value for value, _label in self.lookup_choices}
        return queryset.filter(**{self.field: self.value()}) if self.value() in known else queryset


class LongList:
    """Mixin before StaffAdmin, for tables of every tenant: no count, and no page with everything."""

    list_max_show_all = 0

    def get_paginator(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        per_page: int,
        orphans: int = 0,  # Django's signature
        allow_empty_first_page: bool = True,  # noqa: FBT001, FBT002
    ) -> Paginator[Any]:
        """Knows this page, and whether there is another."""
        asked = request.GET.get("p", "1")[:_MAX_DIGITS]
        return UncountedPaginator(queryset, per_page, page=int(asked) if asked.isdecimal() else 1)


class UncountedPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Knows only whether there is a next page: counting a log of millions takes longer than reading it."""

    _seen: int | None = None

    def __init__(self, rows: QuerySet[Any], per_page: int, *, page: int) -> None:
        super().__init__(rows, per_page)
        self.page_asked = max(page, 1)

    @property
    def count(self) -> int:  # type: ignore[override, unused-ignore]  # cached in Django
        """Rows up to the end of the page that is asked for, plus one when there are more."""
        if self._seen is None:
            bottom = (self.page_asked - 1) * self.per_page
            rows: Any = self.object_list[bottom : bottom + self.per_page + 1]
            self._seen = bottom + len(rows.values_list("pk", flat=True))
        return self._seen
