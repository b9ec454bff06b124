"""What a portal of many tenants holds: rows for every look-up to find its way through, keys to use, a numbered log.

Rows are made in the database; entries by the real way: copied into the inbox and numbered by the real sequencer.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from bench.driving import ROOT, Use, stop
from byok_portal.boundary.identifiers import new_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

HOT_TENANTS, HOT_KEYS = 100, 10
LARGEST = "tenant-1"
_MANY: Final = ("keys_key", "keys_keyversion", "keys_grant")
_PART, _AHEAD = 50_000, 300_000
_FILL = "import sys; from bench import seeding; seeding.fill(int(sys.argv[1]))"

# Two owners and a consumer for each tenant; keys with what a use and the pages look through.
_ROWS = """
SET session_replication_role = replica;
INSERT INTO tenants_tenant (id, slug, name, state, created_at, ends_automatically)
SELECT uuidv7(), 'tenant-' || n, 'Tenant ' || n, 'active', now(), false FROM generate_series(1, {tenants}) n;
INSERT INTO tenants_user (id, password, is_superuser, email, name, is_staff, is_active, date_joined)
SELECT uuidv7(), '', false, 'owner-' || n || '@' || slug || '.example', '', false, true, now()
FROM tenants_tenant, generate_series(1, 2) n;
INSERT INTO tenants_membership (id, tenant_id, user_id, role, is_active, created_at)
SELECT uuidv7(), t.id, u.id, 'owner', true, now()
FROM tenants_tenant t, generate_series(1, 2) n, tenants_user u
WHERE u.email = 'owner-' || n || '@' || t.slug || '.example';
CREATE TEMP TABLE owners AS
SELECT tenant_id, array_agg(user_id) AS people FROM tenants_membership GROUP BY tenant_id;
INSERT INTO tenants_consumer (id, tenant_id, slug, name, kind, environment, operated_by, contact, state, created_at)
SELECT uuidv7(), id, 'reports', 'Reports', 'service', 'production', 'tenant', '', 'active', now() FROM tenants_tenant;
INSERT INTO keys_key (id, tenant_id, slug, name, provider_id, endpoint, parameters, environment, custody, purpose,
  owner_id, backup_owner_id, ends_on, scopes, justification, state, account_id, account_label, registered_by_id,
  next_version, suspends_for, created_at, is_canary)
SELECT uuidv7(), t.id, 'key-' || n, 'Key ' || n, (SELECT id FROM keys_provider WHERE slug = 'openbao'),
  'http://127.0.0.1:8200', '{{}}', 'production', 'sealed', 'Reports', o.people[1], o.people[2],
  current_date + 10 + (n * 37) % 350, '{{secrets:read}}', '', 'active', '', '', o.people[1], 2, '',
  now() - n * interval '1 minute', false
FROM tenants_tenant t JOIN owners o ON o.tenant_id = t.id,
  generate_series(1, CASE t.slug WHEN '{largest_slug}' THEN {largest} ELSE {each} END) n;
INSERT INTO keys_keyversion (id, tenant_id, key_id, number, state, hint, fingerprint, global_fingerprint,
  dek_version, end_reason, was_compromised, exposure, upstream_status, upstream_note, revoke_evidence, activated_at,
  created_at)
SELECT uuidv7(), tenant_id, id, 1, 'active', '', uuid_send(id), uuid_send(id), 1, '', false, 'none', 'valid', '',
  '{{}}', now(), now() FROM keys_key;
INSERT INTO keys_grant (id, tenant_id, key_id, consumer_id, scopes, deliveries, networks, starts_at, expires_at, state,
  reason, granted_by_id, end_reason, created_at)
SELECT uuidv7(), k.tenant_id, k.id, c.id, '{{secrets:read}}', '{{decision,lease,broker}}', '{{}}', now(),
  now() + interval '180 days', 'active', '', k.owner_id, '', now()
FROM keys_key k JOIN tenants_consumer c ON c.tenant_id = k.tenant_id;
"""

# What the pages show beside keys.
_BESIDE = """
SET session_replication_role = replica;
INSERT INTO keys_proof (id, tenant_id, key_id, version_id, challenge, method, account_id, account_label, evidence,
  effective_scopes, missing, excess, expires_at, created_at)
SELECT uuidv7(), tenant_id, key_id, id, '', 'openbao:live-probe', '', '', '{{}}', '{{secrets:read}}', '{{}}', '[]',
  now() + interval '60 days', now()
FROM keys_keyversion;
INSERT INTO audit_usageday (tenant_id, day, key_id, consumer_id, scope, allowed, denied, failed, last_at,
  last_allowed_at)
SELECT tenant_id, current_date - n, key_id, consumer_id, 'secrets:read', 5, 0, 0, now(), now()
FROM keys_grant, generate_series(0, 1) n;
INSERT INTO boundary_job (id, tenant_id, kind, subject_id, state, attempts, max_attempts, run_after, done_steps,
  total_steps, last_error, created_at, finished_at)
SELECT uuidv7(), tenant_id, 'keys.test_upstream', id, 'done', 1, 12, now(), 0, 0, '', created_at, now()
FROM keys_key WHERE substr(slug, 5)::int % 5 = 0;
INSERT INTO keys_incident (id, created_at, versions, exposure, reason, state, is_false_alarm, was_active,
  suspected_since, summary, opened_by_kind, opened_by_id, closed_at, key_id, tenant_id)
SELECT uuidv7(), created_at, '{{1}}', 'suspected', 'leak_report', CASE WHEN n % 100 = 0 THEN 'new' ELSE 'closed' END,
  n % 100 <> 0, true, created_at, 'A token was found in a build log', 'person', owner_id,
  CASE WHEN n % 100 <> 0 THEN now() END, id, tenant_id
FROM (SELECT *, substr(slug, 5)::int AS n FROM keys_key) k WHERE n % 20 = 0;
INSERT INTO keys_incidenttask (id, created_at, position, kind, label, state, settled_at, settled_by_kind, note,
  incident_id, tenant_id)
SELECT uuidv7(), created_at, n, (ARRAY['replace', 'review_uses', 'tell'])[n], '',
  CASE state WHEN 'new' THEN 'open' ELSE 'not_needed' END, CASE state WHEN 'closed' THEN now() END, '', '', id,
  tenant_id
FROM keys_incident, generate_series(1, 3) n;
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; the largest tenant has a hundredth of the keys and of the entries."""

    tenants: int
    keys: int
    entries: int = 0

    @property
    def each(self) -> int:
        """Keys of an ordinary tenant."""
        return max(HOT_KEYS, self.keys // self.tenants)

    @property
    def largest(self) -> int:
        """Keys of the largest."""
        return max(self.each, self.keys // 100)


def seed(admin_url: str, sizes: Sizes, *, beside: bool = False, note: Callable[[str], None] = print) -> None:
    """Rows of every kind that a use looks through; with `beside`, those of the pages too."""
    values = {"tenants": sizes.tenants, "each": sizes.each, "largest": sizes.largest, "largest_slug": LARGEST}
    with psycopg.connect(admin_url, autocommit=True) as admin:
        # Each row would note that its tenant has changed, and nothing that could have remembered it runs yet.
        for table in _MANY:
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER revision")
        for statement in (_ROWS + (_BESIDE if beside else "")).format(**values).split(";\n"):
            if statement.strip():
                note(statement.split("(")[0].strip().lower())
                admin.execute(statement)
            if statement.strip().startswith(("INSERT INTO tenants_user", "INSERT INTO keys_key ")):
                admin.execute("ANALYZE")
        for table in _MANY:
            admin.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER revision")
        admin.execute("RESET session_replication_role")


def tidy(admin_url: str) -> None:
    """As it would be after a quiet night."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("VACUUM ANALYZE")
        admin.execute("CHECKPOINT")


def seal_hot() -> list[Use]:
    """Tokens and real sealed credentials for the keys that are used; the largest tenant is among them."""
    with psycopg.connect(os.environ["DATABASE_URL_OWNER"].replace("postgres://", "postgresql://")) as owner:
        owner.execute("SET app.maintenance = 'on'")
        found = owner.execute(
            "SELECT id, slug FROM tenants_tenant ORDER BY slug <> %s, random() LIMIT %s", [LARGEST, HOT_TENANTS]
        )
        return [use for tenant_id, slug in found.fetchall() for use in _seal_tenant(tenant_id, slug)]


def _seal_tenant(tenant_id: UUID, slug: str) -> list[Use]:
    from django.db import transaction  # noqa: PLC0415  # once Django is set up

    from byok_portal.boundary import binding  # noqa: PLC0415
    from byok_portal.boundary.secrets import Secret  # noqa: PLC0415
    from keys.models import Key, KeyVersion, Material  # noqa: PLC0415
    from keys.services import custody  # noqa: PLC0415

    uses = []
    with binding.bind_tenant(tenant_id), transaction.atomic():
        token = issue_token(tenant_id, ["key:use"])
        custody.make_audit_key().save(force_insert=True)
        for key in Key.objects.order_by("slug")[:HOT_KEYS]:
            dek, blob = custody.seal_version(Secret("hvs." + "x" * 90), key_id=key.id, number=1)
            assert dek == 1
            version = KeyVersion.objects.get(key_id=key.id)
            Material.objects.create(tenant_id=tenant_id, version_id=version.id, blob=blob)
            uses.append((slug, key.slug, token))
    return uses


def issue_token(tenant_id: UUID, scopes: list[str]) -> str:
    """A token of the bound tenant's consumer, in clear."""
    from django.utils import timezone  # noqa: PLC0415

    from tenants import tokens  # noqa: PLC0415
    from tenants.models import Consumer, ConsumerToken  # noqa: PLC0415

    issued = tokens.issue()
    ConsumerToken.objects.create(
        tenant_id=tenant_id,
        consumer=Consumer.objects.get(),
        digest=issued.digest,
        prefix=issued.prefix,
        last_four=issued.last_four,
        scopes=scopes,
        expires_at=timezone.now() + timezone.timedelta(days=30),
    )
    return issued.plaintext.reveal_text()


def number_entries(admin_url: str, entries: int, tell: Callable[[int], None]) -> None:
    """Fill the log: one process copies events into the inbox, the real sequencer numbers them. `tell` is progress."""
    numbering = subprocess.Popen([sys.executable, "manage.py", "sequencer"], cwd=ROOT)
    told = {**os.environ, "BENCH_ADMIN_URL": admin_url}
    filling = subprocess.Popen([sys.executable, "-c", _FILL, str(entries)], cwd=ROOT, env=told)
    try:
        with psycopg.connect(admin_url, autocommit=True) as admin:
            first = log_size(admin)
            while (done := log_size(admin) - first) < entries:
                assert filling.poll() in (None, 0), "the inbox could not be filled"
                assert numbering.poll() is None, "the sequencer ended"
                tell(done)
                time.sleep(0.2)
            tell(done)
    finally:
        stop(filling)
        stop(numbering)


def log_size(admin: psycopg.Connection) -> int:
    """How many entries have their numbers."""
    row = admin.execute("SELECT max(size) FROM audit_logstate").fetchone()
    return int(row[0] or 0) if row else 0


def fill(entries: int) -> None:
    """In the child: uses of real keys by real consumers, over the last 90 days, never far ahead of the sequencer."""
    with psycopg.connect(os.environ["BENCH_ADMIN_URL"], autocommit=True) as admin:
        first, keys = log_size(admin), _find_keys(admin)
        tenants = list(keys)
        largest = tenants.index(_find_largest(admin))
        tenants[0], tenants[largest] = tenants[largest], tenants[0]
        done = 0
        while done < entries:
            part = min(_PART, entries - done)
            with admin.cursor().copy("COPY audit_inbox (event_id, tenant_id, body) FROM STDIN") as copy:
                for number in range(done, done + part):
                    tenant = tenants[0] if number % 100 == 0 else random.choice(tenants)
                    consumer, owned = keys[tenant]
                    moment = time.time() - 90 * 86_400 * (1 - number / entries)
                    copy.write_row(_event(tenant, consumer, random.choice(owned), moment, denied=number % 50 == 0))
            done += part
            admin.execute("VACUUM audit_inbox")
            while done - (log_size(admin) - first) > _AHEAD:
                time.sleep(0.05)


def _find_keys(admin: psycopg.Connection) -> dict[UUID, tuple[UUID, list[UUID]]]:
    found = admin.execute("SELECT tenant_id, (array_agg(consumer_id))[1], array_agg(key_id) FROM keys_grant GROUP BY 1")
    return {tenant: (consumer, owned) for tenant, consumer, owned in found}


def _find_largest(admin: psycopg.Connection) -> UUID:
    row = admin.execute("SELECT id FROM tenants_tenant WHERE slug = %s", [LARGEST]).fetchone()
    assert row
    found: UUID = row[0]
    return found


def _event(tenant: UUID, consumer: UUID, key: UUID, moment: float, *, denied: bool) -> tuple[Any, ...]:
    """A use as the portal records it, in the canonical order of its names."""
    event = new_id()
    at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))}.{int(moment % 1 * 1e6):06d}Z"
    code = '"code":"scope_missing",' if denied else ""
    body = (
        f'{{"action":"key.used","actor":{{"id":"{consumer}","kind":"consumer"}},'
        f'"detail":{{{code}"lease":1,"scope":"secrets:read"}},"id":"{event}",'
        f'"outcome":"{"denied" if denied else "allowed"}","priv":"{"A" * 43}=","req":"",'
        f'"target":{{"id":"{key}","kind":"key"}},"time":"{at}"}}'
    )
    return event, tenant, body
