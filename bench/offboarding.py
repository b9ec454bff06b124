"""How fast the end of a large tenant is, and what it costs everybody else: on a PostgreSQL of its own with fsync on.

`start`: until every use is refused. `cascade`: until the tenant is closed, no provider being called. `web`: the 95th
percentile of another tenant's key list, before and during the cascade. The floors are those of 10,000 keys on 2 cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.audit_log import prepare, report  # noqa: E402
from byok_portal.quickstart import state  # noqa: E402
from byok_portal.quickstart.postgres import Cluster  # noqa: E402

if TYPE_CHECKING:
    from uuid import UUID

FLOOR_START_MS, FLOOR_CASCADE_SECONDS, FLOOR_TIMES = 100, 60, 2
IDLE_REQUESTS, PAUSE_SECONDS = 150, 0.02
ENDING, BESIDE = "ending", "beside"

# Two tenants with an owner each. The first has all the keys with a grant each, the second some to look at meanwhile.
SEED = """
SET session_replication_role = replica;
INSERT INTO tenants_tenant (id, slug, name, state, created_at)
VALUES (gen_random_uuid(), 'ending', 'Ending', 'active', now()),
  (gen_random_uuid(), 'beside', 'Beside', 'active', now());
INSERT INTO tenants_user (id, password, is_superuser, email, name, is_staff, is_active, date_joined)
SELECT gen_random_uuid(), '', false, 'owner-' || n || '@' || t.slug || '.example', '', false, true, now()
FROM tenants_tenant t, generate_series(1, 2) n;
INSERT INTO tenants_membership (id, tenant_id, user_id, role, is_active, created_at)
SELECT gen_random_uuid(), t.id, u.id, 'owner', true, now()
FROM tenants_tenant t JOIN tenants_user u ON u.email LIKE '%%@' || t.slug || '.example';
CREATE TEMP TABLE owners AS SELECT tenant_id, array_agg(user_id) AS people FROM tenants_membership GROUP BY tenant_id;
INSERT INTO tenants_consumer (id, tenant_id, slug, name, kind, environment, operated_by, contact, state, created_at)
SELECT gen_random_uuid(), id, 'reports-' || n, 'Reports ' || n, 'service', 'production', 'tenant', '', 'active', now()
FROM tenants_tenant, generate_series(1, 20) n;
INSERT INTO keys_key (id, tenant_id, slug, name, provider_id, endpoint, parameters, environment, custody, purpose,
  owner_id, backup_owner_id, ends_on, scopes, justification, state, account_id, account_label, registered_by_id,
  next_version, suspends_for, created_at{extra_columns})
SELECT gen_random_uuid(), o.tenant_id, 'key-' || n, 'Key ' || n, (SELECT id FROM keys_provider LIMIT 1), '', '{}',
  'production', 'sealed', 'Reports', o.people[1], o.people[2], current_date + 300, '{secrets:read}', '', 'active', '',
  '', o.people[1], 2, '', now(){extra_values}
FROM owners o JOIN tenants_tenant t ON t.id = o.tenant_id,
  generate_series(1, CASE t.slug WHEN 'ending' THEN %(keys)s ELSE 200 END) n;
INSERT INTO keys_keyversion (id, tenant_id, key_id, number, state, hint, fingerprint, global_fingerprint, dek_version,
  end_reason, was_compromised, exposure, upstream_status, upstream_note, revoke_evidence, activated_at, created_at)
SELECT gen_random_uuid(), tenant_id, id, 1, 'active', '', uuid_send(id), uuid_send(id), 1, '', false, 'none', 'valid',
  '', '{}', now(), now()
FROM keys_key;
INSERT INTO keys_grant (id, tenant_id, key_id, consumer_id, scopes, deliveries, networks, starts_at, expires_at, state,
  reason, granted_by_id, end_reason, created_at)
SELECT gen_random_uuid(), k.tenant_id, k.id,
  (SELECT c.id FROM tenants_consumer c WHERE c.tenant_id = k.tenant_id ORDER BY c.slug LIMIT 1), '{secrets:read}',
  '{decision}', '{}', now(), now() + interval '180 days', 'active', '', k.owner_id, '', now()
FROM keys_key k;
INSERT INTO audit_usageday (tenant_id, day, key_id, consumer_id, scope, allowed, denied, failed, last_at,
  last_allowed_at)
SELECT tenant_id, current_date - n, key_id, consumer_id, 'secrets:read', 5, 0, 0, now(), now()
FROM keys_grant, generate_series(0, 2) n;
"""
CHILD = "from bench import offboarding; offboarding.cascade()"


def main() -> None:
    """Set up, measure, print one line per figure; exit code 1 when a floor is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=10_000)
    arguments = parser.parse_args()
    cluster = Cluster(state.state_folder("bench"), durable=True)
    cluster.start()
    try:
        admin_url = prepare(cluster.admin_url())
        seed(admin_url, arguments.keys)
        missed = measure(arguments.keys)
    finally:
        cluster.stop()
    sys.exit(1 if missed else 0)


def seed(admin_url: str, keys: int) -> None:
    """Fill the two tenants."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        found = {
            row[0]
            for row in admin.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'keys_key' "
                "AND is_nullable = 'NO' AND column_default IS NULL AND data_type = 'boolean'"
            )
        }
        columns = "".join(f", {name}" for name in sorted(found))
        script = SEED.replace("{extra_columns}", columns).replace("{extra_values}", ", false" * len(found))
        for statement in script.replace("%(keys)s", str(keys)).split(";\n"):
            if statement.strip():
                admin.execute(statement.replace("%%", "%"))
        admin.execute("RESET session_replication_role")
        admin.execute("VACUUM ANALYZE")


def measure(keys: int) -> int:
    """Look at the neighbour, end the tenant, look again meanwhile. Returns how many floors were missed."""
    set_up()
    idle = watch(lambda done: done >= IDLE_REQUESTS)
    milliseconds = start()
    child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    during = watch(lambda _done: child.poll() is not None)
    told = (child.stdout.read() if child.stdout else "").split()
    if child.returncode or len(told) != 2:
        raise SystemExit("the cascade failed")
    seconds, steps = float(told[0]), int(told[1])
    before, meanwhile = p95(idle), p95(during)
    print(f"cascade: {steps:,} steps; web: {len(idle)} and {len(during)} requests", flush=True)  # noqa: T201
    return (
        report(f"start: until {keys:,} keys are refused", milliseconds, FLOOR_START_MS, "ms", at_most=True)
        + report(f"cascade over {keys:,} keys", seconds, FLOOR_CASCADE_SECONDS, "s", at_most=True)
        + report("web: p95 before", before, 1000, "ms", at_most=True)
        + report("web: p95 during the cascade", meanwhile, 1000, "ms", at_most=True)
        + report("web: times slower", meanwhile / before, FLOOR_TIMES, "x", at_most=True)
    )


def set_up() -> None:
    """Django on the throwaway database."""
    import django  # noqa: PLC0415

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "byok_portal.settings")
    django.setup()
    from django.conf import settings  # noqa: PLC0415

    # The pages' files are not collected here, and nobody asks for them.
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


def tenant_id(slug: str) -> UUID:
    """A tenant of the two, looked up as staff can."""
    from tenants.models import Tenant  # noqa: PLC0415

    found: UUID = Tenant.objects.using("staff").get(slug=slug).id
    return found


def watch(is_over: Any) -> list[float]:
    """Milliseconds of one request after another for the neighbour's key list, signed in as its owner."""
    from django.test import Client  # noqa: PLC0415

    from byok_portal.boundary import binding  # noqa: PLC0415
    from tenants.models import Membership  # noqa: PLC0415

    with binding.bind_tenant(tenant_id(BESIDE)), binding.reading():
        person = Membership.objects.select_related("user")[0].user
    browser, taken = Client(headers={"Host": "localhost"}), []
    browser.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
    for _ in range(10):
        browser.get(f"/t/{BESIDE}/keys/")
    while not is_over(len(taken)):
        began = time.perf_counter()
        answer = browser.get(f"/t/{BESIDE}/keys/")
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise SystemExit(f"the neighbour's page answered {answer.status_code}")
        time.sleep(PAUSE_SECONDS)
    return taken


def start() -> float:
    """Milliseconds until the commit from which on every use is refused, plan checked; the steps come after it."""
    from byok_portal.boundary import actors, binding  # noqa: PLC0415
    from byok_portal.boundary.actors import Origin  # noqa: PLC0415
    from byok_portal.boundary.identifiers import new_id  # noqa: PLC0415
    from keys import endings  # noqa: PLC0415
    from keys.services import offboarding  # noqa: PLC0415
    from tenants.states import SubjectKind  # noqa: PLC0415

    actor = actors.staff(new_id(), label="", origin=Origin(address="127.0.0.1"))
    ended: list[float] = []
    write_steps, began = offboarding._plan, 0.0  # noqa: SLF001  # what comes after the first commit

    def stop_the_clock(*arguments: Any) -> None:
        ended.append(time.perf_counter())
        write_steps(*arguments)

    offboarding._plan = stop_the_clock  # noqa: SLF001
    ending = tenant_id(ENDING)
    with binding.bind_tenant(ending):
        with binding.reading():
            digest = endings.digest_of(SubjectKind.TENANT, ending)
        began = time.perf_counter()
        offboarding.start(actor=actor, reason="contract_ended", confirmation=ENDING, digest=digest)
    steps = time.perf_counter() - ended[0]
    print(f"start: the steps were written in {steps:.2f} s more", flush=True)  # noqa: T201
    return (ended[0] - began) * 1000


def cascade() -> None:
    """In the child, as a worker would: the whole run, timed."""
    set_up()
    from byok_portal.boundary import binding, jobs  # noqa: PLC0415
    from byok_portal.boundary.models import Job  # noqa: PLC0415
    from keys.models import Key  # noqa: PLC0415
    from keys.services import offboarding  # noqa: PLC0415
    from tenants.models import OffboardingStep  # noqa: PLC0415

    ending = tenant_id(ENDING)
    with binding.bind_tenant(ending), binding.reading():
        job = Job.objects.get(tenant_id=ending, kind=offboarding.ADVANCE)
    began = time.perf_counter()
    state_after = jobs.run(str(ending), str(job.id))
    seconds = time.perf_counter() - began
    with binding.bind_tenant(ending), binding.reading():
        steps = OffboardingStep.objects.filter(state="done").count()
        if state_after != "done" or Key.objects.exclude(state="revoked").exists():
            raise SystemExit(f"the cascade ended as {state_after}")
    print(f"{seconds:.2f} {steps}")  # noqa: T201


def p95(taken: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(taken, n=20)[-1]


if __name__ == "__main__":
    main()
