"""What people and programs look at most: pages, API answers and staff lists, and how each is asked for."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE, API, STAFF = "page", "API", "staff"
_PAGES = {
    "home": "",
    "keys": "keys/",
    "keys, search": "keys/?q=Key+77",
    "keys, needs attention": "keys/?tab=attention",
    "key": "keys/{key}/",
    "audit": "audit/",
    "audit, one key's denials": "audit/?key={key_id}&outcome=denied",
    "audit, late page": "audit/?older_than={tseq}",
    "audit, one entry": "audit/{event}/",
    "incidents": "incidents/",
    "incidents, all": "incidents/?show=all",
    "incident": "incidents/{incident}/",
    "findings": "findings/",
    "my keys": "my-keys/",
    "consumers": "consumers/",
    "members": "members/",
    "inbox": "inbox/",
    "jobs": "jobs/",
}
_API = {
    "keys": "keys/",
    "key": "keys/{key}/",
    "grants": "keys/{key}/grants/",
    "consumers": "consumers/",
    "findings": "findings/",
    "incidents": "incidents/",
    "jobs": "jobs/",
    "audit events": "audit/events/",
    "audit events, denied": "audit/events/?outcome=denied",
    "audit event's proof": "audit/events/{event}/proof/",
    "checkpoint": "audit/checkpoint/",
    "export, first byte": "audit/export/",
}
_STAFF = {
    "index": "",
    "tenants": "tenants/tenant/",
    "tenants, search": "tenants/tenant/?q=tenant-77",
    "people": "tenants/user/",
    "keys": "keys/key/",
    "keys, search": "keys/key/?q=key-77",
    "grants": "keys/grant/",
    "proofs": "keys/proof/",
    "consumers": "tenants/consumer/",
    "jobs": "boundary/job/",
    "log": "audit/entry/",
}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request that is made again and again."""

    name: str
    who: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: str = ""
    first_byte: bool = field(default=False, kw_only=True)


def list_visits(visitors: Mapping[str, Any]) -> list[Visit]:
    """All of them, in the order of the table; equal for every cell but for what the addresses name."""
    found: list[Visit] = []
    for who in ("ordinary", "largest"):
        found += _of_tenant(who, visitors[who])
    session = {"Cookie": visitors["staff"]["session"]}
    return [
        *found,
        *(Visit(f"{STAFF}: {name}", "-", "GET", f"/staff/{path}", session) for name, path in _STAFF.items()),
    ]


def _of_tenant(who: str, visitor: Mapping[str, Any]) -> list[Visit]:
    session, bearer = {"Cookie": visitor["session"]}, {"Authorization": f"Bearer {visitor['token']}"}
    pages, api = f"/t/{visitor['tenant']}/", f"/api/v1/tenants/{visitor['tenant']}/"
    written = {**bearer, "Content-Type": "application/json"}
    use = json.dumps({"scope": "secrets:read", "purpose": "report"})
    return [
        *(
            Visit(f"{PAGE}: {name}", who, "GET", (pages + path).format(**visitor), session)
            for name, path in _PAGES.items()
        ),
        *(
            Visit(f"{API}: {name}", who, "GET", (api + path).format(**visitor), bearer, first_byte="export" in path)
            for name, path in _API.items()
        ),
        Visit(f"{API}: use (web)", who, "POST", f"{api}keys/{visitor['key']}/use/", written, use),
        Visit(f"{API}: introspect", who, "POST", "/api/v1/introspect/", written, json.dumps({"token": "hvs.unknown"})),
    ]


class Browser:
    """One connection to a web server, kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def time(self, visit: Visit) -> float:
        """Milliseconds until the answer is here. Raises RuntimeError for any but a good one."""
        began = time.perf_counter()
        try:
            self._connection.request(
                visit.method, visit.path, visit.body or None, {"Host": "localhost", **visit.headers}
            )
            answer = self._connection.getresponse()
            read = answer.read(1 if visit.first_byte else None)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        took = (time.perf_counter() - began) * 1000
        if visit.first_byte:
            self._connection.close()
        if answer.status != 200:
            message = f"{visit.path} answered {answer.status}: {read[:300]!r}"
            raise RuntimeError(message)
        return took
