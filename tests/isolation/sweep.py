"""The policy sweep: reads the catalogue of the database and says what breaks isolation. It never asks Django's models.

Every relation is on the reviewed list of global tables with exactly those rights, or is a tenant table all through.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from byok_portal.boundary.grants import GATE_RIGHTS, GLOBAL_SEQUENCES, GLOBAL_TABLES
from byok_portal.boundary.schema import APP, AUDITOR, DIRECTORY, GATE, OWNER, READER, SEQUENCER, STAFF

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

RUN_TIME: Final = (APP, STAFF, SEQUENCER, AUDITOR, READER, GATE)
ROLES: Final = (OWNER, *RUN_TIME, DIRECTORY)
OTHERS: Final = (STAFF, SEQUENCER, AUDITOR, READER)

TENANT_COLUMN: Final = {"tenants_tenant": "id"}
"""In every other tenant table it is `tenant_id`."""

UNIQUE_WITHOUT_TENANT: Final = {
    ("tenants_tenant", ("slug",)): "an address of the whole installation; only staff choose one",
    ("audit_entry", ("idx",)): "a position in the one log; only the sequencer gives one out",
}
CIPHERTEXT: Final = {"keys_material": {APP}, "keys_tenantkey": {APP}, "audit_datakey": {APP, STAFF}}
"""Tables of sealed material and wrapped keys: who may have any right on them, the gate's named columns aside."""

GATE_POLICIES: Final = {
    "SELECT": ("r", [GATE], "true", None),
    "INSERT": ("a", [GATE], None, "true"),
    "UPDATE": ("w", [GATE], "true", "true"),
    "DELETE": ("d", [GATE], "true", None),
}

DEFINERS: Final = {
    "boundary_note_revision": (OWNER, OWNER),
    "directory_memberships": (DIRECTORY, APP),
    "directory_token": (DIRECTORY, APP),
    "directory_invitation": (DIRECTORY, APP),
    "directory_due_jobs": (DIRECTORY, APP),
    "directory_running_jobs": (DIRECTORY, APP),
    "directory_due_heartbeats": (DIRECTORY, APP),
    "directory_shared_secrets": (DIRECTORY, APP),
    "directory_due_mails": (DIRECTORY, APP),
    "directory_due_reminders": (DIRECTORY, APP),
    "directory_due_suspensions": (DIRECTORY, APP),
    "directory_due_versions": (DIRECTORY, APP),
    "directory_due_grants": (DIRECTORY, APP),
    "directory_behind_policy": (DIRECTORY, APP),
    "directory_due_confirmations": (DIRECTORY, APP),
    "directory_unasked_tenants": (DIRECTORY, APP),
    "directory_due_drills": (DIRECTORY, APP),
    "directory_due_ends": (DIRECTORY, APP),
    "directory_due_projects": (DIRECTORY, APP),
    # Makes a table, so it is the owner's; it takes a number and says nothing.
    "audit_add_partition": (OWNER, SEQUENCER),
}
"""Functions that run with their owner's rights: who owns each, and who alone may call it."""
DEFINER_PATH: Final = "search_path=public, pg_temp"

OWN: Final = (
    "({column} = ( SELECT (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid AS \"nullif\"))"
)
MAINTENANCE: Final = "(current_setting('app.maintenance'::text, true) = 'on'::text)"
ROW_RIGHTS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})

_RELATIONS = """
SELECT c.oid, c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
       pg_get_userbyid(c.relowner), coalesce(c.reloptions, '{}'), n.nspname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
ORDER BY c.relname
"""
_RIGHTS = """
SELECT coalesce(pg_get_userbyid(nullif(a.grantee, 0)), 'PUBLIC'), a.privilege_type
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = %s AND a.grantee <> c.relowner
"""
_COLUMN_RIGHTS = """
SELECT attname, coalesce(pg_get_userbyid(nullif(a.grantee, 0)), 'PUBLIC'), a.privilege_type
FROM pg_attribute, aclexplode(attacl) a WHERE attrelid = %s
"""
_POLICIES = """
SELECT polname, polpermissive, polcmd,
       ARRAY(SELECT coalesce(pg_get_userbyid(nullif(r, 0)), 'PUBLIC') FROM unnest(polroles) r),
       pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
FROM pg_policy WHERE polrelid = %s ORDER BY polname
"""
_COLUMNS = """
SELECT attname, attnotnull, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
"""
_INDEXES = """
SELECT i.indisunique, ARRAY(SELECT coalesce(a.attname::text, '(expression)')
       FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (n, o)
       LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n AND k.n > 0
       WHERE k.o <= i.indnkeyatts ORDER BY k.o), i.indpred IS NOT NULL, i.indisvalid
FROM pg_index i WHERE i.indrelid = %s
"""
_FOREIGN_KEYS = """
SELECT conname, confrelid::regclass::text, convalidated,
       ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k (n, o)
             JOIN pg_attribute ON attrelid = conrelid AND attnum = k.n ORDER BY o),
       ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY k (n, o)
             JOIN pg_attribute ON attrelid = confrelid AND attnum = k.n ORDER BY o)
FROM pg_constraint WHERE conrelid = %s AND contype = 'f'
"""
_TRIGGERS = """
SELECT tgname, tgenabled, tgtype, tgfoid FROM pg_trigger WHERE tgrelid = %s AND NOT tgisinternal
"""
_PARENT_TRIGGERS = """
SELECT tgname, tgenabled, tgtype, tgfoid FROM pg_trigger JOIN pg_inherits ON tgrelid = inhparent
WHERE inhrelid = %s AND NOT tgisinternal
"""
_RULES = "SELECT rulename FROM pg_rewrite WHERE ev_class = %s AND rulename <> '_RETURN'"


def sweep(connection: psycopg.Connection) -> list[str]:
    """Everything that is wrong with the schema, one sentence each; empty when isolation holds."""
    return [*_sweep_relations(connection), *sweep_functions(connection), *sweep_roles(connection)]


def _sweep_relations(connection: psycopg.Connection) -> Iterator[str]:
    seen = set()
    for oid, name, kind, *rest in connection.execute(_RELATIONS).fetchall():
        enabled, forced, partition, owner, options, schema = rest
        seen.add(name)
        if owner != OWNER:
            yield f"{name}: owned by {owner}"
        if schema != "public":
            yield f"{name}: in the unknown schema {schema}"
        if kind == "v" and "security_invoker=true" not in options:
            yield f"{name}: a view that reads with its owner's rights"
        elif kind in "mf":
            yield f"{name}: a materialised view or foreign table has no row-level security"
        elif kind == "S":
            yield from _sweep_sequence(connection, oid, name)
        elif kind in "rp" and name in GLOBAL_TABLES:
            yield from _compare_rights(connection, oid, name, GLOBAL_TABLES[name])
        elif partition:
            yield from _sweep_partition(connection, oid, name, security=(enabled, forced))
        elif kind in "rp":
            yield from _sweep_tenant_table(connection, oid, name, security=(enabled, forced))
    yield from (f"{name}: on the global list, but not in the database" for name in GLOBAL_TABLES.keys() - seen)


def _sweep_sequence(connection: psycopg.Connection, oid: int, name: str) -> Iterator[str]:
    if name not in GLOBAL_SEQUENCES and _rights(connection, oid):
        yield f"{name}: a sequence that a role may use tells how much other tenants write"
    elif extra := _rights(connection, oid) - {(APP, "USAGE")}:
        yield f"{name}: rights beyond the reviewed ones: {sorted(extra)}"


def _sweep_partition(
    connection: psycopg.Connection, oid: int, name: str, *, security: tuple[bool, bool]
) -> Iterator[str]:
    """Rows are reached through the parent only, with its policies: the partition itself is open to nobody."""
    if security != (True, True):
        yield f"{name}: row-level security is not enabled and forced"
    if _rights(connection, oid) or connection.execute(_COLUMN_RIGHTS, [oid]).fetchall():
        yield f"{name}: a partition is addressed directly, past its parent's policies"
    for policy, *_ in connection.execute(_POLICIES, [oid]).fetchall():
        yield f"{name}: the policy {policy} opens a partition"
    triggers = set(connection.execute(_TRIGGERS, [oid]).fetchall())
    parents = connection.execute(_PARENT_TRIGGERS, [oid]).fetchall()
    yield from (
        f"{name}: lacks the trigger {trigger[0]} of its parent" for trigger in parents if trigger not in triggers
    )


def _sweep_tenant_table(
    connection: psycopg.Connection, oid: int, name: str, *, security: tuple[bool, bool]
) -> Iterator[str]:
    column = TENANT_COLUMN.get(name, "tenant_id")
    if security != (True, True):
        yield f"{name}: row-level security is not enabled and forced"
    columns = {row[0]: row[1:] for row in connection.execute(_COLUMNS, [oid]).fetchall()}
    if columns.get(column) != (True, "uuid"):
        yield f"{name}: no column {column} that is uuid and NOT NULL"
    rights = _rights(connection, oid)
    yield from _sweep_rights(connection, oid, name, rights)
    yield from _sweep_policies(connection, oid, name, column, {role for role, _ in rights})
    yield from _sweep_indexes(connection, oid, name, column)
    yield from _sweep_foreign_keys(connection, oid, name, column)
    for (rule,) in connection.execute(_RULES, [oid]).fetchall():
        yield f"{name}: the rule {rule} rewrites its queries"


def _sweep_rights(connection: psycopg.Connection, oid: int, name: str, rights: set[tuple[str, str]]) -> Iterator[str]:
    for role, right in sorted(rights):
        if role not in RUN_TIME:
            yield f"{name}: {right} is granted to {role}"
        elif role == GATE and GATE_RIGHTS.get(name, {}).get(right) != "":
            yield f"{name}: {right} of {role} is on whole rows"
        elif right not in ROW_RIGHTS:
            yield f"{name}: {right} of {role} passes row-level security by"
        elif name in CIPHERTEXT and role not in CIPHERTEXT[name]:
            yield f"{name}: {right} of {role} reaches ciphertext"
    for column, role, right in connection.execute(_COLUMN_RIGHTS, [oid]).fetchall():
        if role == GATE and column in _gate_columns(name, right):
            continue
        if (role, right) != (DIRECTORY, "SELECT") or name in CIPHERTEXT:
            yield f"{name}: {right} on the column {column} is granted to {role}"


def _sweep_policies(
    connection: psycopg.Connection, oid: int, name: str, column: str, granted: set[str]
) -> Iterator[str]:
    own = OWN.format(column=column)
    known: dict[str, tuple[Any, ...]] = {
        "tenant": ("*", [APP], own, own),
        "maintenance": ("*", [OWNER], MAINTENANCE, MAINTENANCE),
        **{role: ("*", [role], "true", "true") for role in OTHERS if role in granted},
        "directory": ("r", [DIRECTORY], "true", None),
        **{f"{GATE}_{right.lower()}": GATE_POLICIES[right] for right in GATE_RIGHTS.get(name, {})},
    }
    found = connection.execute(_POLICIES, [oid]).fetchall()
    for policy, permissive, *content in found:
        if permissive and known.get(policy) != tuple(content):
            yield f"{name}: the policy {policy} is not the reviewed one: {content}"
    missing = known.keys() - {row[0] for row in found} - {"directory"}
    yield from (f"{name}: the policy {policy} is missing" for policy in missing)


def _sweep_indexes(connection: psycopg.Connection, oid: int, name: str, column: str) -> Iterator[str]:
    leading = False
    for unique, columns, partial, valid in connection.execute(_INDEXES, [oid]).fetchall():
        if unique and column not in columns and (name, tuple(columns)) not in UNIQUE_WITHOUT_TENANT:
            yield f"{name}: the unique index on {columns} tells one tenant what another has"
        leading = leading or (columns[0] == column and not partial and valid)
    if not leading:
        yield f"{name}: no index starts with {column}"


def _sweep_foreign_keys(connection: psycopg.Connection, oid: int, name: str, column: str) -> Iterator[str]:
    for key, target, validated, columns, targets in connection.execute(_FOREIGN_KEYS, [oid]).fetchall():
        if not validated:
            yield f"{name}: the foreign key {key} was never validated"
        if target in GLOBAL_TABLES:
            continue
        place = dict(zip(columns, targets, strict=True)).get(column)
        if place != TENANT_COLUMN.get(target, "tenant_id"):
            yield f"{name}: the foreign key {key} to {target} crosses tenants"


def _compare_rights(connection: psycopg.Connection, oid: int, name: str, reviewed: dict[str, str]) -> Iterator[str]:
    expected = {(role, right) for role, rights in reviewed.items() for right in re.split(r",\s*", rights)}
    for role, right in sorted(_rights(connection, oid) ^ expected):
        yield f"{name}: {right} of {role} is not as in the reviewed list"
    for column, role, right in connection.execute(_COLUMN_RIGHTS, [oid]).fetchall():
        yield f"{name}: {right} on the column {column} is granted to {role}"


def _gate_columns(table: str, right: str) -> set[str]:
    return set(re.findall(r"\w+", GATE_RIGHTS.get(table, {}).get(right, "")))


def _rights(connection: psycopg.Connection, oid: int) -> set[tuple[str, str]]:
    return set(connection.execute(_RIGHTS, [oid]).fetchall())


_FUNCTIONS = """
SELECT p.proname, p.prosecdef, p.prorettype = 'trigger'::regtype, pg_get_userbyid(p.proowner),
       coalesce(p.proconfig, '{}'),
       ARRAY(SELECT coalesce(pg_get_userbyid(nullif(a.grantee, 0)), 'PUBLIC')
             FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee <> p.proowner)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
_ROLES = "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin FROM pg_roles"
_MEMBERS = "SELECT pg_get_userbyid(member), pg_get_userbyid(roleid) FROM pg_auth_members"
_OWNED = """
SELECT o, kind, name FROM (
  SELECT pg_get_userbyid(relowner), 'relation', relname::text FROM pg_class
  UNION ALL SELECT pg_get_userbyid(proowner), 'function', proname::text FROM pg_proc
  UNION ALL SELECT pg_get_userbyid(nspowner), 'schema', nspname::text FROM pg_namespace
  UNION ALL SELECT pg_get_userbyid(datdba), 'database', datname::text FROM pg_database
) owned (o, kind, name) WHERE o = ANY(%s)
"""
_SCHEMA_RIGHTS = """
SELECT coalesce(pg_get_userbyid(nullif(a.grantee, 0)), 'PUBLIC'), a.privilege_type
FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'public' AND a.grantee <> nspowner
"""
_DEFAULT_RIGHTS = "SELECT pg_get_userbyid(defaclrole), defaclacl::text FROM pg_default_acl"


def sweep_functions(connection: psycopg.Connection) -> Iterator[str]:
    """Functions that run with more rights than their caller, or that anyone may call."""
    for name, definer, trigger, owner, settings, callers in connection.execute(_FUNCTIONS).fetchall():
        if definer and name not in DEFINERS:
            yield f"{name}(): runs with its owner's rights and was not reviewed"
        elif definer and (owner != DEFINERS[name][0] or settings != [DEFINER_PATH]):
            yield f"{name}(): owner {owner} and settings {settings} are not the reviewed ones"
        elif not definer and owner != OWNER:
            yield f"{name}(): owned by {owner}"
        if trigger and not any(setting.startswith("search_path=") for setting in settings):
            yield f"{name}(): its search path is not fixed"
        allowed = {DEFINERS[name][1]} if name in DEFINERS else set()
        if extra := set(callers) - allowed:
            yield f"{name}(): may be called by {sorted(extra)}"


def sweep_roles(connection: psycopg.Connection) -> Iterator[str]:
    """What the roles themselves may do."""
    roles: dict[str, Any] = {row[0]: row[1:] for row in connection.execute(_ROLES).fetchall()}
    yield from (f"{role}: a power that row-level security does not stop" for role in ROLES if any(roles[role][:5]))
    if roles[DIRECTORY][5]:
        yield f"{DIRECTORY}: may log in"
    for member, role in connection.execute(_MEMBERS).fetchall():
        if member in RUN_TIME or (member == OWNER and role != DIRECTORY) or member == DIRECTORY:
            yield f"{member}: is a member of {role}"
        elif role in ROLES and not (roles[member][0] or member == OWNER):
            yield f"{member}: an unknown role that is a member of {role}"
    for role, kind, name in connection.execute(_OWNED, [list(RUN_TIME)]).fetchall():
        yield f"{role}: owns the {kind} {name}"
    for role, right in connection.execute(_SCHEMA_RIGHTS).fetchall():
        allowed = {"USAGE", "CREATE"} if role in {OWNER, DIRECTORY} else {"USAGE"}
        if role not in ROLES or right not in allowed:
            yield f"{role}: {right} on the schema"
    for role, rights in connection.execute(_DEFAULT_RIGHTS).fetchall():
        yield f"{role}: rights that new objects will be born with: {rights}"
