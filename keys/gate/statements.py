"""What the gate says to the database: one read and one write per batch, and one more where rates are counted.

Batches span tenants, so each statement names the tenant of each row itself (decision 0016).
"""

from __future__ import annotations

from typing import Final

from byok_portal.boundary.identifiers import PLATFORM
from keys import context
from keys.gate.links import Statement

_FIRST: Final = (
    "revision",
    "until",
    "tenant_id",
    "tenant_slug",
    "token_id",
    "token_scopes",
    "token_live",
    "consumer_slug",
    "audit_key",
    "provider_digest",
    "provider_document",
    "endpoint",
    "parameters",
    "allow_private",
    "material",
)

_MATCH: Final = (
    "y.id = coalesce(a.key_id, (SELECT s.id FROM keys_key s WHERE s.tenant_id = t.id AND s.slug = a.key_slug))"
)
ASKED: Final = "$1::bytea[], $2::uuid[], $3::text[], $4::text[], $5::bool[], $6::bool[], $8::int4[]"
"""One row for each use that is asked for, with `ASKED_NAMES`; $7 are the digests of the provider entries at hand."""

ASKED_NAMES: Final = "digest, key_id, key_slug, scope, opens, broker, version"

_REVISION: Final = (
    "coalesce((SELECT string_agg(uuid_send(h.id), '' ORDER BY h.id) FROM boundary_revision h"
    " WHERE h.tenant_id = {whose}), '')"
)
_OF_ALL: Final = _REVISION.format(whose=f"'{PLATFORM}'")

FACTS: Final = f"""
SELECT {_OF_ALL} || {_REVISION.format(whose="t.id")} AS revision,
       extract(epoch FROM least(k.expires_at, (clock.today + 1)::timestamp AT TIME ZONE 'UTC',
         (SELECT min(o.starts_at) FROM keys_platformpolicy o WHERE o.starts_at > statement_timestamp())
       ))::float8 AS until,
       t.id AS tenant_id, t.slug AS tenant_slug, k.id AS token_id, k.scopes AS token_scopes,
       (c.state = 'active' AND k.revoked_at IS NULL AND k.expires_at > clock_timestamp()) AS token_live,
       c.slug AS consumer_slug,
       (SELECT ARRAY[int4send(e.version), convert_to(e.wrapper, 'UTF8'), convert_to(e.kek_ref, 'UTF8'), e.wrapped,
                     e.kcv]
          FROM audit_datakey e WHERE e.tenant_id = t.id) AS audit_key,
       pr.digest AS provider_digest,
       CASE WHEN pr.digest <> ALL ($7::text[]) AND (a.broker OR NOT a.scope = ANY (y.scopes))
            THEN pr.document::text END AS provider_document,
       CASE WHEN a.broker THEN y.endpoint END AS endpoint, CASE WHEN a.broker THEN y.parameters END AS parameters,
       pr.allow_private_networks AS allow_private,
       CASE WHEN a.opens THEN ARRAY(
         SELECT ARRAY[int4send(v.number), m.blob, int4send(d.version), convert_to(d.wrapper, 'UTF8'),
                      convert_to(d.kek_ref, 'UTF8'), d.wrapped, d.kcv, convert_to(d.state, 'UTF8')]
           FROM keys_keyversion v
           JOIN keys_material m ON m.tenant_id = v.tenant_id AND m.version_id = v.id
           JOIN keys_tenantkey d ON d.tenant_id = v.tenant_id AND d.purpose = 'secret' AND d.version = v.dek_version
          WHERE v.tenant_id = y.tenant_id AND v.key_id = y.id AND (v.state = 'active' OR v.number = a.version)
       ) END AS material, {context.COLUMNS}
  FROM tenants_consumertoken k
  JOIN tenants_tenant t ON t.id = k.tenant_id {context.JOINS.format(match=_MATCH)}
  LEFT JOIN keys_provider pr ON pr.id = y.provider_id
 WHERE k.digest = a.digest
"""  # noqa: S608  # constants
"""Everything that the use `a` is decided on; no row for a token that nobody has.

It stays as it is while `revision` does and until `until`: the next moment when the clock alone may change a column.
"""

CONTEXTS: Final = Statement(
    "gate_contexts",
    f"""
SELECT a.n, facts FROM unnest({ASKED}) WITH ORDINALITY AS a({ASKED_NAMES}, n), LATERAL ({FACTS}) facts
""",  # noqa: S608  # constants
)

# A draft holds if nothing has changed that it was decided on: then it is the decision, made by the same code on what
# would be read here, and is recorded as such. The facts hold the audit data key, so that needs no second look.
CONFIRM: Final = Statement(
    "gate_confirm",
    f"""
WITH given AS MATERIALIZED (
  SELECT a.n, a.event_id, a.tenant_id, a.body, a.sealed
    FROM unnest($1::bytea[], $2::float8[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[]) WITH ORDINALITY
         AS a(revision, until, event_id, tenant_id, body, sealed, n)
   WHERE to_timestamp(a.until) > clock_timestamp() AND a.revision = {_OF_ALL} || {_REVISION.format(whose="a.tenant_id")}
), private AS (
  INSERT INTO audit_private (event_id, tenant_id, sealed)
  SELECT event_id, tenant_id, sealed FROM given WHERE sealed IS NOT NULL
), inbox AS (
  INSERT INTO audit_inbox (event_id, tenant_id, body) SELECT event_id, tenant_id, body FROM given ORDER BY n
)
SELECT n FROM given
""",  # noqa: S608  # constants
)
"""Puts on record what was decided beforehand on facts that are those of now, and says which those are."""

CONTEXT_NAMES: Final = (*_FIRST, *context.NAMES)
"""The parts of the record in their order. One record, because equal bytes are then one comparison."""

# The audit data key may be shredded since it was read: then the record has no personal data beside it.
RECORD: Final = Statement(
    "gate_record",
    """
WITH given AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::int4[], $6::bytea[]) WITH ORDINALITY
         AS g(event_id, tenant_id, body, sealed, version, kcv, n)
), private AS (
  INSERT INTO audit_private (event_id, tenant_id, sealed)
  SELECT g.event_id, g.tenant_id, g.sealed FROM given g
   WHERE g.sealed IS NOT NULL AND EXISTS (
     SELECT FROM audit_datakey d WHERE d.tenant_id = g.tenant_id AND d.version = g.version AND d.kcv = g.kcv
        AND d.wrapped IS NOT NULL)
)
INSERT INTO audit_inbox (event_id, tenant_id, body) SELECT event_id, tenant_id, body FROM given ORDER BY n
""",
)

COUNT: Final = Statement(
    "gate_count",
    """
INSERT INTO keys_ratewindow (id, tenant_id, grant_id, minute, uses, created_at)
SELECT id, tenant_id, grant_id, to_timestamp($5::float8), uses, now()
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int4[]) AS a(id, tenant_id, grant_id, uses) ORDER BY grant_id
ON CONFLICT (tenant_id, grant_id, minute) DO UPDATE SET uses = keys_ratewindow.uses + excluded.uses
RETURNING grant_id, uses
""",
)

FORGET: Final = Statement(
    "gate_forget",
    """
DELETE FROM keys_ratewindow w USING unnest($1::uuid[], $2::uuid[]) AS a(tenant_id, grant_id)
 WHERE w.tenant_id = a.tenant_id AND w.grant_id = a.grant_id AND w.minute < to_timestamp($3::float8)
""",
)

ASKERS: Final = Statement(
    "gate_askers",
    """
SELECT a.n, t.id, k.scopes, c.id, c.slug,
       (c.state = 'active' AND k.revoked_at IS NULL AND k.expires_at > clock_timestamp()) AS token_live,
       (SELECT ARRAY[int4send(e.version), convert_to(e.wrapper, 'UTF8'), convert_to(e.kek_ref, 'UTF8'), e.wrapped,
                     e.kcv]
          FROM audit_datakey e WHERE e.tenant_id = t.id) AS audit_key,
       (SELECT ARRAY[int4send(d.version), convert_to(d.wrapper, 'UTF8'), convert_to(d.kek_ref, 'UTF8'), d.wrapped,
                     d.kcv]
          FROM keys_tenantkey d
         WHERE d.tenant_id = t.id AND d.purpose = 'fingerprint' AND d.state = 'active') AS pepper,
       ARRAY(SELECT DISTINCT pr.slug::text FROM keys_key y JOIN keys_provider pr ON pr.id = y.provider_id
              WHERE y.tenant_id = t.id) AS providers
  FROM unnest($1::bytea[]) WITH ORDINALITY AS a(digest, n)
  JOIN tenants_consumertoken k ON k.digest = a.digest
  JOIN tenants_tenant t ON t.id = k.tenant_id
  JOIN tenants_consumer c ON c.tenant_id = t.id AND c.id = k.consumer_id
""",
)
"""Who asks about credentials, and what their fingerprints are made with."""

CREDENTIALS: Final = Statement(
    "gate_credentials",
    """
SELECT a.n, v.number, y.id, y.scopes, y.environment, y.ends_on,
       t.state, coalesce(t.ends_automatically AND t.contract_ends_on < clock.today, false),
       p.state, coalesce(t.ends_automatically AND p.ends_on < clock.today, false),
       y.state, y.suspends_at, v.state, v.expires_at, v.drain_until, v.dark_from, v.dark_until,
       coalesce((SELECT max(q.number) FROM keys_platformpolicy q WHERE q.starts_at <= clock_timestamp()) > coalesce(
               (SELECT l.number FROM keys_appliedpolicy l WHERE l.tenant_id = t.id), 0), false) AS clock_behind
  FROM unnest($1::int4[], $2::uuid[], $3::bytea[]) AS a(n, tenant_id, fingerprint)
  CROSS JOIN (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS today) clock
  JOIN keys_keyversion v ON v.tenant_id = a.tenant_id AND v.fingerprint = a.fingerprint
  JOIN keys_key y ON y.tenant_id = v.tenant_id AND y.id = v.key_id
  JOIN tenants_tenant t ON t.id = v.tenant_id
  LEFT JOIN tenants_project p ON p.tenant_id = t.id AND p.id = y.project_id
 ORDER BY a.n, v.number
""",
)
"""Versions by their fingerprints, the newest of each last."""
