"""A workload at the API, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import urllib3

if TYPE_CHECKING:
    from tests.portal import Portal
    from tests.world import Cast, Credential


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, document and the entry that records it."""

    status: int
    document: dict[str, Any]
    audit_id: str


def call(portal: Portal, cast: Cast, key: str, credential: Credential, *, scope: str, **more: Any) -> Answer:
    """Ask to use a key. A denial is an answer too."""
    answer = urllib3.request(
        "POST",
        f"{portal.url}/api/v1/tenants/{cast.slug}/keys/{key}/use/",
        json={"scope": scope, "purpose": "nightly report", **more},
        headers=credential.headers,
        timeout=10,
        retries=False,
    )
    return Answer(answer.status, answer.json(), answer.headers["Audit-Id"])
