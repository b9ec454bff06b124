"""The gate answers as the web's own door does, allowed or denied: the same bytes, the same record."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from keys.decision import Code
from tests.gate import gates
from tests.portal import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    import psycopg

    from byok_portal.boundary.secrets import Secret
    from keys.models import Grant, Key
    from tests.world import Cast, Credential, World

USE: dict[str, Any] = {"scope": "secrets:read", "purpose": "nightly report"}
_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_CHANGING = {"date", "audit-id", "x-request-id", "byok-process", "connection"}

Answer = tuple[int, dict[str, str], bytes]

# What is done to the key's surroundings before it is used: table, change.
STATES: dict[str, tuple[str, str, Code]] = {
    "nothing is wrong": ("key", "name = name", Code.ALLOWED),
    "the tenant is suspended": ("tenant", "state = 'suspended'", Code.TENANT_NOT_ACTIVE),
    "the tenant is past its agreed end": (
        "tenant",
        "ends_automatically = true, contract_ends_on = current_date - 2",
        Code.TENANT_NOT_ACTIVE,
    ),
    "the key is pending": ("key", "state = 'pending'", Code.KEY_NOT_ACTIVE),
    "the key is suspended": ("key", "state = 'suspended'", Code.KEY_SUSPENDED),
    "the key's clock has run out": ("key", "suspends_for = 'overdue', suspends_at = now()", Code.KEY_SUSPENDED),
    "the key is revoked": ("key", "state = 'revoked'", Code.KEY_REVOKED),
    "the key is compromised": ("key", "state = 'compromised'", Code.KEY_COMPROMISED),
    "the key is past its last day": ("key", "ends_on = current_date - 2", Code.KEY_EXPIRED),
    "the key is of another environment": ("key", "environment = 'development'", Code.ENVIRONMENT_MISMATCH),
    "the key lacks the scope": ("key", "scopes = '{}'", Code.SCOPE_NOT_GRANTED),
    "its only version is revoked": ("version", "state = 'revoked', end_reason = 'superseded'", Code.NO_USABLE_VERSION),
    "its version has expired": ("version", "expires_at = now() - interval '1 second'", Code.KEY_EXPIRED),
    "its data key is revoked": ("data key", "state = 'revoked'", Code.DATA_KEY_UNAVAILABLE),
    "the grant was asked for only": ("grant", "state = 'requested'", Code.GRANT_NOT_STARTED),
    "the grant has not started": ("grant", "starts_at = now() + interval '1 day'", Code.GRANT_NOT_STARTED),
    "the grant has expired": ("grant", "starts_at = now() - interval '1 hour', expires_at = now()", Code.GRANT_EXPIRED),
    "the grant was ended": ("grant", "state = 'revoked'", Code.GRANT_ENDED),
    "the grant lacks the scope": ("grant", "scopes = '{secrets:list}'", Code.SCOPE_NOT_GRANTED),
    "the grant is for another network": ("grant", "networks = '{198.51.100.0/24}'", Code.NETWORK_NOT_ALLOWED),
    "the grant is for this network": ("grant", "networks = '{127.0.0.0/8}'", Code.ALLOWED),
    "the grant's window is closed": (
        "grant",
        '"window" = \'{"days": [], "start_minute": 0, "end_minute": 1}\'',
        Code.OUTSIDE_WINDOW,
    ),
    "the grant's rate is none": ("grant", "rate_per_minute = 0", Code.RATE_EXCEEDED),
    "the grant is for brokered calls": ("grant", "deliveries = '{broker}'", Code.DELIVERY_NOT_PERMITTED),
    "the grant is another consumer's": ("grant", "consumer_id = gen_random_uuid()", Code.NOT_FOUND),
    "the consumer was ended": ("consumer", "state = 'ended'", Code.CONSUMER_UNKNOWN),
    "the token is revoked": ("token", "revoked_at = now()", Code.CONSUMER_UNKNOWN),
    "the token has expired": ("token", "expires_at = now() - interval '1 second'", Code.CONSUMER_UNKNOWN),
}


class Scene:
    """One key with a grant, changed behind the portal's back and put right again."""

    def __init__(self, world: World, admin: psycopg.Connection) -> None:
        self.cast: Cast = world.tenant()
        self.key: Key = world.key(self.cast)
        self.credential: Credential = world.consumer(self.cast)
        self.grant: Grant = world.grant(self.cast, self.key, self.credential)
        self.admin = admin
        tenant = self.cast.id
        self.rows: dict[str, tuple[str, str, UUID]] = {
            "tenant": ("tenants_tenant", "id", tenant),
            "key": ("keys_key", "id", self.key.id),
            "version": ("keys_keyversion", "key_id", self.key.id),
            "data key": ("keys_tenantkey", "tenant_id", tenant),
            "grant": ("keys_grant", "id", self.grant.id),
            "consumer": ("tenants_consumer", "id", self.credential.consumer.id),
            "token": ("tenants_consumertoken", "id", self.credential.token_id),
        }

    @property
    def path(self) -> str:
        return f"/api/v1/tenants/{self.cast.slug}/keys/{self.key.slug}/use/"

    def change(self, what: str, change: str) -> None:
        table, column, value = self.rows[what]
        with self.admin.transaction():
            # Triggers off: no way leads back from most of these states.
            self.admin.execute("SET LOCAL session_replication_role = replica")
            self.admin.execute(f"CREATE TEMP TABLE before_{table} AS SELECT * FROM {table} WHERE {column} = '{value}'")  # noqa: S608
            self.admin.execute(f"UPDATE {table} SET {change} WHERE {column} = '{value}'")  # noqa: S608

    def put_right(self, what: str) -> None:
        table, column, value = self.rows[what]
        with self.admin.transaction():
            self.admin.execute("SET LOCAL session_replication_role = replica")
            self.admin.execute(f"DELETE FROM {table} WHERE {column} = '{value}'")  # noqa: S608
            self.admin.execute(f"INSERT INTO {table} SELECT * FROM before_{table}")  # noqa: S608
            self.admin.execute(f"DROP TABLE before_{table}")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with gates.running(tmp_path_factory.mktemp("gate")) as port:
        yield port


@pytest.fixture
def scene(world: World, admin_connection: psycopg.Connection) -> Scene:
    return Scene(world, admin_connection)


def both(gate: int, path: str, body: Any, headers: dict[str, str]) -> tuple[Answer, Answer]:
    """The answers of the web's own door and of the gate."""
    data = json.dumps(body).encode()
    web = Client(headers=headers).post(path, data, content_type="application/json")
    there = (web.status_code, {name.lower(): value for name, value in web.headers.items()}, web.content)
    return there, ask(gate, path, body, headers)


def plain(answer: Answer, *known: object) -> Answer:
    """Without what differs between two calls of one door: ids of requests, moments, the process."""
    status, headers, body = answer
    kept = {name: value for name, value in headers.items() if name not in _CHANGING}
    # Its directives come in the order of a set.
    kept["content-security-policy"] = ";".join(sorted(kept["content-security-policy"].split("; ")))
    body = re.sub(rb'"expires_at":"[^"]*"', b'"expires_at":"?"', body)
    names = {str(each).encode() for each in known}
    kept["content-length"] = str(len(body))
    return status, kept, _ID.sub(lambda match: match[0] if match[0] in names else b"?", body)


def entry(admin: psycopg.Connection, answer: Answer) -> dict[str, Any] | None:
    """What was put on record of it, without what differs between two events."""
    if "audit-id" not in answer[1]:
        return None
    audit_id = answer[1]["audit-id"]
    found = admin.execute(
        "SELECT body FROM audit_inbox WHERE event_id = %s "
        "UNION ALL SELECT (leaf::jsonb -> 'body')::text FROM audit_entry WHERE event_id = %s",
        [audit_id, audit_id],
    ).fetchone()
    assert found, "an answer without its entry"
    private = admin.execute("SELECT 1 FROM audit_private WHERE event_id = %s", [audit_id]).fetchone()
    body = json.loads(found[0])
    return {name: value for name, value in body.items() if name not in {"id", "time", "priv"}} | {
        "is private kept": private is not None
    }


def compare(scene: Scene, gate: int, body: dict[str, Any], path: str = "", **headers: str) -> tuple[Answer, Answer]:
    """The gate is asked twice: it reads first, and then decides on what it remembers and has it confirmed."""
    web, data_plane = both(gate, path or scene.path, body, {**scene.credential.headers, **headers})
    again = ask(gate, path or scene.path, body, {**scene.credential.headers, **headers})
    for answer in (data_plane, again):
        assert plain(web, scene.key.id) == plain(answer, scene.key.id)
        assert entry(scene.admin, web) == entry(scene.admin, answer)
        assert answer[1].keys() - {"date"} == web[1].keys()
    return web, data_plane


def ask(gate: int, path: str, body: Any, headers: dict[str, str]) -> Answer:
    return gates.call(gate, path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


@pytest.mark.parametrize("state", STATES)
def test_both_doors_answer_alike_when(gate: int, scene: Scene, state: str) -> None:
    what, change, code = STATES[state]
    for delivery in ("decision", "lease"):  # what the gate remembers is from before the change
        assert ask(gate, scene.path, {**USE, "delivery": delivery}, scene.credential.headers)[0] == 200
    scene.change(what, change)
    try:
        answers = {
            delivery: compare(scene, gate, {**USE, "delivery": delivery})[1] for delivery in ("decision", "lease")
        }
    finally:
        scene.put_right(what)
    for delivery, (status, headers, body) in answers.items():
        document = json.loads(body)
        if code == Code.CONSUMER_UNKNOWN:
            assert (status, document["code"]) == (401, "unauthenticated")
            assert re.fullmatch("[0-9a-f]{8}", headers["byok-process"])
            continue
        assert document["code"] == code
        assert headers["audit-id"] == headers["x-request-id"]
        assert ("lease" in document) == (code == Code.ALLOWED and delivery == "lease")


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "secrets:write"},
        {"scope": "no-such-scope"},
        {"version": 1},
        {"version": 7},
        {"environment": "development"},
        {"environment": None},
        {"purpose": "  a purpose with blanks around it and ünïcödé \u2028 "},
        {"delivery": "lease", "version": 1},
    ],
    ids=str,
)
def test_both_doors_answer_alike_to(gate: int, scene: Scene, change: dict[str, Any]) -> None:
    compare(scene, gate, {**USE, **change})


def test_both_doors_know_a_key_and_its_tenant_by_their_ids(gate: int, scene: Scene) -> None:
    path = f"/api/v1/tenants/{scene.cast.id}/keys/{scene.key.id}/use/"
    _, (status, _, _) = compare(scene, gate, USE, path)
    assert status == 200


def test_a_missing_key_and_another_tenants_look_alike(gate: int, scene: Scene, world: World) -> None:
    other = world.tenant("globex")
    theirs = world.key(other)
    for key in ("no-such-key", theirs.slug, theirs.id):
        compare(scene, gate, USE, f"/api/v1/tenants/{scene.cast.slug}/keys/{key}/use/")
    for tenant in (other.slug, other.id, "no-such-tenant"):
        _, answer = compare(scene, gate, USE, f"/api/v1/tenants/{tenant}/keys/{scene.key.slug}/use/")
        assert answer[0] == 404
        assert "audit-id" not in answer[1]


@pytest.mark.parametrize("authorization", ["", "Bearer nonsense", "Basic eDp5", "Bearer byok_live_" + "0" * 36])
def test_a_caller_without_a_token_of_ours_is_not_known(gate: int, scene: Scene, authorization: str) -> None:
    web, data_plane = both(gate, scene.path, USE, {"Authorization": authorization} if authorization else {})
    assert plain(web) == plain(data_plane)
    assert data_plane[0] == 401


def test_a_token_without_the_permission_is_refused_on_record(gate: int, scene: Scene) -> None:
    scene.change("token", "scopes = '{key:read}'")
    _, (status, _, body) = compare(scene, gate, USE)
    assert status == 403
    assert json.loads(body)["code"] == "permission_denied"


def test_a_rate_is_counted_over_both_doors(gate: int, scene: Scene) -> None:
    scene.change("grant", "rate_per_minute = 3")
    codes = []
    for _ in range(3):
        web, data_plane = both(gate, scene.path, USE, scene.credential.headers)
        codes += [web[0], data_plane[0]]
    # A minute may have ended meanwhile: then two counts of three.
    assert codes.count(200) in {3, 4, 5, 6}
    if codes.count(200) == 3:
        assert codes == [200, 200, 200, 429, 429, 429]
        assert int(data_plane[1]["retry-after"]) <= 60


def test_a_use_that_nothing_has_changed_since_is_confirmed_in_the_statement_that_records_it(
    tmp_path: Path, scene: Scene
) -> None:
    metrics = free_port()
    with gates.running(tmp_path, metrics=metrics) as gate:
        for _ in range(3):
            assert ask(gate, scene.path, USE, scene.credential.headers)[0] == 200
        scene.change("grant", "scopes = '{secrets:list}'")
        for _ in range(2):
            assert ask(gate, scene.path, USE, scene.credential.headers)[0] == 403
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/") as answer:
            figures = answer.read().decode()
    assert 'byok_gate_drafts_total{found="held"} 3.0' in figures
    assert 'byok_gate_drafts_total{found="read"} 2.0' in figures


@pytest.mark.parametrize("token", ["revoked_at = NULL", "revoked_at = now()"])
def test_every_answer_about_a_canary_is_the_webs(gate: int, scene: Scene, token: str) -> None:
    """A drill ends a token, and looks for the refusal of each process that answered before."""
    scene.change("key", "is_canary = true")
    scene.change("token", token)
    status, _, body = ask(gate, scene.path, USE, scene.credential.headers)
    assert (status, json.loads(body)["code"]) == (503, "no_web")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"scope":"secrets:read"}', b'{"scope":1,"purpose":"x"}', b'{"scope":"a","purpose":"b","c":1}'],
)
def test_what_is_not_plainly_a_use_is_left_to_the_web(gate: int, scene: Scene, body: bytes) -> None:
    """A gate without a web behind it says so rather than guess."""
    headers = {"Content-Type": "application/json", **scene.credential.headers}
    status, headers, answer = gates.call(gate, scene.path, body, headers)
    assert status == 503
    assert json.loads(answer)["code"] == "no_web"
    assert headers["retry-after"] == "5"


DRAINS = "state = 'superseded', drain_until = now() + interval '1 hour'"
LIVE: dict[str, tuple[str, str, bool]] = {
    "nothing is wrong": ("key", "name = name", True),
    "the tenant is suspended": ("tenant", "state = 'suspended'", False),
    "the key is suspended": ("key", "state = 'suspended'", False),
    "the key is past its last day": ("key", "ends_on = current_date - 2", False),
    "its clock has run out": ("key", "suspends_for = 'overdue', suspends_at = now()", False),
    "its version has expired": ("version", "expires_at = now()", False),
    "its version drains": ("version", DRAINS, True),
    "its version is off for a rehearsal": (
        "version",
        f"{DRAINS}, dark_from = now(), dark_until = now() + interval '1 minute'",
        False,
    ),
}


@pytest.mark.parametrize("state", LIVE)
def test_both_doors_know_a_live_credential_when(gate: int, world: World, scene: Scene, state: str) -> None:
    scene.change("token", "scopes = '{credential:introspect}'")
    with world.inside(scene.cast):
        secret = opened(scene.key.id).reveal_text()
    what, change, active = LIVE[state]
    scene.change(what, change)
    try:
        _, (status, _, body) = compare(scene, gate, {"token": secret}, "/api/v1/introspect/")
        compare(scene, gate, {"token": f"{secret}x"}, "/api/v1/introspect/")
    finally:
        scene.put_right(what)
    assert status == 200
    assert json.loads(body)["active"] is active


def test_introspection_needs_its_own_permission(gate: int, scene: Scene) -> None:
    _, (status, _, body) = compare(scene, gate, {"token": "anything"}, "/api/v1/introspect/")
    assert (status, json.loads(body)["code"]) == (403, "permission_denied")
    web, data_plane = both(gate, "/api/v1/introspect/", {"token": "anything"}, {})
    assert plain(web) == plain(data_plane)


def opened(key_id: UUID) -> Secret:
    from keys.models import KeyVersion  # noqa: PLC0415  # settings must be ready
    from keys.services import custody  # noqa: PLC0415

    return custody.open_version(KeyVersion.objects.get(key_id=key_id))
