"""OpenBao: looks, calls, revokes and looks again. Says "revoked" only when nothing but a dead token
explains the answer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from byok_portal.errors import UpstreamUnavailable
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
from keys.providers.openbao import questions, rights
from keys.providers.openbao.questions import Health, Standing
from keys.upstream.http import CALL_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from byok_portal.boundary.secrets import Secret
    from keys.catalogue.entries import Json
    from keys.upstream.http import Limits, Request

# What is kept of lookup-self. Never "id": that is the token.
_KEPT: Final = [
    "accessor",
    "display_name",
    "entity_id",
    "expire_time",
    "explicit_max_ttl",
    "issue_time",
    "num_uses",
    "orphan",
    "path",
    "period",
    "policies",
    "identity_policies",
    "renewable",
    "ttl",
    "type",
]
_REFUSED_REASON: Final = (
    "OpenBao answers 'permission denied': the token is revoked, expired or unknown there. "
    "(A token bound to other addresses, or of a disabled entity, gets the same answer.)"
)
_SILENT_REASON: Final = (
    "The token is alive, but its policies forbid it to look at itself. Attach the default policy, or grant "
    "read on auth/token/lookup-self and update on sys/capabilities-self."
)


class OpenBaoAdapter(messages.Broker):
    """Speaks to the customer's own OpenBao (or a Vault-compatible server)."""

    rotation = RotationWay.ASSISTED

    def probe(self, upstream: Upstream, plaintext: Secret, nonce: str) -> ProbeResult:
        """Read-only. Of a token with a limited number of uses only one question is asked that counts."""
        try:
            health = questions.ask_health(upstream)
            if health.problem:
                status = UpstreamStatus.UNKNOWN if health.problem == "not_openbao" else UpstreamStatus.UNREACHABLE
                return ProbeResult(status, code=health.problem, reason=health.detail)
            standing, data = questions.ask_standing(upstream, plaintext, nonce=nonce)
            if standing is not Standing.ALIVE:
                return _explain(standing, health)
            questions.leave_trace(upstream, plaintext, nonce)
            return _look(upstream, plaintext, nonce, health, data)
        except UpstreamUnavailable as error:
            return ProbeResult(UpstreamStatus.UNREACHABLE, code=error.code, reason=error.detail)

    def prepare(
        self,
        upstream: Upstream,
        plaintext: Secret,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        limits: Limits = CALL_LIMITS,
    ) -> Request:
        """One brokered call, in the key's namespace, for whoever sends it."""
        return messages.prepare(
            upstream,
            plaintext,
            method=method,
            path=path,
            query=query,
            headers=headers or {},
            body=body,
            extra=questions.namespace_headers(upstream),
            limits=limits,
        )

    def revoke(self, upstream: Upstream, plaintext: Secret) -> RevokeResult:
        """`revoke-self`; 204 is the server's word. Batch tokens live nowhere on the server, so it refuses
        them.
        """
        try:
            health = questions.ask_health(upstream)
            status, document = questions.ask(upstream, plaintext, "POST", "auth/token/revoke-self")
        except UpstreamUnavailable as error:
            return RevokeResult(done=False, supported=True, note=error.detail)
        if status == HTTPStatus.NO_CONTENT and health.cluster_id:
            evidence: dict[str, Json] = {"revoke_accepted": True, "cluster_id": health.cluster_id}
            return RevokeResult(
                done=True,
                supported=True,
                note="OpenBao revoked the token, its child tokens and its leases",
                evidence=evidence,
            )
        if "batch tokens" in str(document.get("errors")):
            note = "A batch token cannot be revoked: it ends when it expires or when its parent token is revoked"
            return RevokeResult(done=False, supported=False, note=note)
        if status == HTTPStatus.FORBIDDEN:
            note = "OpenBao refused: the token is dead already, or its policies forbid it to revoke itself"
            return RevokeResult(done=False, supported=True, note=note)
        return RevokeResult(done=False, supported=True, note=f"OpenBao did not revoke the token (status {status})")

    def confirm(
        self, upstream: Upstream, plaintext: Secret, *, evidence: Mapping[str, Json] | None = None
    ) -> UpstreamStatus:
        """Dead needs the same cluster, the dead token's answers, and evidence that rules the look-alikes
        out.
        """
        known = evidence or {}
        try:
            health = questions.ask_health(upstream)
            if health.problem or health.cluster_id != known.get("cluster_id", health.cluster_id):
                return UpstreamStatus.UNKNOWN if health.problem != "sealed" else UpstreamStatus.UNREACHABLE
            standing, _ = questions.ask_standing(upstream, plaintext)
        except UpstreamUnavailable:
            return UpstreamStatus.UNREACHABLE
        if standing in {Standing.ALIVE, Standing.SILENT}:
            return UpstreamStatus.VALID
        dead = standing is Standing.REFUSED and "cluster_id" in known and _rules_out_look_alikes(known)
        return UpstreamStatus.REVOKED_CONFIRMED if dead else UpstreamStatus.UNKNOWN

    def rotation_guide(self, upstream: Upstream) -> list[str]:
        """The catalogue's steps."""
        return list(upstream.entry.rotation_steps)


def _rules_out_look_alikes(evidence: Mapping[str, Json]) -> bool:
    """The server took the revocation; or the token had no entity to disable and no addresses to be bound to.

    Both facts are fixed when a token is made. A token with either may merely be locked out, and can come
    back.
    """
    unbound = evidence.get("entity_id") == "" and evidence.get("bound_cidrs") == []
    return evidence.get("revoke_accepted") is True or unbound


def _explain(standing: Standing, health: Health) -> ProbeResult:
    evidence: dict[str, Json] = {"last_cluster_id": health.cluster_id}
    if standing is Standing.SILENT:
        return ProbeResult(UpstreamStatus.VALID, evidence=evidence, code="lookup_denied", reason=_SILENT_REASON)
    if standing is Standing.REFUSED:
        return ProbeResult(UpstreamStatus.INVALID, evidence=evidence, code="rejected", reason=_REFUSED_REASON)
    reason = "The answer says nothing about the token; a proxy in between may take it away"
    return ProbeResult(UpstreamStatus.UNKNOWN, evidence=evidence, code="no_verdict", reason=reason)


def _look(upstream: Upstream, plaintext: Secret, nonce: str, health: Health, data: dict[str, Json]) -> ProbeResult:
    entry, parameters = upstream.entry, upstream.parameters
    evidence = _evidence(health, data)
    account, expires_at = _account(health, data), _expiry(data)
    root = "root" in _list(data.get("policies"))
    excess = [rights.ROOT] if root else []
    if data.get("num_uses"):
        # Each further question would use the token up.
        reason = "The token has a limited number of uses, so the portal did not ask what it may do"
        return ProbeResult(
            UpstreamStatus.VALID,
            account,
            expires_at,
            None,
            frozenset(),
            tuple(excess),
            evidence,
            "limited_uses",
            reason,
        )
    held = questions.ask_rights(upstream, plaintext, rights.list_questions(entry, parameters), nonce=nonce)
    if held is None:
        reason = "The token may not ask what it may do: grant update on sys/capabilities-self"
        return ProbeResult(
            UpstreamStatus.VALID,
            account,
            expires_at,
            None,
            frozenset(),
            tuple(excess),
            evidence,
            "rights_unknown",
            reason,
        )
    if not root:
        granted = questions.ask_granted(upstream, plaintext, nonce=nonce)
        excess += _dedupe(
            rights.find_excess(entry, parameters, held), rights.find_paths_beyond(entry, parameters, granted)
        )
    evidence["capabilities"] = {path: [*sorted(names)] for path, names in held.items()}
    return ProbeResult(
        UpstreamStatus.VALID,
        account,
        expires_at,
        effective_scopes=frozenset(s.id for s in entry.scopes if rights.holds(s, parameters, held)),
        partial_scopes=frozenset(s.id for s in entry.scopes if rights.touches(s, parameters, held)),
        excess=tuple(excess),
        evidence=evidence,
    )


def _dedupe(*lists: list[Excess]) -> list[Excess]:
    return list(dict.fromkeys(each for excess in lists for each in excess))


def _account(health: Health, data: dict[str, Json]) -> Account:
    """The cluster and the identity behind the token.

    With an entity (every login has one) the id is exact and survives rotation. Tokens from
    auth/token/create have
    none: there, the name and path of their making are all that two tokens of one purpose share, so equal
    ids mean
    "made the same way on the same cluster", not "made by the same person".
    """
    name = str(data.get("display_name") or "token")
    entity = data.get("entity_id")
    # Made at create or at create-orphan is one way of making: a successor is always an orphan.
    path = str(data.get("path") or "").removesuffix("-orphan")
    identity = f"entity/{entity}" if entity else f"token/{name}@{path}"
    # "accessor.nsid": tokens of two namespaces are never the same account.
    namespace = str(data.get("accessor") or "").partition(".")[2]
    parts = [health.cluster_id, *([namespace] if namespace else []), identity]
    return Account("/".join(parts), f"{name} on {health.cluster_name or health.cluster_id}")


def _expiry(data: dict[str, Json]) -> datetime | None:
    value = data.get("expire_time")
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment is not None and moment.tzinfo else None


def _evidence(health: Health, data: dict[str, Json]) -> dict[str, Json]:
    kept: dict[str, Json] = {name: data[name] for name in _KEPT if name in data}
    # Absent means none; `confirm` must be able to tell "none" from "not asked".
    kept["bound_cidrs"] = data.get("bound_cidrs") or []
    cluster: dict[str, Json] = {"cluster_id": health.cluster_id, "cluster_name": health.cluster_name}
    return {**kept, **cluster, "version": health.version}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
