"""Requests out and answers back, as every adapter builds them. Both directions are allow-lists.

Must never let the credential leave in an answer: OpenBao's lookup-self, for one, returns the token itself.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from byok_portal.errors import InvalidInput, UpstreamUnavailable
from keys.calls import check_path, check_query
from keys.providers.contract import CallResult, Upstream
from keys.upstream import http

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from byok_portal.boundary.secrets import Secret
    from keys.catalogue import ProviderEntry

REQUEST_HEADERS: Final = frozenset({"accept", "content-type"})
RESPONSE_HEADERS: Final = frozenset({"content-type", "content-language", "etag", "last-modified", "retry-after"})
REDACTED: Final = b"[redacted]"
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


def prepare(  # noqa: PLR0913  # a call has that many parts
    upstream: Upstream,
    plaintext: Secret,
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes | Iterable[bytes] | None,
    extra: Mapping[str, str],
    limits: http.Limits = http.CALL_LIMITS,
) -> http.Request:
    """One brokered call, ready to be sent. `extra` are headers of the adapter's own."""
    target = check_path(path) + (f"?{check_query(query)}" if query else "")
    passed = _pass_headers(upstream.entry, headers)
    if body:
        _check_body(upstream.entry, method, passed)
    return http.Request(
        method,
        upstream.base_url + target,
        # Fixed headers are defaults that a forwarded one may replace; the credential's header never is.
        headers=_merge(dict(upstream.entry.headers), passed, extra, _credential(upstream.entry, plaintext)),
        body=body or None,
        allow_private=upstream.allow_private,
        limits=limits,
    )


class Broker:
    """What adapters share: a call is their request, sent, and its answer without the credential."""

    def prepare(
        self,
        upstream: Upstream,
        plaintext: Secret,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        limits: http.Limits = http.CALL_LIMITS,
    ) -> http.Request:
        """Each adapter's own."""
        raise NotImplementedError

    def call(
        self,
        upstream: Upstream,
        plaintext: Secret,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> CallResult:
        """One brokered call, with the whole answer."""
        request = self.prepare(upstream, plaintext, method, path, query, headers, body)
        return _answer(upstream.entry, http.send(request), plaintext)


@contextmanager
def stream(upstream: Upstream, plaintext: Secret, request: http.Request) -> Iterator[http.Opened]:
    """As `complete`, with the body in pieces, the credential taken out of them too."""
    with http.stream(request) as opened:
        headers = _returned(upstream.entry, opened.headers, plaintext)
        yield http.Opened(opened.status, headers, redact_pieces(opened.pieces, plaintext), opened.length)


def redact_pieces(pieces: Iterable[bytes], plaintext: Secret) -> Iterator[bytes]:
    """The pieces without the secret, also where it lies across two of them."""
    # What could be the start of a spelling stays back until the next piece shows whether it is.
    kept = max(map(len, _spellings(plaintext)), default=1) - 1
    waiting = b""
    for piece in pieces:
        waiting = _redact(waiting + piece, plaintext)
        if len(waiting) > kept:
            ready = len(waiting) - kept
            yield waiting[:ready]
            waiting = waiting[ready:]
    if waiting:
        yield waiting


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
    headers = _returned(entry, answer.headers, plaintext)
    return CallResult(answer.status, headers, _redact(answer.body, plaintext))


def _returned(entry: ProviderEntry, headers: Mapping[str, str], plaintext: Secret) -> dict[str, str]:
    if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        # We asked for none. What cannot be read cannot be searched for the secret.
        raise UpstreamUnavailable("The provider's answer is encoded", code="encoded_response")
    allowed = RESPONSE_HEADERS | {name.lower() for name in entry.return_headers}
    return {name: _redact_text(value, plaintext) for name, value in headers.items() if name in allowed}


def _redact(content: bytes, plaintext: Secret) -> bytes:
    for spelling in _spellings(plaintext):
        content = content.replace(spelling, REDACTED)
    return content


def _spellings(plaintext: Secret) -> set[bytes]:
    """Every way that an answer can quote the secret: plain, with JSON's escaped slash, percent-encoded."""
    secret = plaintext.reveal()
    return {secret, secret.replace(b"/", b"\\/"), quote(secret, safe="").encode()} - {b""}


def _redact_text(value: str, plaintext: Secret) -> str:
    return _redact(value.encode("latin-1", "replace"), plaintext).decode("latin-1")
