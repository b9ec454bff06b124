"""What is put on record of a use, by whichever door it came. Must never hold a caller's free text in the leaf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit.services.recording import Event, Target
from byok_portal.errors import InvalidInput
from keys.calls import check_path, check_query, find_scopes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from keys.catalogue import ProviderEntry
    from keys.context import Loaded
    from keys.decision import Decision, UseRequest


def describe(
    loaded: Loaded,
    request: UseRequest,
    decision: Decision,
    *,
    tenant_id: UUID,
    scope: str,
    call: dict[str, str] | None = None,
) -> Event:
    """The event of one use. `scope`: the word of the provider's that was asked for, "" for none that it knows."""
    # Uses are most of the log, so nothing is said twice: the chain tells which grant was live, and the way of delivery
    # names the version that it gave (`"lease":3`; 0 for none).
    detail: dict[str, Any] = {
        "scope": scope,
        request.delivery.value: decision.version or 0,
        **({"network": decision.network} if decision.network else {}),
        **((call or {}) if decision.allowed else {"code": decision.code.value}),
    }
    target = Target("key", loaded.key_id) if loaded.key_id else Target("tenant", tenant_id)
    return Event("key.used", target, detail)


def private_of(request: UseRequest, decision: Decision, call: dict[str, str] | None = None) -> dict[str, Any]:
    """The caller's own words, for the side that can be erased: they may hold anything, a credential too.

    A call that a pattern has allowed is known in kind, and belongs on record.
    """
    return {"purpose": request.purpose, **({} if decision.allowed else call or {})}


def find_word(loaded: Loaded, scope: str | None) -> str | None:
    """The scope as it may be put on record; None where only the provider's entry can tell."""
    key = loaded.context.key
    if scope is None or key is None:
        return ""
    return scope if scope in key.scopes else None


def offered_word(scope: str | None, entry: ProviderEntry | None) -> str:
    """The scope if the provider has it; a word that nobody knows is not put on record for ever."""
    return scope if scope is not None and entry is not None and entry.scope(scope) else ""


def choose_scope(
    loaded: Loaded, entry: ProviderEntry, parameters: Mapping[str, str], *, method: str, path: str, query: str
) -> str | None:
    """The scope to decide a call on: one that allows it and is granted, else one that would allow it, else none."""
    try:
        check_path(path)
        check_query(query)
    except InvalidInput:
        return None  # denied as a call that no scope allows, and recorded
    matching = find_scopes(entry.scopes, method, path, parameters, query)
    granted = loaded.context.grant.scopes if loaded.context.grant else frozenset()
    key = loaded.context.key
    held = [scope for scope in matching if scope in granted and key is not None and scope in key.scopes]
    return next(iter(held or matching), None)
