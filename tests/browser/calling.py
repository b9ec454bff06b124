"""A workload at the API, over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    request = urllib.request.Request(
        f"{portal.url}/api/v1/tenants/{cast.slug}/keys/{key}/use/",
        data=json.dumps({"scope": scope, "purpose": "nightly report", **more}).encode(),
        headers={**credential.headers, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Answer(answer.status, json.load(answer), answer.headers["Audit-Id"])
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, json.load(error), error.headers["Audit-Id"])
