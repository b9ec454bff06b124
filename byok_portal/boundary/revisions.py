"""Notes in each transaction that it changed what a tenant's uses are decided on, for whoever remembers those facts.

A tenant's rows in `boundary_revision` are its last changes, each under an id that never comes again. So facts that were
read beside a set of ids are those of now for as long as the same statement finds the same set (decision 0018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.migrations.operations.base import Operation

from byok_portal.boundary.identifiers import PLATFORM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState

# A change takes the place of those before it. It waits for nobody: what another change is removing is left to that one.
NOTE: Final = f"""
CREATE FUNCTION boundary_note_revision() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
  whose uuid := '{PLATFORM}';
  this bigint := pg_current_xact_id()::text::bigint;
BEGIN
  IF TG_ARGV[0] = 'tenant_id' THEN
    whose := coalesce(NEW.tenant_id, OLD.tenant_id);
  ELSIF TG_ARGV[0] = 'id' THEN
    whose := coalesce(NEW.id, OLD.id);
  END IF;
  IF NOT EXISTS (
    SELECT FROM boundary_revision WHERE tenant_id = whose AND changed_by = this AND changed_at = now()) THEN
    DELETE FROM boundary_revision WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM boundary_revision WHERE tenant_id = whose FOR UPDATE SKIP LOCKED));
    INSERT INTO boundary_revision (tenant_id, id, changed_by, changed_at)
    VALUES (whose, gen_random_uuid(), this, now());
  END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION boundary_note_revision() FROM PUBLIC;
"""  # noqa: S608  # a constant
"""A savepoint that is rolled back takes its note along, so the next change of the transaction notes itself again.

A transaction is its number and its beginning: a dump that is restored elsewhere brings numbers that will come again.
"""


class WatchTables(Operation):
    """Triggers that note a revision when any of the columns may have changed; also for replicated and restored rows.

    `columns`: table to columns, or "" for all. A table without a tenant in it (`of_all`) is everybody's.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, columns: dict[str, str], *, of_all: dict[str, str]) -> None:
        self.columns = columns
        self.of_all = of_all

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.columns], {"of_all": self.of_all}

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
        for table in (*self.columns, *self.of_all):
            schema_editor.execute(f'DROP TRIGGER revision ON "{table}"', params=None)
            schema_editor.execute(f'DROP TRIGGER revision_of_all ON "{table}"', params=None)

    def describe(self) -> str:
        return f"WatchTables {', '.join((*self.columns, *self.of_all))}"

    def _forwards(self) -> Iterable[str]:
        for table, columns in self.columns.items():
            names = [name.strip() for name in columns.split(",")]
            yield from _triggers(table, columns, "tenant_id" if "tenant_id" in names else "id")
        for table, columns in self.of_all.items():
            yield from _triggers(table, columns, "")


def _triggers(table: str, columns: str, whose: str) -> Iterable[str]:
    update = f"UPDATE OF {columns}" if columns else "UPDATE"
    events = f"INSERT OR DELETE OR {update}"
    run = "EXECUTE FUNCTION boundary_note_revision"
    yield f"""CREATE TRIGGER revision AFTER {events} ON "{table}" FOR EACH ROW {run}('{whose}')"""
    yield f"""CREATE TRIGGER revision_of_all AFTER TRUNCATE ON "{table}" FOR EACH STATEMENT {run}('')"""
    for name in ("revision", "revision_of_all"):
        yield f'ALTER TABLE "{table}" ENABLE ALWAYS TRIGGER {name}'
