"""Migration operations that make a table a tenant table: keys, policy, grants and triggers in one step.

A table without one of these (or a row in `grants.GLOBAL_TABLES`) fails the sweep test. Facts: measured.md part 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.migrations.operations.base import Operation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState

OWNER: Final = "byok_owner"
APP: Final = "byok_app"
STAFF: Final = "byok_staff"
SEQUENCER: Final = "byok_sequencer"
AUDITOR: Final = "byok_auditor"
READER: Final = "byok_reader"
GATE: Final = "byok_gate"
DIRECTORY: Final = "byok_directory"

BOUND: Final = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"
"""The bound tenant as SQL. The sub-select is evaluated once per query; NULLIF because COMMIT leaves ''."""

MAINTENANCE: Final = "current_setting('app.maintenance', true) = 'on'"
"""Only the migration login sets this, so the web server run by mistake as the owner sees no row."""


class _SqlOperation(Operation):
    """Runs SQL made from the model's table name, forwards and backwards."""

    reduces_to_sql = True
    reversible = True

    def __init__(self, name: str) -> None:
        self.name = name

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """The tables change, Django's picture of the models does not."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        table = to_state.apps.get_model(app_label, self.name)._meta.db_table  # noqa: SLF001  # Django's documented API
        for statement in self.forwards(table):
            schema_editor.execute(statement, params=None)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        table = from_state.apps.get_model(app_label, self.name)._meta.db_table  # noqa: SLF001  # Django's documented API
        for statement in self.backwards(table):
            schema_editor.execute(statement, params=None)

    def forwards(self, table: str) -> Iterable[str]:
        raise NotImplementedError

    def backwards(self, table: str) -> Iterable[str]:
        return ()

    def describe(self) -> str:
        return f"{type(self).__name__} {self.name}"


class TenantTable(_SqlOperation):
    """Forced row-level security, a primary key that starts with the tenant, and exactly these grants.

    `grants`: role to privileges, such as `{APP: "SELECT, INSERT", STAFF: "SELECT"}`; every other right is revoked.
    Every role but `byok_app` sees all tenants, through its grants. `key`: the columns of the primary key; the first
    is the tenant, which is `id` in the tenant table itself. `position`: the column that is the primary key instead,
    where all tenants' rows stand in one order that no tenant chooses; `key` is then a plain index.
    """

    def __init__(
        self, name: str, *, grants: dict[str, str], key: tuple[str, ...] = ("tenant_id", "id"), position: str = ""
    ) -> None:
        super().__init__(name)
        self.grants = grants
        self.key = key
        self.position = position

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        position = {"position": self.position} if self.position else {}
        return type(self).__name__, [self.name], {"grants": self.grants, "key": self.key, **position}

    def forwards(self, table: str) -> Iterable[str]:
        columns = ", ".join(f'"{column}"' for column in self.key)
        primary = f'"{self.position}"' if self.position else columns
        yield f'ALTER TABLE "{table}" DROP CONSTRAINT "{table}_pkey", ADD PRIMARY KEY ({primary})'
        if self.position:
            yield f'CREATE INDEX "{table}_tenant" ON "{table}" ({columns})'
        yield f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY'
        own = f'"{self.key[0]}" = {BOUND}'
        yield f'CREATE POLICY tenant ON "{table}" TO {APP} USING ({own}) WITH CHECK ({own})'
        yield (f'CREATE POLICY maintenance ON "{table}" TO {OWNER} USING ({MAINTENANCE}) WITH CHECK ({MAINTENANCE})')
        for role in self._others:
            yield f'CREATE POLICY {role} ON "{table}" TO {role} USING (true) WITH CHECK (true)'
        yield f'REVOKE ALL ON "{table}" FROM PUBLIC'
        for role, privileges in self.grants.items():
            yield f'GRANT {privileges} ON "{table}" TO {role}'

    def backwards(self, table: str) -> Iterable[str]:
        if self.position:
            yield f'DROP INDEX "{table}_tenant"'
        for policy in ("tenant", "maintenance", *self._others):
            yield f'DROP POLICY {policy} ON "{table}"'

    @property
    def _others(self) -> list[str]:
        return [role for role in self.grants if role != APP]


class TenantForeignKey(_SqlOperation):
    """FOREIGN KEY (tenant_id, column) REFERENCES target(tenant_id, id): a link can never cross tenants."""

    def __init__(self, name: str, column: str, target: str, *, on_delete: str = "RESTRICT") -> None:
        super().__init__(name)
        self.column = column
        self.target = target
        self.on_delete = on_delete

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.name, self.column, self.target], {"on_delete": self.on_delete}

    def forwards(self, table: str) -> Iterable[str]:
        yield (
            f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_{self.column}_tenant_fk" '
            f'FOREIGN KEY ("tenant_id", "{self.column}") REFERENCES "{self.target}" ("tenant_id", "id") '
            f"ON DELETE {self.on_delete}"
        )

    def backwards(self, table: str) -> Iterable[str]:
        yield f'ALTER TABLE "{table}" DROP CONSTRAINT "{table}_{self.column}_tenant_fk"'


class ForeignKeyTo(_SqlOperation):
    """A plain foreign key to a global table or to the tenant itself."""

    def __init__(self, name: str, column: str, target: str, target_column: str = "id") -> None:
        super().__init__(name)
        self.column = column
        self.target = target
        self.target_column = target_column

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.name, self.column, self.target, self.target_column], {}

    def forwards(self, table: str) -> Iterable[str]:
        yield (
            f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_{self.column}_fk" '
            f'FOREIGN KEY ("{self.column}") REFERENCES "{self.target}" ("{self.target_column}") ON DELETE RESTRICT'
        )

    def backwards(self, table: str) -> Iterable[str]:
        yield f'ALTER TABLE "{table}" DROP CONSTRAINT "{table}_{self.column}_fk"'


class Transitions(_SqlOperation):
    """A trigger that refuses every state change outside `table` (state to the states that may follow)."""

    def __init__(self, name: str, *, allowed: dict[str, list[str]]) -> None:
        super().__init__(name)
        self.allowed = allowed

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.name], {"allowed": self.allowed}

    def forwards(self, table: str) -> Iterable[str]:
        pairs = ", ".join(f"('{old}', '{new}')" for old, news in self.allowed.items() for new in news)
        yield (
            f"CREATE FUNCTION {table}_transition() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$ "
            f"BEGIN IF NEW.state IS DISTINCT FROM OLD.state AND (OLD.state, NEW.state) NOT IN ({pairs}) THEN "
            f"RAISE EXCEPTION '{table}: % cannot become %', OLD.state, NEW.state USING ERRCODE = 'check_violation'; "
            f"END IF; RETURN NEW; END $$"
        )
        # A trigger fires without this right; nobody else has a reason to call the function.
        yield f"REVOKE ALL ON FUNCTION {table}_transition FROM PUBLIC"
        yield (
            f'CREATE TRIGGER transition BEFORE UPDATE ON "{table}" FOR EACH ROW EXECUTE FUNCTION {table}_transition()'
        )

    def backwards(self, table: str) -> Iterable[str]:
        yield f'DROP TRIGGER transition ON "{table}"'
        yield f"DROP FUNCTION {table}_transition()"


class DirectoryFunction(Operation):
    """One narrow SECURITY DEFINER look-up that a door needs before it can bind a tenant.

    Owned by the NOLOGIN role `byok_directory`, which sees the named columns of all tenants and nothing else.
    `reads`: table to columns. The sweep test allow-lists these functions by name.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(
        self,
        name: str,
        *,
        arguments: str,
        returns: str,
        query: str,
        reads: dict[str, str],
        to: tuple[str, ...] = (APP,),
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.returns = returns
        self.query = query
        self.reads = reads
        self.to = to

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        keywords = {name: getattr(self, name) for name in ("name", "arguments", "returns", "query", "reads", "to")}
        return type(self).__name__, [], keywords

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Nothing for Django to know."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        for statement in self._forwards():
            schema_editor.execute(statement, params=None)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        schema_editor.execute(f"DROP FUNCTION {self.name}", params=None)

    def describe(self) -> str:
        return f"DirectoryFunction {self.name}"

    def _forwards(self) -> Iterable[str]:
        for table, columns in self.reads.items():
            yield f'GRANT SELECT ({columns}) ON "{table}" TO {DIRECTORY}'
            yield f'DROP POLICY IF EXISTS directory ON "{table}"'
            yield f'CREATE POLICY directory ON "{table}" FOR SELECT TO {DIRECTORY} USING (true)'
        yield (
            f"CREATE FUNCTION {self.name}({self.arguments}) RETURNS {self.returns} "
            "LANGUAGE sql STABLE SECURITY DEFINER "
            f"SET search_path = public, pg_temp AS $$ {self.query} $$"
        )
        yield f"ALTER FUNCTION {self.name} OWNER TO {DIRECTORY}"
        yield f"REVOKE ALL ON FUNCTION {self.name} FROM PUBLIC"
        for role in self.to:
            yield f"GRANT EXECUTE ON FUNCTION {self.name} TO {role}"


class NarrowRights(Operation):
    """What one login may do to columns of tenant tables of every tenant; its statements name the tenant themselves.

    `rights`: table to privilege to columns ("" for a privilege on whole rows, such as DELETE).
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, role: str, *, rights: dict[str, dict[str, str]]) -> None:
        self.role = role
        self.rights = rights

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.role], {"rights": self.rights}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Nothing for Django to know."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        for table, privileges in self.rights.items():
            for privilege, columns in privileges.items():
                schema_editor.execute(self._policy(table, privilege), params=None)
                named = f" ({columns})" if columns else ""
                schema_editor.execute(f'GRANT {privilege}{named} ON "{table}" TO {self.role}', params=None)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        for table, privileges in self.rights.items():
            schema_editor.execute(f'REVOKE ALL ON "{table}" FROM {self.role}', params=None)
            for privilege in privileges:
                schema_editor.execute(f'DROP POLICY {self._name(privilege)} ON "{table}"', params=None)

    def describe(self) -> str:
        return f"NarrowRights {self.role}"

    def _name(self, privilege: str) -> str:
        return f"{self.role}_{privilege.lower()}"

    def _policy(self, table: str, privilege: str) -> str:
        condition = {"INSERT": "WITH CHECK (true)", "UPDATE": "USING (true) WITH CHECK (true)"}.get(
            privilege, "USING (true)"
        )
        return f'CREATE POLICY {self._name(privilege)} ON "{table}" FOR {privilege} TO {self.role} {condition}'
