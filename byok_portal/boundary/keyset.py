"""Keyset pages of lists that are ordered by creation, newest first: stable while rows are added, and one index walk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.http import urlencode

from byok_portal.boundary.identifiers import parse_id

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import QueryDict


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page and the addresses of its neighbours, as `ui/pager.html` wants them."""

    rows: list[Any]
    urls: dict[str, str]


def take_page(found: QuerySet[Any], query: QueryDict, *, size: int) -> Page:
    """One page. Ids are UUIDv7, so they order rows by creation; anything but an id in `newer` or `older` is ignored."""
    newer, older = parse_id(query.get("newer", "")), parse_id(query.get("older", ""))
    if newer is not None:
        rows = list(found.filter(id__gt=newer).order_by("id")[: size + 1])
        more_newer, more_older = len(rows) > size, True
        rows = rows[:size][::-1]
    else:
        rows = list((found.filter(id__lt=older) if older else found).order_by("-id")[: size + 1])
        more_newer, more_older = older is not None, len(rows) > size
        rows = rows[:size]
    kept = {name: value for name, value in query.items() if value and name not in {"newer", "older"}}
    urls = {
        "newer_url": f"?{urlencode({**kept, 'newer': rows[0].id})}" if rows and more_newer else "",
        "older_url": f"?{urlencode({**kept, 'older': rows[-1].id})}" if rows and more_older else "",
    }
    return Page(rows, urls)
