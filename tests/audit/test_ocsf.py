"""OCSF events of entries: every class is whole, consistent, and the same each time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from audit.ocsf import Source, map_entry
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

TENANT, EVENT = UUID(int=1), UUID(int=2)
KEY, CONSUMER, PERSON = str(UUID(int=3)), str(UUID(int=4)), str(UUID(int=5))
SOURCE = Source(tenant_id=TENANT, idx=70, tseq=9, sequence=8, log_name="siem:all:x")

# What OCSF 1.8 requires of each class beside the base event.
REQUIRED = {
    2004: {"finding_info"},
    2005: {"finding_info_list", "status_id", "assignee_group"},
    3002: {"user", "service"},
    3003: {"user", "privileges"},
    3004: {"entity"},
    3005: {"user", "privileges"},
    6003: {"actor", "api", "src_endpoint"},
}
BASE = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
ACTION = re.compile(r'(?:action|events)\W{0,3}=[^"\n]{0,3}((?:"[a-z]+\.[a-z_]+",? ?)+)')


def body(action: str, **changes: Any) -> dict[str, Any]:
    return {
        "action": action,
        "actor": {"id": PERSON, "kind": "person"},
        "detail": {},
        "id": str(EVENT),
        "outcome": "allowed",
        "priv": "A" * 43 + "=",
        "req": "r-1",
        "target": {"id": KEY, "kind": "key"},
        "time": "2026-01-02T03:04:05.678901Z",
        **changes,
    }


def recorded_actions() -> Iterator[str]:
    """Every fact that an operation of the portal records."""
    for app in ("keys", "tenants"):
        for path in (ROOT / app / "services").glob("*.py"):
            for found in ACTION.findall(path.read_text(encoding="utf-8")):
                yield from re.findall(r'"([^"]+)"', found)


@pytest.mark.parametrize(
    ("action", "type_uid"),
    [
        ("key.registered", 300401),
        ("key.activated", 300410),
        ("key.suspended", 300412),
        ("key.resumed", 300413),
        ("key.rotated", 300403),
        ("key.revoked", 300404),
        ("key.used", 600302),
        ("key.compromised", 200501),
        ("key.leaked", 200401),
        ("grant.created", 300301),
        ("grant.ended", 300399),
        ("member.joined", 300501),
        ("session.started", 300201),
        ("session.ended", 300202),
        ("audit.reopened", 300499),
        ("some.thing_new", 600399),
    ],
)
def test_actions_have_their_class(action: str, type_uid: int) -> None:
    assert map_entry(body(action), SOURCE)["type_uid"] == type_uid


@pytest.mark.parametrize("outcome", ["allowed", "denied", "failed"])
@pytest.mark.parametrize("action", sorted({*recorded_actions(), "key.rotate", "key.leaked", "session.started"}))
def test_every_event_is_whole_and_consistent(action: str, outcome: str) -> None:
    event = map_entry(body(action, outcome=outcome), SOURCE)
    assert set(event) >= BASE | REQUIRED[event["class_uid"]]
    assert event["category_uid"] == event["class_uid"] // 1000
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["activity_name"]
    assert all(event[name] for name in REQUIRED[event["class_uid"]])
    assert event["time"] == 1767323045678
    assert event["metadata"]["uid"] == str(EVENT)
    assert event["metadata"]["version"] == "1.8.0"
    assert (event["metadata"]["sequence"], event["metadata"]["tenant_uid"]) == (8, str(TENANT))
    assert event["unmapped"]["tseq"] == 9
    assert event == map_entry(body(action, outcome=outcome), SOURCE)


def test_all_facts_of_keys_are_known() -> None:
    found = set(recorded_actions())
    assert {"key.rotated", "grant.created", "member.joined"} <= found
    plain = {action for action in found if map_entry(body(action), SOURCE)["type_uid"] == 600399}
    assert not {action for action in plain if action.startswith(("key.", "grant.", "member.", "consumer."))}, plain


@pytest.mark.parametrize(
    ("action", "outcome", "severity"),
    [
        ("key.used", "allowed", 1),
        ("key.used", "denied", 2),
        ("key.used", "failed", 3),
        ("key.compromised", "allowed", 5),
        ("key.upstream_residual", "failed", 4),
        ("key.revoke", "denied", 2),
    ],
)
def test_harm_is_more_severe_than_refusal(action: str, outcome: str, severity: int) -> None:
    assert map_entry(body(action, outcome=outcome), SOURCE)["severity_id"] == severity


def test_a_refused_use_is_a_failure_with_its_code() -> None:
    denied = body(
        "key.used",
        actor={"id": CONSUMER, "kind": "consumer"},
        detail={"code": "scope_not_granted", "scope": "write"},
        outcome="denied",
    )
    event = map_entry(denied, SOURCE)
    assert (event["status_id"], event["status_code"]) == (2, "scope_not_granted")
    assert event["src_endpoint"] == {"name": "consumer", "uid": CONSUMER}
    assert event["actor"]["user"] == {"type": "Service", "type_id": 4, "uid": CONSUMER}
    assert event["resources"] == [{"type": "API Credential", "uid": KEY}]


@pytest.mark.parametrize(("method", "activity"), [("GET", 2), ("POST", 1), ("PATCH", 3), ("DELETE", 4)])
def test_a_brokered_call_does_what_its_method_does(method: str, activity: int) -> None:
    assert map_entry(body("key.used", detail={"method": method}), SOURCE)["activity_id"] == activity


def test_a_grant_names_the_consumer_and_its_scopes() -> None:
    event = map_entry(body("grant.created", detail={"consumer": CONSUMER, "scopes": ["a", "b"]}), SOURCE)
    assert (event["user"]["uid"], event["privileges"]) == (CONSUMER, ["a", "b"])


def test_a_key_is_an_entity_of_our_own_type() -> None:
    event = map_entry(body("key.rotated", detail={"version": 2}), SOURCE)
    assert event["entity"] == {"data": {"version": 2}, "type": "API Credential", "type_id": 99, "uid": KEY}
