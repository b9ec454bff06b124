"""Questions to an OpenBao server and what its answers mean. Never decides what to do about them.

Seen on OpenBao 2.7.2, each on a running server:

| token                                   | auth/token/lookup-self          | sys/internal/ui/mounts |
|-----------------------------------------|---------------------------------|------------------------|
| alive                                   | 200                             | 200                    |
| alive, its policies forbid the look     | 403 "1 error occurred: ..."     | 200                    |
| revoked, expired, used up, never issued | 403 "permission denied"         | 403                    |
| alive, bound to other addresses         | 403 "permission denied"         | 403                    |
| alive, its entity is disabled           | 403 "permission denied"         | 403                    |
| none sent (a proxy took it away)        | 403 "permission denied"         | 200                    |

So the last three rows and the dead one cannot be told apart by the first answer alone, and two of them never.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from byok_portal.errors import UpstreamUnavailable
from keys.providers.declared.reading import read_json
from keys.providers.messages import auth_headers, proof_agent, scrub
from keys.upstream import http

if TYPE_CHECKING:
    from collections.abc import Mapping

    from byok_portal.boundary.secrets import Secret
    from keys.catalogue.entries import Json
    from keys.providers.contract import Upstream

_NO_TOKEN: Final = {"errors": ["permission denied"]}


class Standing(Enum):
    """What the server makes of a token."""

    ALIVE = auto()
    SILENT = auto()  # alive, but its policies forbid it to look at itself
    REFUSED = auto()  # dead, or alive and unusable from here
    UNCLEAR = auto()


@dataclass(frozen=True, slots=True)
class Health:
    """Of the cluster, asked without a token. `cluster_id` is empty only when `problem` is not."""

    cluster_id: str = ""
    cluster_name: str = ""
    version: str = ""
    problem: str = ""
    detail: str = ""


def namespace_headers(upstream: Upstream) -> dict[str, str]:
    """The namespace, when the key names one."""
    namespace = upstream.parameters.get("namespace", "")
    return {"X-Vault-Namespace": namespace} if namespace else {}


def ask_health(upstream: Upstream) -> Health:
    """Never with the token or a namespace: the path belongs to the root namespace and is open to all."""
    url = f"{upstream.base_url}/v1/sys/health?standbyok=true&perfstandbyok=true"
    request = http.Request("GET", url, allow_private=upstream.allow_private, limits=upstream.limits)
    answer = http.send(request)
    document = read_json(answer)
    told = document if isinstance(document, dict) else {}
    if told.get("sealed") is True or told.get("initialized") is False:
        return Health(problem="sealed", detail="OpenBao is sealed or not initialised")
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Health(problem="upstream_busy", detail=f"OpenBao has a problem (status {answer.status})")
    cluster_id = _text(told, "cluster_id")
    if answer.status != HTTPStatus.OK or not cluster_id:
        return Health(problem="not_openbao", detail="The address does not answer like an OpenBao server")
    return Health(cluster_id, _text(told, "cluster_name"), _text(told, "version"))


def ask(
    upstream: Upstream, plaintext: Secret, method: str, path: str, *, nonce: str = "", body: Json = None
) -> tuple[int, dict[str, Json]]:
    """Status and JSON object (empty when there is none), the token already taken out.

    Raises UpstreamUnavailable also for 429 and 5xx: a busy or sealed server says nothing about a token.
    """
    headers = {
        **auth_headers(upstream.entry, plaintext),
        **namespace_headers(upstream),
        "User-Agent": proof_agent(nonce),
    }
    payload = None if body is None else json.dumps(body).encode()
    request = http.Request(
        method,
        f"{upstream.base_url}/v1/{path}",
        headers=headers,
        body=payload,
        allow_private=upstream.allow_private,
        limits=upstream.limits,
    )
    answer = scrub(http.send(request), plaintext)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        msg = f"OpenBao has a problem (status {answer.status})"
        raise UpstreamUnavailable(msg, code="upstream_busy")
    document = read_json(answer)
    return answer.status, document if isinstance(document, dict) else {}


def ask_standing(upstream: Upstream, plaintext: Secret, *, nonce: str = "") -> tuple[Standing, dict[str, Json]]:
    """The token's standing and, when alive, what it says of itself."""
    status, document = ask(upstream, plaintext, "GET", "auth/token/lookup-self", nonce=nonce)
    data = document.get("data")
    if status == HTTPStatus.OK and isinstance(data, dict):
        return Standing.ALIVE, data
    if status != HTTPStatus.FORBIDDEN:
        return Standing.UNCLEAR, {}
    # Open to any live token, whatever its policies, and it does not count as one of a limited number of uses.
    mounts, _ = ask(upstream, plaintext, "GET", "sys/internal/ui/mounts", nonce=nonce)
    unknown = document == _NO_TOKEN
    if mounts == HTTPStatus.OK and not unknown and "permission denied" in json.dumps(document.get("errors")):
        return Standing.SILENT, {}
    return (Standing.REFUSED if mounts == HTTPStatus.FORBIDDEN and unknown else Standing.UNCLEAR), {}


def leave_trace(upstream: Upstream, plaintext: Secret, nonce: str) -> None:
    """Puts the nonce where the customer's own audit log shows it in plain text: into a path.

    By default OpenBao's log has no User-Agent and hashes request bodies. The path names a mount that does not
    exist, so the answer is a refusal and says nothing; it does not count as a use either.
    """
    if nonce:
        ask(upstream, plaintext, "GET", f"sys/internal/ui/mounts/byok-portal-proof-{nonce}", nonce=nonce)


def ask_rights(
    upstream: Upstream, plaintext: Secret, paths: list[str], *, nonce: str
) -> dict[str, frozenset[str]] | None:
    """Rights by path; None when the token may not ask. Reads policies, touches nothing."""
    body: Json = {"paths": [*paths]}
    status, document = ask(upstream, plaintext, "POST", "sys/capabilities-self", nonce=nonce, body=body)
    data = document.get("data")
    if status != HTTPStatus.OK or not isinstance(data, dict):
        return None
    return {path: _names(data.get(path)) for path in paths}


def ask_granted(upstream: Upstream, plaintext: Secret, *, nonce: str) -> dict[str, frozenset[str]]:
    """Every path that the policies name, prefixes marked with `*`; empty when the token may not ask.

    OpenBao leaves paths with `+` out of this list, which is why the sentinels are asked as well.
    """
    status, document = ask(upstream, plaintext, "GET", "sys/internal/ui/resultant-acl", nonce=nonce)
    data = document.get("data")
    if status != HTTPStatus.OK or not isinstance(data, dict):
        return {}
    exact, globs = _rights(data.get("exact_paths")), _rights(data.get("glob_paths"))
    return {**exact, **{f"{path}*": held for path, held in globs.items()}}


def _rights(table: Json) -> dict[str, frozenset[str]]:
    if not isinstance(table, dict):
        return {}
    return {path: _names(rule.get("capabilities")) for path, rule in table.items() if isinstance(rule, dict)}


def _names(value: Json) -> frozenset[str]:
    return frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()


def _text(document: Mapping[str, Json], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""
