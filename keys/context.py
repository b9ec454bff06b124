"""Reads everything that one use is decided on, in one statement, as the bound tenant. Caches nothing.

Only while a platform policy has begun that no job has brought to the tenant's clocks yet, the policies are read too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django.db import connections

from byok_portal.boundary import binding
from byok_portal.boundary.database.prepared import Statement
from byok_portal.boundary.identifiers import parse_id
from keys.facts import ConsumerFacts, GrantFacts, KeyFacts, UseContext, VersionFacts
from keys.policies import earliest
from keys.restrictions import Window, as_utc
from keys.rulebook import find_suspension
from keys.selectors import end_of
from keys.states import Custody, DataKeyState, Delivery, Environment, GrantState, KeyState, VersionState
from tenants.states import TenantState

COLUMNS: Final = """
CASE WHEN t.ends_automatically AND t.contract_ends_on < clock.today AND t.state <> 'offboarded'
            THEN 'offboarding' ELSE t.state END AS tenant_state,
       c.id AS consumer_id, c.environment AS consumer_environment,
       (c.state = 'active' AND k.revoked_at IS NULL AND k.expires_at > clock_timestamp()
        AND NOT coalesce(q.state = 'ended' OR (t.ends_automatically AND q.ends_on < clock.today), false)
       ) AS consumer_live,
       y.id AS key_id, y.name AS key_name,
       CASE WHEN y.state <> 'compromised'
             AND (own.state = 'ended' OR (t.ends_automatically AND own.ends_on < clock.today)) THEN 'revoked'
            ELSE y.state END AS key_state,
       y.environment, y.custody, y.scopes, y.ends_on,
       y.suspends_at, y.provider_id, y.is_canary,
       coalesce((SELECT max(p.number) FROM keys_platformpolicy p WHERE p.starts_at <= clock_timestamp()) > coalesce(
               (SELECT a.number FROM keys_appliedpolicy a WHERE a.tenant_id = t.id), 0), false) AS clock_behind,
       g.id AS grant_id, g.state AS grant_state, g.scopes AS grant_scopes, g.deliveries, g.networks, g."window",
       g.rate_per_minute, g.starts_at, g.expires_at,
       (SELECT jsonb_agg(jsonb_build_array(v.id, v.number, v.state, d.state,
                         date_part('epoch', v.expires_at), date_part('epoch', v.drain_until),
                         date_part('epoch', v.dark_from), date_part('epoch', v.dark_until)))
          FROM keys_keyversion v
          LEFT JOIN keys_tenantkey d ON d.tenant_id = v.tenant_id AND d.purpose = 'secret' AND d.version = v.dek_version
         WHERE v.tenant_id = y.tenant_id AND v.key_id = y.id AND v.state <> 'destroyed') AS versions
"""
"""What a decision is made from, of the tenant t, token k, consumer c, key y, their projects and the grant g."""

JOINS: Final = """
CROSS JOIN (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS today) clock
LEFT JOIN tenants_consumer c ON c.tenant_id = t.id AND c.id = k.consumer_id
LEFT JOIN keys_key y ON y.tenant_id = t.id AND {match}
LEFT JOIN tenants_project own ON own.tenant_id = t.id AND own.id = y.project_id
LEFT JOIN tenants_project q ON q.tenant_id = t.id AND q.id = c.project_id
LEFT JOIN LATERAL (
  SELECT id, state, scopes, deliveries, networks, "window", rate_per_minute, starts_at, expires_at
    FROM keys_grant WHERE tenant_id = t.id AND key_id = y.id AND consumer_id = c.id
  ORDER BY (state = 'active') DESC, created_at DESC LIMIT 1
) g ON true
"""
"""From a tenant t and a token k to everything else; `{match}` says which key."""

_STATEMENT: Final = f"""
SELECT {COLUMNS} FROM tenants_tenant t
LEFT JOIN tenants_consumertoken k ON k.tenant_id = t.id AND k.id = %(token)s
{JOINS} WHERE t.id = %(tenant)s
"""  # noqa: S608  # constants
_IDS: Final = {"tenant": "uuid", "token": "uuid"}
_BY_ID: Final = Statement("context_by_id", _STATEMENT.format(match="y.id = %(key)s"), _IDS | {"key": "uuid"})
_BY_SLUG: Final = Statement("context_by_slug", _STATEMENT.format(match="y.slug = %(key)s"), _IDS | {"key": "text"})


NAMES: Final = (
    "tenant_state",
    "consumer_id",
    "consumer_environment",
    "consumer_live",
    "key_id",
    "key_name",
    "key_state",
    "environment",
    "custody",
    "scopes",
    "ends_on",
    "suspends_at",
    "provider_id",
    "is_canary",
    "clock_behind",
    "grant_id",
    "grant_state",
    "grant_scopes",
    "deliveries",
    "networks",
    "window",
    "rate_per_minute",
    "starts_at",
    "expires_at",
    "versions",
)
"""The columns of COLUMNS in their order."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The context of a decision, and the ids that the door and the audit entry need beside it."""

    context: UseContext
    key_id: UUID | None
    key_name: str
    consumer_id: UUID | None
    grant_id: UUID | None
    rate_per_minute: int | None
    version_ids: dict[int, UUID]
    provider_id: UUID | None
    is_canary: bool = False


def load(*, token_id: UUID, key_reference: str) -> Loaded:
    """One statement; `key_reference` is an id or a slug. A missing tenant, token or key gives empty facts."""
    identifier, slug = parse_reference(key_reference)
    statement, key = (_BY_ID, identifier) if identifier else (_BY_SLUG, slug)
    values = {"tenant": binding.get_tenant(), "token": token_id, "key": key}
    connection: Any = connections[binding.DEFAULT]
    rows = connection.ask(statement, values)
    return loaded(dict(zip(NAMES, rows[0], strict=True)) if rows else {})


def parse_reference(text: str) -> tuple[UUID | None, str]:
    """(id, slug) of a key as a caller names it: one of the two."""
    identifier = parse_id(text)
    return identifier, "" if identifier else text[:60].replace("\0", "")


def loaded(row: dict[str, Any]) -> Loaded:
    """The context in one row of a statement with COLUMNS and JOINS; empty for none."""
    versions = _versions(row.get("versions"))
    context = UseContext(
        consumer=_consumer(row),
        tenant_state=TenantState(row.get("tenant_state", TenantState.OFFBOARDED)),
        key=_key(row),
        versions=tuple(facts for _, facts in versions),
        grant=_grant(row),
        rate=None,
    )
    return Loaded(
        context=context,
        key_id=row.get("key_id"),
        key_name=row.get("key_name") or "",
        consumer_id=row.get("consumer_id"),
        grant_id=row.get("grant_id"),
        rate_per_minute=row.get("rate_per_minute"),
        version_ids={facts.number: version_id for version_id, facts in versions},
        provider_id=row.get("provider_id"),
        is_canary=bool(row.get("is_canary")),
    )


def _consumer(row: dict[str, Any]) -> ConsumerFacts | None:
    if row.get("consumer_id") is None:
        return None
    return ConsumerFacts(row["consumer_id"], Environment(row["consumer_environment"]), bool(row["consumer_live"]))


def _key(row: dict[str, Any]) -> KeyFacts | None:
    if row.get("key_id") is None:
        return None
    return KeyFacts(
        id=row["key_id"],
        state=KeyState(row["key_state"]),
        environment=Environment(row["environment"]),
        custody=Custody(row["custody"]),
        scopes=frozenset(row["scopes"]),
        deliveries=frozenset(Delivery),
        ends_at=end_of(row["ends_on"]),
        suspends_at=_suspends_at(row),
    )


def _suspends_at(row: dict[str, Any]) -> datetime | None:
    stored: datetime | None = row["suspends_at"]
    return earliest(stored, find_suspension(row["key_id"])) if row["clock_behind"] else stored


def _grant(row: dict[str, Any]) -> GrantFacts | None:
    if row.get("grant_id") is None:
        return None
    window = row["window"]
    return GrantFacts(
        key_id=row["key_id"],
        consumer_id=row["consumer_id"],
        state=GrantState(row["grant_state"]),
        scopes=frozenset(row["grant_scopes"]),
        deliveries=frozenset(Delivery(word) for word in row["deliveries"]),
        networks=tuple(row["networks"]),
        window=parse_window(window),
        starts_at=_in_utc(row["starts_at"]),
        ends_at=_in_utc(row["expires_at"]),
    )


def parse_window(stored: Any) -> Window | None:
    """The weekly window of a grant, from its JSON column (text or parsed)."""
    document = json.loads(stored) if isinstance(stored, str) else stored
    if not document:
        return None
    return Window(frozenset(document["days"]), document["start_minute"], document["end_minute"])


def _versions(stored: Any) -> list[tuple[UUID, VersionFacts]]:
    rows = json.loads(stored) if isinstance(stored, str) else stored or []
    return [
        (
            UUID(version_id),
            VersionFacts(
                number=number,
                state=VersionState(state),
                data_key=DataKeyState(data_key) if data_key else None,
                expires_at=_moment(expires),
                drain_until=_moment(drains),
                dark_from=_moment(dark_from),
                dark_until=_moment(dark_until),
            ),
        )
        for version_id, number, state, data_key, expires, drains, dark_from, dark_until in rows
    ]


def _in_utc(moment: datetime | None) -> datetime | None:
    """Once here, so that not every use of remembered facts must."""
    return None if moment is None else as_utc(moment)


def _moment(epoch: float | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, tz=UTC)
