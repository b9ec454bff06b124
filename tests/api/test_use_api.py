"""Runtime use through the API: what a stranger with curl sees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

if TYPE_CHECKING:
    from keys.models import Key
    from tests.world import Cast, Credential, World


@pytest.fixture
def story(world: World) -> tuple[Cast, Key, Credential]:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential)
    return cast, key, credential


def post(cast: Cast, path: str, credential: Credential | None, body: Any, **headers: str) -> Any:
    token = credential.headers if credential else {}
    return Client(headers={**token, **headers}).post(
        f"/api/v1/tenants/{cast.slug}/{path}", json.dumps(body), content_type="application/json"
    )


USE = {"scope": "secrets:read", "purpose": "nightly report"}


def test_an_allowed_use_answers_with_its_receipt(story: tuple[Cast, Key, Credential]) -> None:
    cast, key, credential = story
    answer = post(cast, f"keys/{key.slug}/use/", credential, USE)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert body["allowed"] is True
    assert body["version"] == 1
    assert answer["Audit-Id"] == body["audit_id"]
    assert answer["Cache-Control"] == "no-store"
    assert "lease" not in body


def test_a_lease_gives_the_plaintext_and_its_end(story: tuple[Cast, Key, Credential]) -> None:
    cast, key, credential = story
    answer = post(cast, f"keys/{key.id}/use/", credential, {**USE, "delivery": "lease"})
    assert answer.json()["lease"]["secret"].startswith(("s.", "hvs."))
    assert answer.json()["lease"]["expires_at"]


def test_a_missing_token_a_bad_one_and_a_revoked_one_answer_alike(
    story: tuple[Cast, Key, Credential], world: World
) -> None:
    from tenants.services import consumers  # noqa: PLC0415

    cast, key, credential = story
    with world.bound(cast):
        consumers.revoke_token(actor=cast.actor, consumer_id=credential.consumer.id, token_id=credential.token_id)
    for headers in (
        {},
        {"Authorization": "Bearer nonsense"},
        credential.headers,
        {"Authorization": "Basic eDp5"},
    ):
        answer = Client(headers=headers).post(
            f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/use/",
            json.dumps(USE),
            content_type="application/json",
        )
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "unauthenticated"


def test_a_scope_that_is_not_granted_is_named(story: tuple[Cast, Key, Credential]) -> None:
    cast, key, credential = story
    answer = post(cast, f"keys/{key.slug}/use/", credential, {**USE, "scope": "secrets:write"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "scope_not_granted"
    assert answer.json()["missing_scope"] == "secrets:write"
    assert answer["Audit-Id"]


def test_bad_fields_are_named_with_their_rule(story: tuple[Cast, Key, Credential]) -> None:
    cast, key, credential = story
    answer = post(cast, f"keys/{key.slug}/use/", credential, {"scope": "a" * 61, "environment": "moon"})
    assert answer.status_code == 422
    named = {problem["field"] for problem in answer.json()["errors"]}
    assert named == {"scope", "purpose", "environment"}


def test_a_brokered_read_passes_and_anything_else_is_refused(story: tuple[Cast, Key, Credential]) -> None:
    cast, key, credential = story
    client = Client(headers={**credential.headers, "Byok-Purpose": "nightly report"})
    base = f"/api/v1/tenants/{cast.slug}/keys/{key.slug}/proxy"
    good = client.get(f"{base}/v1/secret/data/reports/q3")
    assert good.status_code == 200, good.content
    assert good.json()["data"]["data"] == {"total": "42"}
    assert good["Audit-Id"]
    refused = [
        client.get(f"{base}/v1/secret/data/payroll/q3"),
        client.get(f"{base}/v1/secret/data/reports/../payroll/q3"),
        client.get(f"{base}/v1/secret/data/reports/%2e%2e/payroll/q3"),
        client.get(f"{base}/v1/secret/data/reports/%252e%252e/payroll"),
        client.get(f"{base}/v1/auth/token/lookup-self"),
        client.delete(f"{base}/v1/secret/data/reports/q3"),
        client.post(f"{base}/v1/secret/data/reports/q3", "{}", content_type="application/json"),
    ]
    for answer in refused:
        assert answer.status_code == 403, answer.content
        assert answer.json()["code"] in {"call_not_allowed", "scope_not_granted"}
        assert answer["Audit-Id"]


def test_introspection_tells_a_live_key_and_nothing_of_others(world: World) -> None:
    cast = world.tenant()
    token = world.bao_token()
    key = world.key(cast, token=token)
    asker = world.consumer(cast, scopes=("credential:introspect",))
    client = Client(headers=asker.headers)
    known = client.post("/api/v1/introspect/", json.dumps({"token": token.token}), content_type="application/json")
    assert known.json()["active"] is True
    assert known.json()["key"] == str(key.id)
    unknown = client.post("/api/v1/introspect/", json.dumps({"token": "s.nothing"}), content_type="application/json")
    assert unknown.json() == {"active": False}


def test_a_write_repeated_with_the_same_idempotency_key_is_done_once(world: World) -> None:
    cast = world.tenant()
    key = world.key(cast)
    robot = world.consumer(cast, scopes=("grant:create", "grant:read"))
    reader = world.consumer(cast)
    body = {"consumer": reader.consumer.slug, "scopes": ["secrets:read"], "days": 3, "reason": "report"}
    first = post(cast, f"keys/{key.slug}/grants/", robot, body, **{"Idempotency-Key": "one"})
    again = post(cast, f"keys/{key.slug}/grants/", robot, body, **{"Idempotency-Key": "one"})
    other = post(cast, f"keys/{key.slug}/grants/", robot, {**body, "days": 4}, **{"Idempotency-Key": "one"})
    assert first.status_code == 201, first.content
    assert again.status_code == 201
    assert again.json()["id"] == first.json()["id"]
    assert again["Idempotent-Replay"] == "true"
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_mismatch"


def test_a_rate_is_counted_in_the_database_and_names_when_to_come_back(world: World) -> None:
    cast = world.tenant()
    key, credential = world.key(cast), world.consumer(cast)
    world.grant(cast, key, credential, rate_per_minute=2)
    answers = [post(cast, f"keys/{key.slug}/use/", credential, USE) for _ in range(6)]
    denied = [answer for answer in answers if answer.status_code == 429]
    assert denied
    assert denied[0].json()["code"] == "rate_exceeded"
    assert 1 <= int(denied[0]["Retry-After"]) <= 60
    assert denied[0]["RateLimit"].startswith('"grant";r=0;t=')


def test_the_documentation_page_lists_every_call_and_runs_no_script_of_strangers(world: World) -> None:
    page = Client().get("/api/v1/docs/")
    assert page.status_code == 200
    text = page.content.decode()
    assert text.count("api-call") >= 35
    assert "/api/v1/tenants/{tenant}/keys/{key}/use/" in text
    assert "http://" not in text.replace("http://localhost", "")
