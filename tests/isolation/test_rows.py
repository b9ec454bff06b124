"""The behavioural sweep: what the run-time logins see and can do, for every tenant model there is."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg.types.json
import pytest
from django.db import models
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import new_id
from tenants.base import TenantModel
from tests.audit import inbox
from tests.isolation.populated import insertion, rows_of, tenant_column, tenant_models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.isolation.populated import Populated

    Pair = tuple[Populated, Populated]
    Model = type[models.Model]

MODELS = [pytest.param(model, id=model._meta.label) for model in tenant_models()]
each_model = pytest.mark.parametrize("model", MODELS)


@contextmanager
def app(tenant: UUID | None) -> Iterator[psycopg.Connection]:
    """The web server's login, bound as the database backend binds it."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        if tenant:
            connection.execute(f"SET LOCAL app.tenant_id = '{tenant}'")
        yield connection
        connection.rollback()


def tenants_seen(connection: psycopg.Connection, model: Model) -> set[UUID] | None:
    """The tenants whose rows can be read; None when nothing may be read at all."""
    query = sql.SQL("SELECT DISTINCT {} FROM {}")
    try:
        rows = connection.execute(query.format(*names_of(model))).fetchall()
    except InsufficientPrivilege:
        return None
    return {row[0] for row in rows}


def names_of(model: Model) -> tuple[sql.Identifier, sql.Identifier]:
    return sql.Identifier(tenant_column(model)), sql.Identifier(model._meta.db_table)


def attempt(connection: psycopg.Connection, statement: Any, values: list[Any]) -> int:
    """How many rows were changed; a refusal counts as none."""
    try:
        with connection.transaction():
            return connection.execute(statement, values).rowcount
    except InsufficientPrivilege:
        return 0


@pytest.fixture(autouse=True)
def waiting_events(pair: Pair, admin_connection: psycopg.Connection) -> None:
    """The inbox is empty whenever some test has run the sequencer."""
    for populated in pair:
        inbox.fill(admin_connection, [populated.id], each=1)


def test_the_registry_is_the_one_we_know_and_more() -> None:
    labels = {model._meta.label for model in tenant_models()}
    assert labels >= {"keys.Material", "tenants.Tenant", "boundary.Job", "boundary.IdempotencyRecord", "audit.Entry"}
    assert {model for model in tenant_models() if issubclass(model, TenantModel)}


@each_model
def test_both_tenants_have_rows(pair: Pair, admin_connection: psycopg.Connection, model: Model) -> None:
    for populated in pair:
        assert rows_of(admin_connection, model, populated.id)


@each_model
def test_without_a_tenant_nothing_is_seen(pair: Pair, model: Model) -> None:
    with app(None) as connection:
        assert not tenants_seen(connection, model)


@each_model
def test_after_a_transaction_nothing_is_seen(pair: Pair, model: Model) -> None:
    """What COMMIT leaves behind is an empty setting, not a missing one."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        with connection.transaction():
            connection.execute(f"SET LOCAL app.tenant_id = '{pair[0].id}'")
        assert not tenants_seen(connection, model)


@each_model
def test_a_tenant_sees_its_own_rows_only(pair: Pair, model: Model) -> None:
    for populated in pair:
        with app(populated.id) as connection:
            assert tenants_seen(connection, model) in ({populated.id}, None)


def test_only_the_inbox_is_unreadable(pair: Pair) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"SET app.tenant_id = '{pair[0].id}'")
        unread = [model._meta.label for model in tenant_models() if tenants_seen(connection, model) is None]
    assert unread == ["audit.InboxEvent"]


@each_model
def test_another_tenants_rows_cannot_be_changed_or_deleted(
    pair: Pair, admin_connection: psycopg.Connection, model: Model
) -> None:
    victim, stranger = pair
    before = rows_of(admin_connection, model, victim.id)
    column, table = names_of(model)
    with app(stranger.id) as connection:
        change = sql.SQL("UPDATE {table} SET {column} = {column} WHERE {column} = %s").format(
            table=table, column=column
        )
        remove = sql.SQL("DELETE FROM {} WHERE {} = %s").format(table, column)
        assert attempt(connection, change, [victim.id]) == 0
        assert attempt(connection, remove, [victim.id]) == 0
    assert rows_of(admin_connection, model, victim.id) == before


@each_model
def test_an_own_row_cannot_be_moved_to_another_tenant(pair: Pair, model: Model) -> None:
    victim, stranger = pair
    column, table = names_of(model)
    move = sql.SQL("UPDATE {} SET {} = %s").format(table, column)
    with app(stranger.id) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(move, [victim.id])


@each_model
@pytest.mark.parametrize("bound", ["stranger", "nobody"])
def test_a_row_cannot_be_written_for_another_tenant(
    pair: Pair, admin_connection: psycopg.Connection, model: Model, bound: str
) -> None:
    victim, stranger = pair
    values = copy_of(admin_connection, model, stranger.id)
    values[tenant_column(model)] = victim.id
    with app(stranger.id if bound == "stranger" else None) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(insertion(model, values), list(values.values()))


@each_model
def test_a_row_cannot_be_written_without_a_tenant(
    pair: Pair, admin_connection: psycopg.Connection, model: Model
) -> None:
    values = copy_of(admin_connection, model, pair[0].id)
    values[tenant_column(model)] = None
    with app(pair[0].id) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(insertion(model, values), list(values.values()))


@each_model
def test_staff_changes_no_row_past_the_operations(
    pair: Pair, admin_connection: psycopg.Connection, model: Model
) -> None:
    column, table = names_of(model)
    with psycopg.connect(os.environ["DATABASE_URL_STAFF"]) as connection:
        change = sql.SQL("UPDATE {table} SET {column} = {column}").format(table=table, column=column)
        assert attempt(connection, change, []) == 0
        assert attempt(connection, sql.SQL("DELETE FROM {}").format(table), []) == 0
        connection.rollback()


@pytest.mark.parametrize("login", ["_STAFF", "_SEQUENCER", "_AUDITOR", "_OWNER"])
@pytest.mark.parametrize("table", ["keys_material", "keys_tenantkey"])
def test_ciphertext_is_for_the_app_alone(pair: Pair, login: str, table: str) -> None:
    """The owner reads nothing either unless it says that it maintains, which only the migration login does."""
    with psycopg.connect(os.environ[f"DATABASE_URL{login}"]) as connection:
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
        if login == "_OWNER":
            assert connection.execute(query).fetchall() == []
        else:
            with pytest.raises(InsufficientPrivilege):
                connection.execute(query)


@each_model
def test_the_orm_raises_or_stays_silent_without_a_tenant(pair: Pair, model: Model) -> None:
    if model._meta.label == "audit.InboxEvent":
        return  # the app may not read it at all
    try:
        assert list(model._default_manager.all()) == []
    except binding.UnboundTenantError:
        assert issubclass(model, TenantModel)


@each_model
def test_the_orm_reads_the_bound_tenant_only(pair: Pair, model: Model) -> None:
    if model._meta.label == "audit.InboxEvent":
        return  # as above
    with binding.bind_tenant(pair[0].id), binding.reading():
        managers = (model._default_manager, model._base_manager)
        found = {row for manager in managers for row in manager.values_list(tenant_column(model), flat=True)}
    assert found == {pair[0].id}


def copy_of(admin: psycopg.Connection, model: Model, tenant_id: UUID) -> dict[str, Any]:
    """A row like one that is there, under a new id, in the types that psycopg writes."""
    row = rows_of(admin, model, tenant_id)[0]
    values = dict(row)
    primary = model._meta.pk.column  # None when several columns are the key, the tenant among them
    if primary not in {None, tenant_column(model)} and model._meta.label != "audit.Entry":
        values[str(primary)] = new_id()
    documents = [str(field.column) for field in model._meta.concrete_fields if isinstance(field, models.JSONField)]
    values |= {name: psycopg.types.json.Jsonb(row[name]) for name in documents}
    return values
