"""Requests out and answers back, as every adapter builds them. Both directions are allow-lists.

Must never let the credential leave in an answer: OpenBao's lookup-self, for one, returns the token itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from byok_portal.errors import InvalidInput, UpstreamUnavailable
from keys.calls import check_path, check_query
from keys.providers.contract import CallResult, Upstream
from keys.upstream import http

if TYPE_CHECKING:
    from collections.abc import Mapping

    from byok_portal.boundary.secrets import Secret
    from keys.catalogue import ProviderEntry

REQUEST_HEADERS: Final = frozenset({"accept", "content-type"})
RESPONSE_HEADERS: Final = frozenset({"content-type", "content-language", "etag", "last-modified", "retry-after"})
REDACTED: Final = b"[redacted]"
CALL_LIMITS: Final = http.Limits(connect=5.0, read=60.0, total=120.0, max_bytes=http.CALL_BYTES)
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,128}")
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def auth_headers(entry: ProviderEntry, plaintext: Secret) -> dict[str, str]:
    """The entry's fixed headers and the credential's own."""
    try:
        secret = plaintext.reveal().decode("ascii")
    except UnicodeDecodeError:
        # The decoder's own error holds the bytes.
        raise InvalidInput("The secret cannot be sent in a header", code="secret_not_ascii", field="secret") from None
    return {**dict(entry.headers), entry.auth.header: entry.auth.template.replace("{secret}", secret)}


def proof_agent(nonce: str) -> str:
    """The User-Agent of a probe. Raises InvalidInput for a nonce that is not a plain token."""
    if not nonce:
        return http.USER_AGENT
    if not _NONCE.fullmatch(nonce):
        raise InvalidInput("The nonce must be letters, digits, - and _", code="bad_nonce", field="nonce")
    return f"{http.USER_AGENT} (proof {nonce})"


def proxy(  # a call has that many parts
    upstream: Upstream,
    plaintext: Secret,
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes | None,
    extra: Mapping[str, str],
) -> CallResult:
    """One brokered call. `extra` are headers of the adapter's own."""
    target = check_path(path) + (f"?{check_query(query)}" if query else "")
    passed = _pass_headers(upstream.entry, headers)
    if body:
        _check_body(upstream.entry, method, passed)
    answer = http.send(
        http.Request(
            method,
            upstream.base_url + target,
            # Fixed headers are defaults that a forwarded one may replace; the credential's header never is.
            headers=_merge(dict(upstream.entry.headers), passed, extra, _credential(upstream.entry, plaintext)),
            body=body or None,
            allow_private=upstream.allow_private,
            limits=CALL_LIMITS,
        )
    )
    return _answer(upstream.entry, answer, plaintext)


def scrub(answer: http.Response, plaintext: Secret) -> http.Response:
    """The answer without the secret, before anything is read from it."""
    headers = {name: _redact_text(value, plaintext) for name, value in answer.headers.items()}
    return http.Response(answer.status, headers, _redact(answer.body, plaintext))


def _credential(entry: ProviderEntry, plaintext: Secret) -> dict[str, str]:
    return {entry.auth.header: auth_headers(entry, plaintext)[entry.auth.header]}


def _merge(*layers: Mapping[str, str]) -> dict[str, str]:
    """Later layers win, whatever the case of the name."""
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        for name, value in layer.items():
            merged[name.lower()] = (name, value)
    return dict(merged.values())


def _pass_headers(entry: ProviderEntry, headers: Mapping[str, str]) -> dict[str, str]:
    allowed = REQUEST_HEADERS | {name.lower() for name in entry.forward_headers}
    return {name: value for name, value in headers.items() if name.lower() in allowed}


def _check_body(entry: ProviderEntry, method: str, headers: dict[str, str]) -> None:
    """A body travels only as one of the entry's content types: a form could carry a method override."""
    if method not in _BODY_METHODS:
        raise InvalidInput("This method carries no body", code="body_not_allowed", field="body")
    given = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    if not given:
        headers["Content-Type"] = entry.content_types[0]
    elif given.partition(";")[0].strip().lower() not in entry.content_types:
        raise InvalidInput("This content type is not allowed here", code="content_type_not_allowed", field="headers")


def _answer(entry: ProviderEntry, answer: http.Response, plaintext: Secret) -> CallResult:
    if answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        # We asked for none. What cannot be read cannot be searched for the secret.
        raise UpstreamUnavailable("The provider's answer is encoded", code="encoded_response")
    allowed = RESPONSE_HEADERS | {name.lower() for name in entry.return_headers}
    clean = scrub(answer, plaintext)
    return CallResult(clean.status, {n: v for n, v in clean.headers.items() if n in allowed}, clean.body)


def _redact(content: bytes, plaintext: Secret) -> bytes:
    """Every spelling that an answer can quote: plain, with JSON's escaped slash, percent-encoded."""
    secret = plaintext.reveal()
    for spelling in {secret, secret.replace(b"/", b"\\/"), quote(secret, safe="").encode()}:
        content = content.replace(spelling, REDACTED) if spelling else content
    return content


def _redact_text(value: str, plaintext: Secret) -> str:
    return _redact(value.encode("latin-1", "replace"), plaintext).decode("latin-1")
