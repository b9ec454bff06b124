"""Projects, plans and offboardings through the API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.test import Client

from tenants.models import Offboarding, OffboardingStep, Project
from tests.keys.test_endings import work

if TYPE_CHECKING:
    from tests.world import Cast, Credential, World

SCOPES = (
    "tenant:read",
    "project:read",
    "project:edit",
    "project:offboard",
    "offboarding:settle",
    "consumer:read",
    "consumer:end",
    "key:read",
)


def call(cast: Cast, who: Credential, method: str, path: str, body: Any = None, **headers: str) -> Any:
    client = Client(headers={**who.headers, **headers})
    data = "" if body is None else json.dumps(body)
    return client.generic(method, f"/api/v1/tenants/{cast.slug}/{path}", data, content_type="application/json")


def test_a_partner_makes_a_project_reads_its_plan_and_ends_it(world: World) -> None:
    cast = world.tenant()
    key, partner, robot = world.key(cast), world.consumer(cast, scopes=SCOPES), world.consumer(cast)
    world.grant(cast, key, robot)
    body = {"name": "Winter trial", "purpose": "A trial", "ends_on": None}
    made = call(cast, partner, "POST", "projects/", body, **{"Idempotency-Key": "p1"})
    again = call(cast, partner, "POST", "projects/", body, **{"Idempotency-Key": "p1"})
    assert (made.status_code, again.json()["id"]) == (201, made.json()["id"])
    taken = call(cast, partner, "POST", "projects/", body)
    assert (taken.status_code, taken.json()["code"]) == (422, "name_taken")
    assert call(cast, partner, "PUT", "projects/winter-trial/", {**body, "purpose": "Longer"}).status_code == 200
    assert [row["slug"] for row in call(cast, partner, "GET", "projects/").json()["results"]] == ["winter-trial"]
    assert call(cast, partner, "POST", f"keys/{key.slug}/project/", {"project": "winter-trial"}).status_code == 200
    consumer = f"consumers/{robot.consumer.slug}/"
    assert call(cast, partner, "POST", f"{consumer}project/", {"project": "winter-trial"}).status_code == 200
    assert call(cast, partner, "GET", f"keys/{key.slug}/").json()["project"] == made.json()["id"]

    plan = call(cast, partner, "GET", "projects/winter-trial/plan/").json()
    assert (plan["counts"]["keys"], plan["counts"]["consumers"], plan["expected"]) == (1, 1, "winter-trial")
    assert plan["upstream"][0]["possible"] is True
    start = {"reason": "dormant", "confirmation": "winter-trial", "digest": plan["digest"]}
    refused = call(cast, partner, "POST", "projects/winter-trial/offboarding/", {**start, "digest": "0"})
    assert (refused.status_code, refused.json()["code"]) == (409, "plan_changed")
    assert call(cast, partner, "GET", "projects/winter-trial/offboarding/").status_code == 404
    robots = call(cast, robot, "POST", "projects/winter-trial/offboarding/", start)
    assert (robots.status_code, robots.json()["code"]) == (403, "permission_denied")
    started = call(cast, partner, "POST", "projects/winter-trial/offboarding/", start)
    assert (started.status_code, started.json()["state"]) == (201, "running")
    run = started.json()["id"]
    use = {"scope": "secrets:read", "purpose": "report"}
    assert call(cast, robot, "POST", f"keys/{key.slug}/use/", use).status_code == 401
    with world.inside(cast):
        assert Project.objects.get().state == "ended"
    work(world, cast, run)
    detail = call(cast, partner, "GET", f"offboardings/{run}/").json()
    assert (detail["state"], detail["percent"], detail["residual"]) == ("done", 100, 0)
    assert {step["state"] for step in detail["steps"]} == {"done"}
    assert [row["id"] for row in call(cast, partner, "GET", "offboardings/").json()["results"]] == [run]


def test_a_partner_ends_a_consumer_and_settles_what_is_left(world: World) -> None:
    cast, stranger = world.tenant(), world.tenant("globex")
    partner, robot = world.consumer(cast, scopes=SCOPES), world.consumer(cast)
    outsider = world.consumer(stranger, scopes=SCOPES)
    consumer = f"consumers/{robot.consumer.slug}/"
    plan = call(cast, partner, "GET", f"{consumer}plan/").json()
    assert plan["counts"]["tokens"] == 1
    stale = call(cast, partner, "POST", f"{consumer}end/", {"reason": "dormant", "digest": "0"})
    assert (stale.status_code, stale.json()["code"]) == (409, "plan_changed")
    ended = call(cast, partner, "POST", f"{consumer}end/", {"reason": "dormant", "digest": plan["digest"]})
    assert (ended.status_code, ended.json()["state"]) == (200, "ended")
    run = call(cast, partner, "GET", f"{consumer}offboarding/").json()
    assert (run["subject_kind"], run["total"]) == ("consumer", 2)
    with world.inside(cast):
        found = Offboarding.objects.get()
        OffboardingStep.objects.create(
            offboarding=found, position=9, kind="replace_token", subject_id=found.id, label="A token", state="residual"
        )
    path = f"offboardings/{run['id']}/steps/9/settle/"
    assert call(stranger, outsider, "POST", path, {"note": "mine"}).status_code == 404
    settled = call(cast, partner, "POST", path, {"note": "Replaced"})
    assert settled.status_code == 200
    assert (settled.json()["state"], settled.json()["settled_note"]) == ("settled", "Replaced")
    assert call(cast, partner, "GET", "offboarding/plan/").json()["kind"] == "tenant"
