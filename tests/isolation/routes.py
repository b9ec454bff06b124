"""Walks the URLconf: every address of a tenant, with the arguments that it takes. A new route is found by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.urls import URLPattern, URLResolver, get_resolver, reverse

from byok_portal.boundary.identifiers import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.isolation.populated import Populated

WEB, API = "t/<slug:tenant>/", "api/v1/tenants/<str:tenant>/"
_PARAMETER = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")
NO_IDENTIFIER = frozenset({"number", "path", "kind"})
"""Arguments that say which part of a thing is meant, not which thing."""


@dataclass(frozen=True, slots=True)
class Route:
    """One address of a tenant: its reversible name, its text and its parameters with their converters, in order."""

    name: str
    text: str
    parameters: tuple[tuple[str, str], ...]

    @property
    def is_api(self) -> bool:
        return self.text.startswith(API)

    @property
    def identifiers(self) -> list[str]:
        """The parameters below the tenant that name a thing."""
        return [name for name, _ in self.parameters if name not in NO_IDENTIFIER | {"tenant"}]

    def address(self, arguments: dict[str, Any]) -> str:
        return reverse(self.name, kwargs={name: arguments[name] for name, _ in self.parameters})


def list_routes() -> list[Route]:
    """Every address under a tenant, of pages and of the API."""
    return [route for route in _walk(get_resolver().url_patterns, "", "") if route.text.startswith((WEB, API))]


def list_all_texts() -> list[str]:
    """Every address that names a tenant anywhere, to see that none lies outside the two trees."""
    return [
        route.text
        for route in _walk(get_resolver().url_patterns, "", "")
        if "<" in route.text and "tenant>" in route.text
    ]


def _walk(patterns: list[Any], prefix: str, namespace: str) -> Iterator[Route]:
    for pattern in patterns:
        text = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from _walk(pattern.url_patterns, text, inner)
        elif isinstance(pattern, URLPattern):
            found = tuple((match["name"], match["converter"] or "str") for match in _PARAMETER.finditer(text))
            yield Route(f"{namespace}{pattern.name}", text, found)


def real_arguments(populated: Populated, *, event: Any, by_id: bool) -> dict[str, Any]:
    """What names the tenant's own things, by slug or by id."""
    consumer = populated.credential.consumer
    return {
        "tenant": populated.id if by_id else populated.cast.slug,
        "key": populated.key.id if by_id else populated.key.slug,
        "consumer": consumer.id if by_id else consumer.slug,
        "grant": populated.grant.id,
        "token": populated.credential.token_id,
        "event": event,
        "project": populated.project.id if by_id else populated.project.slug,
        "run": populated.run_id,
        "document": populated.document_id,
        "job": populated.job_id,
        "incident": populated.incident_id,
        "campaign": populated.campaign_id,
        "drill": populated.drill_id,
        "task": populated.task_id,
        "kind": "no_backup_owner",
        "member": populated.member_id,
        "invitation": populated.invitation_id,
        "number": 1,
        "path": "v1/secret/data/reports/q3",
    }


def random_arguments(*, by_id: bool) -> dict[str, Any]:
    """The same for things that do not exist."""
    word = new_id() if by_id else None
    return {
        "tenant": word or f"acme-{uuid4().hex[:8]}",
        "key": word or f"reports-{uuid4().hex[:8]}",
        "consumer": word or f"report-service-{uuid4().hex[:8]}",
        "grant": new_id(),
        "token": new_id(),
        "event": new_id(),
        "project": word or f"project-{uuid4().hex[:8]}",
        "run": new_id(),
        "document": new_id(),
        "job": new_id(),
        "incident": new_id(),
        "campaign": new_id(),
        "drill": new_id(),
        "task": new_id(),
        "kind": "no_backup_owner",
        "member": new_id(),
        "invitation": new_id(),
        "number": 1,
        "path": "v1/secret/data/reports/q3",
    }
