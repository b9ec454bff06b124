"""The adapter that a catalogue entry describes. 429, 5xx, timeouts and redirects are never a verdict on a
credential.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from byok_portal.errors import Refused, UpstreamUnavailable
from keys.providers import messages
from keys.providers.contract import (
    Account,
    Excess,
    ProbeResult,
    RevokeResult,
    RotationWay,
    Upstream,
    UpstreamStatus,
)
from keys.providers.declared.reading import (
    find_names,
    find_plain,
    find_text,
    find_time,
    find_value,
    read_json,
)
from keys.providers.messages import auth_headers, proof_agent, scrub
from keys.upstream import http

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from byok_portal.boundary.secrets import Secret
    from keys.catalogue import ProbeSpec, ProviderEntry, RevokeSpec
    from keys.catalogue.entries import Json


class DeclaredAdapter(messages.Broker):
    """Interprets `[probe]` and `[revoke]` of the entry."""

    rotation = RotationWay.GUIDED

    def probe(self, upstream: Upstream, plaintext: Secret, nonce: str) -> ProbeResult:
        """One read-only call."""
        spec = _get_probe(upstream.entry)
        try:
            answer = _ask(upstream, plaintext, spec.method, spec.path, spec.body, nonce=nonce)
        except UpstreamUnavailable as error:
            return ProbeResult(UpstreamStatus.UNREACHABLE, code=error.code, reason=error.detail)
        return _read_probe(upstream, spec, answer)

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
        """One brokered call, for whoever sends it."""
        return messages.prepare(
            upstream,
            plaintext,
            method=method,
            path=path,
            query=query,
            headers=headers or {},
            body=body,
            extra={},
            limits=limits,
        )

    def revoke(self, upstream: Upstream, plaintext: Secret) -> RevokeResult:
        """As `[revoke]` says; without it, only people can."""
        spec, note = upstream.entry.revoke, upstream.entry.revoke_note
        if spec is None:
            return RevokeResult(done=False, supported=False, note=note)
        try:
            answer = _ask_revoke(upstream, plaintext, spec)
        except UpstreamUnavailable as error:
            return RevokeResult(done=False, supported=True, note=error.detail)
        said_so = not spec.ok or find_value(spec.ok, answer, read_json(answer)) is True
        if answer.status in spec.done and said_so:
            return RevokeResult(done=True, supported=True, note=note, evidence={"revoke_accepted": True})
        if answer.status in spec.accepted:
            return RevokeResult(done=False, supported=True, note=note, evidence={"revoke_accepted": True})
        return RevokeResult(
            done=False,
            supported=True,
            note=f"{upstream.entry.name} did not revoke the key (status {answer.status})",
        )

    def confirm(
        self,
        upstream: Upstream,
        plaintext: Secret,
        *,
        evidence: Mapping[str, Json] | None = None,  # the answer alone decides here
    ) -> UpstreamStatus:
        """Dead means: a verdict status, and one of `dead_errors` where the provider's refusals have several
        causes.
        """
        result = self.probe(upstream, plaintext, "")
        if result.status is not UpstreamStatus.INVALID:
            return result.status
        dead = _get_probe(upstream.entry).dead_errors
        proven = not dead or result.evidence.get("error") in dead
        return UpstreamStatus.REVOKED_CONFIRMED if proven else UpstreamStatus.UNKNOWN

    def rotation_guide(self, upstream: Upstream) -> list[str]:
        """The catalogue's steps."""
        return list(upstream.entry.rotation_steps)


def _get_probe(entry: ProviderEntry) -> ProbeSpec:
    if entry.probe is None:
        msg = f"The portal cannot ask {entry.name} about a key"
        raise Refused(msg, code="no_probe")
    return entry.probe


def _ask(upstream: Upstream, plaintext: Secret, method: str, path: str, body: str, *, nonce: str) -> http.Response:
    headers = {**auth_headers(upstream.entry, plaintext), "User-Agent": proof_agent(nonce)}
    return scrub(_send(upstream, method, path, headers, body), plaintext)


def _ask_revoke(upstream: Upstream, plaintext: Secret, spec: RevokeSpec) -> http.Response:
    headers = auth_headers(upstream.entry, plaintext) if spec.authenticated else dict(upstream.entry.headers)
    # The placeholder sits inside quotes, so the JSON escapes of the secret fit there.
    quoted = json.dumps(plaintext.reveal().decode("ascii"))[1:-1]
    return scrub(_send(upstream, spec.method, spec.path, headers, spec.body.replace("{secret}", quoted)), plaintext)


def _send(upstream: Upstream, method: str, path: str, headers: dict[str, str], body: str) -> http.Response:
    if body:
        headers["Content-Type"] = "application/json"
    return http.send(
        http.Request(
            method,
            upstream.base_url + path,
            headers=headers,
            body=body.encode() or None,
            allow_private=upstream.allow_private,
            limits=upstream.limits,
        )
    )


def _read_probe(upstream: Upstream, spec: ProbeSpec, answer: http.Response) -> ProbeResult:
    document, name = read_json(answer), upstream.entry.name
    error = find_text(spec.error, answer, document)
    evidence: dict[str, Json] = {"status": answer.status, **({"error": error} if error else {})}
    if answer.status in spec.invalid or (answer.status in spec.valid and error and error in spec.invalid_errors):
        reason = f"{name} does not accept the key" + (f" ({error})" if error else "")
        return ProbeResult(UpstreamStatus.INVALID, evidence=evidence, code="rejected", reason=reason)
    if answer.status in spec.limited:
        reason = f"The key is alive, but may not ask {name} about itself"
        return ProbeResult(UpstreamStatus.VALID, evidence=evidence, code="limited", reason=reason)
    if answer.status not in spec.valid:
        return _no_verdict(name, answer.status, evidence)
    # A page that says 200 to everything (a login page, a proxy) is no answer to the question.
    if document is None or (spec.ok and find_value(spec.ok, answer, document) is not True):
        return ProbeResult(
            UpstreamStatus.UNKNOWN,
            evidence=evidence,
            code="no_verdict",
            reason=f"{name} gave no clear answer",
        )
    return _read_valid(upstream, spec, answer, document, evidence)


def _no_verdict(name: str, status: int, evidence: dict[str, Json]) -> ProbeResult:
    """Busy or broken says nothing about the credential; anything unforeseen says nothing either."""
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        reason = f"{name} is busy or has a problem (status {status})"
        return ProbeResult(UpstreamStatus.UNREACHABLE, evidence=evidence, code="upstream_busy", reason=reason)
    reason = f"{name} gave an answer that says nothing about the key (status {status})"
    return ProbeResult(UpstreamStatus.UNKNOWN, evidence=evidence, code="no_verdict", reason=reason)


def _read_valid(
    upstream: Upstream, spec: ProbeSpec, answer: http.Response, document: Json, evidence: dict[str, Json]
) -> ProbeResult:
    evidence |= {key: find_plain(source, answer, document) for key, source in spec.evidence}
    names = find_names(spec.scopes, answer, document)
    return ProbeResult(
        UpstreamStatus.VALID,
        account=_read_account(upstream, spec, answer, document),
        expires_at=find_time(spec.expires, answer, document),
        effective_scopes=None if names is None else _map_scopes(upstream.entry, spec, names),
        excess=_find_unmapped(upstream.entry.name, spec, names or []),
        evidence=evidence,
    )


def _read_account(upstream: Upstream, spec: ProbeSpec, answer: http.Response, document: Json) -> Account | None:
    """All parts or none: half an id would make two accounts look like one."""
    parts = [find_text(source, answer, document) for source in spec.account_id]
    if not parts or not all(parts):
        return None
    # User 7 of one GitLab is not user 7 of another.
    host = [urlsplit(upstream.base_url).netloc] if upstream.entry.endpoint.kind == "customer" else []
    return Account("/".join([*host, *parts]), find_text(spec.account_label, answer, document) or "/".join(parts))


def _map_scopes(entry: ProviderEntry, spec: ProbeSpec, names: list[str]) -> frozenset[str]:
    mapping = dict(spec.scope_map)
    held = {scope_id for name in names for scope_id in mapping.get(name, ())}
    return frozenset(held | {scope.id for scope in entry.scopes if scope.inherent})


def _find_unmapped(name: str, spec: ProbeSpec, names: list[str]) -> tuple[Excess, ...]:
    """Upstream rights that no scope of ours stands for: nobody can have chosen them here."""
    mapping = dict(spec.scope_map)
    return tuple(Excess("", f"It also holds {name}'s own right {each}", 3) for each in names if each not in mapping)
