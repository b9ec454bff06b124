"""Asking a provider about a credential: probe, compare with what was chosen, refuse with the reason. Stores nothing."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from byok_portal.errors import Refused, UpstreamUnavailable
from keys.catalogue import load_catalogue
from keys.providers import get_adapter
from keys.providers.comparison import Comparison, compare
from keys.providers.contract import ProbeResult, Upstream, UpstreamStatus
from keys.services.catalogue import entry_of
from keys.shapes import check_shape, mode_of

if TYPE_CHECKING:
    from byok_portal.boundary.secrets import Secret
    from keys.catalogue import ProviderEntry
    from keys.models import Key


MAX_ACCOUNT: Final = 300


@dataclass(frozen=True, slots=True)
class Evidence:
    """A probe that answered, with the comparison of what the credential can do and what was chosen."""

    challenge: str
    result: ProbeResult
    comparison: Comparison
    mode: str = ""
    """`live` or `test`, when the credential's form says so."""


def upstream_of(key: Key) -> Upstream:
    """Where calls with this key go."""
    return Upstream(
        entry=entry_of(key.provider),
        base_url=key.endpoint,
        parameters=key.parameters,
        allow_private=key.provider.allow_private_networks,
    )


def check_secret(plaintext: Secret, entry: ProviderEntry, *, environment: str) -> None:
    """Shape, length, characters and mode of a pasted secret. Raises InvalidInput for the field `secret`."""
    check_shape(plaintext, entry, load_catalogue(), environment=environment)


def prove(key: Key, plaintext: Secret) -> Evidence:
    """Probe live. Raises Refused for a dead, foreign or insufficient credential, UpstreamUnavailable without an answer.

    Must be called outside any transaction: it waits for the network. The account must be the one that the key is
    bound to already, if it is.
    """
    challenge = secrets.token_hex(16)
    upstream = upstream_of(key)
    result = get_adapter(upstream.entry).probe(upstream, plaintext, challenge)
    if result.status == UpstreamStatus.INVALID:
        raise Refused(
            f"{key.provider.name} refuses this credential: {result.reason}",
            code="proof_failed",
            field="secret",
        )
    if result.status != UpstreamStatus.VALID or result.account is None:
        raise UpstreamUnavailable(
            f"{key.provider.name} gave no clear answer, so nothing was stored: {result.reason}",
            field="secret",
        )
    if key.account_id and result.account.id[:MAX_ACCOUNT] != key.account_id:
        raise Refused(
            f"This credential belongs to another account at {key.provider.name} than the key is bound to.",
            code="other_account",
            field="secret",
        )
    comparison = compare(set(key.scopes), result, upstream.entry)
    if comparison.missing:
        names = ", ".join(sorted(comparison.missing))
        raise Refused(
            f"This credential cannot do what was chosen: {names}. "
            "Take the scope out, or give the credential the right.",
            code="scope_missing_upstream",
            field="scopes",
        )
    return Evidence(challenge, result, comparison, mode_of(plaintext, upstream.entry))
