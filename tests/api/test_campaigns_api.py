"""The API doors of recertification and drills, through a real HTTP client."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import urllib3
from django.test import Client
from django.utils import timezone

from keys.models import Campaign, Drill
from tests.keys.test_campaigns import Asking
from tests.keys.test_drills import Rehearsing, origin  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.world import World

SCOPES = ("campaign:run", "drill:run", "key:rotate", "key:read", "job:read")


def test_a_campaign_is_started_once_and_read_over_http(world: World, origin: str) -> None:  # noqa: F811
    asking = Asking(world)
    headers = {**world.consumer(asking.cast, scopes=SCOPES).headers, "Content-Type": "application/json"}
    base = f"{origin}/api/v1/tenants/{asking.cast.slug}/campaigns/"
    body = {"name": "Review", "due_on": str(timezone.now().date() + timedelta(days=9)), "consequence": "suspend"}

    def call(method: str, url: str, data: dict[str, Any] | None = None, **more: str) -> tuple[int, Any]:
        with urllib3.PoolManager(retries=False) as pool:
            sent = json.dumps(data) if data is not None else None
            answer = pool.request(method, url, body=sent, headers={**headers, **more, "Connection": "close"})
        return answer.status, json.loads(answer.data)

    key = {"Idempotency-Key": world.name("start")}
    status, made = call("POST", base, body, **key)
    assert (status, made["state"], made["by_policy"]) == (201, "open", False)
    assert call("POST", base, body, **key) == (201, made)
    with world.inside(asking.cast):
        assert Campaign.objects.count() == 1
    status, found = call("GET", f"{base}{made['id']}/")
    assert (status, found["progress"]["waiting"]) == (200, 1)
    assert [item["key"] for item in found["items"]] == [str(asking.key.id)]
    status, problem = call("POST", f"{base}{made['id']}/close/", {})
    assert (status, problem["code"]) == (422, "not_over")
    status, problem = call("POST", base, {**body, "due_on": "2020-01-01"})
    assert (status, problem["code"], problem["errors"][0]["field"]) == (422, "out_of_range", "due_on")
    assert call("GET", base.replace(asking.cast.slug, world.tenant("globex").slug))[0] == 404


def test_a_drill_is_started_and_read_and_needs_its_scope(world: World) -> None:
    rehearsing = Rehearsing(world)
    cast, caller = rehearsing.cast, Client()
    base = f"/api/v1/tenants/{cast.slug}"
    headers, without = world.consumer(cast, scopes=SCOPES).headers, world.consumer(cast, scopes=("key:read",)).headers

    def post(path: str, body: dict[str, Any], given: dict[str, str]) -> Any:
        return caller.post(f"{base}/{path}", body, content_type="application/json", headers=given)

    body = {"kind": "offboarding", "key": rehearsing.key.slug}
    assert post("drills/", body, without).status_code == 403
    made = post("drills/", body, headers)
    assert (made.status_code, made.json()["state"]) == (201, "planned")
    assert post("drills/", body, headers).json()["code"] == "drill_running"
    listed = caller.get(f"{base}/drills/", headers=without).json()
    assert [row["id"] for row in listed["results"]] == [made.json()["id"]]
    kinds = {row["kind"] for row in caller.get(f"{base}/jobs/", headers=headers).json()["results"]}
    assert "drill.run" in kinds
    set_ = post("drill-schedules/", {"kind": "rotation", "every": "monthly"}, headers)
    assert (set_.status_code, set_.json()["next_on"]) == (200, str(timezone.now().date()))
    assert post(f"keys/{rehearsing.key.slug}/canary/", {"is_canary": False}, headers).json() == {"is_canary": False}
    assert post("drills/", body, headers).json()["code"] == "not_a_canary"
    with world.inside(cast):
        assert Drill.objects.count() == 1
