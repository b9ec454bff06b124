"""An answer names a record only when the record was committed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from tests.gate.test_durability import USE

if TYPE_CHECKING:
    import psycopg

    from tests.world import World


def test_a_use_whose_transaction_is_lost_is_answered_503_and_names_no_record(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    lost: list[int] = []

    def lose(execute: Any, sql: Any, params: Any, many: Any, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        if "audit_inbox" in str(sql):
            lost.append(context["connection"].connection.info.backend_pid)
            admin_connection.execute("SELECT pg_terminate_backend(%s, 5000)", [lost[-1]])
        return result

    path = f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/"
    with connection.execute_wrapper(lose):
        answer = Client(headers=credential.headers).post(path, USE, content_type="application/json")
    assert len(lost) == 1
    assert answer.status_code == 503
    assert json.loads(answer.content)["code"] == "database_unavailable"
    assert "Retry-After" in answer
    assert "Audit-Id" not in answer
    rows = "SELECT count(*) FROM audit_inbox WHERE tenant_id = %s AND body LIKE '%%key.used%%'"
    assert admin_connection.execute(rows, [cast.id]).fetchone() == (0,)


@pytest.mark.parametrize("path", ["/", "/api/v1/tenants/"])
def test_without_a_database_pages_and_api_say_to_come_back(world: World, path: str) -> None:
    cast = world.tenant()
    credential = world.consumer(cast)
    client = Client(raise_request_exception=False, headers=credential.headers if path.startswith("/api/") else {})
    if not path.startswith("/api/"):
        client.force_login(cast.owner)

    def lose(*_: Any) -> Any:
        raise OperationalError

    with connection.execute_wrapper(lose):
        answer = client.get(path)
    assert answer.status_code == 503
    assert answer["Retry-After"]
    said = b"database_unavailable" if path.startswith("/api/") else b"Back in a moment"
    assert said in answer.content
