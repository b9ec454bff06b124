"""Exposures through the API: one call stops a key and answers with what is to be done."""

from __future__ import annotations

import http.client
import json
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.db import connections
from django.test import Client

from byok_portal.boundary.identifiers import new_id
from byok_portal.wsgi import application
from keys.states import KeyState
from tests.keys.test_incidents import Exposed

if TYPE_CHECKING:
    from tests.world import Credential, World

RESPONDER = ("key:compromise", "key:suspend", "key:resume", "key:read", "incident:respond", "audit:read")


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_args: object) -> None:
        """Nothing."""


def call_once(path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, Any]:
    """POST over a real socket to the real application."""
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:

        def serve() -> None:
            server.handle_request()
            connections.close_all()

        thread = threading.Thread(target=serve)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        sent = {"Content-Type": "application/json", "Host": "localhost", **headers}
        connection.request("POST", path, json.dumps(body), sent)
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        thread.join(20)
        return found


def ask(exposed: Exposed, robot: Credential, method: str, path: str, body: Any = None, **headers: str) -> Any:
    return Client(headers=robot.headers | headers).generic(
        method,
        f"/api/v1/tenants/{exposed.cast.slug}/{path}",
        json.dumps(body) if body is not None else "",
        content_type="application/json",
    )


def test_one_call_over_http_compromises_a_key_and_answers_the_incident(world: World) -> None:
    exposed = Exposed(world)
    robot = world.consumer(exposed.cast, scopes=RESPONDER)
    path = f"/api/v1/tenants/{exposed.cast.slug}/keys/{exposed.key.slug}/compromise/"
    status, incident = call_once(path, {"note": "Found by a scanner", "reason": "leak_report"}, robot.headers)
    assert status == 200, incident
    assert (incident["key"], incident["exposure"], incident["state"]) == (str(exposed.key.id), "confirmed", "new")
    assert (incident["opened_by_kind"], incident["opened_by_id"]) == ("consumer", str(robot.consumer.id))
    assert "revoke_upstream" in {task["kind"] for task in incident["tasks"]}
    assert exposed.key_state() == KeyState.COMPROMISED
    assert not exposed.use().allowed


def test_a_quarantine_is_repeated_once_and_ended_through_the_api(world: World) -> None:
    exposed = Exposed(world)
    robot = world.consumer(exposed.cast, scopes=RESPONDER)
    path = f"keys/{exposed.key.slug}/quarantine/"
    first = ask(exposed, robot, "POST", path, {"note": "Odd"}, **{"Idempotency-Key": "q"})
    again = ask(exposed, robot, "POST", path, {"note": "Odd"}, **{"Idempotency-Key": "q"})
    assert (first.status_code, again.status_code) == (200, 200), first.content
    assert (again.json(), again["Idempotent-Replay"]) == (first.json(), "true")
    third = ask(exposed, robot, "POST", path, {})
    assert (third.status_code, third.json()["code"]) == (409, "incident_open")
    base = f"incidents/{first.json()['id']}/"
    undecided = ask(exposed, robot, "POST", f"{base}move/", {"state": "closed", "force": True, "note": "x"})
    assert (undecided.status_code, undecided.json()["code"]) == (409, "undecided")
    missing = ask(exposed, robot, "POST", f"{base}dismiss/", {})
    assert [error["field"] for error in missing.json()["errors"]] == ["note"]
    done = ask(exposed, robot, "POST", f"{base}dismiss/", {"note": "Our own scanner"})
    assert (done.json()["state"], done.json()["is_false_alarm"]) == ("closed", True)
    assert done["Audit-Id"]
    assert exposed.use().allowed


def test_an_incident_is_worked_through_and_reported(world: World) -> None:
    exposed = Exposed(world)
    robot = world.consumer(exposed.cast, scopes=RESPONDER)
    exposed.use()
    body = {"suspected_since": exposed.key.created_at.isoformat()}
    made = ask(exposed, robot, "POST", f"keys/{exposed.key.slug}/compromise/", body).json()
    base = f"incidents/{made['id']}/"
    world.sequence()
    listed = ask(exposed, robot, "GET", "incidents/").json()["results"]
    assert [row["id"] for row in listed] == [made["id"]]
    detail = ask(exposed, robot, "GET", base).json()
    (use,) = detail["blast_radius"]["uses"]
    assert (use["allowed"], use["leases"], use["addresses"]) == (1, 1, ["127.0.0.1"])
    for task in ask(exposed, robot, "GET", f"{base}tasks/").json():
        answer = ask(exposed, robot, "POST", f"{base}tasks/{task['id']}/", {"state": "done", "note": "Done"})
        assert answer.json()["state"] == "done"
    wrong = ask(exposed, robot, "POST", f"{base}move/", {"state": "gone"})
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (422, "unknown_choice")
    assert ask(exposed, robot, "POST", f"{base}move/", {"state": "closed"}).json()["closed_at"]
    report = ask(exposed, robot, "GET", f"{base}report/").json()
    assert (report["format"], report["incident"]["state"]) == ("byok.incident-report/1", "closed")
    assert "@" not in json.dumps(report)


def test_a_token_sees_only_what_its_scopes_say(world: World) -> None:
    exposed = Exposed(world)
    incident = exposed.compromise()
    reader = world.consumer(exposed.cast, scopes=("key:read",))
    detail = ask(exposed, reader, "GET", f"incidents/{incident.id}/")
    assert (detail.status_code, detail.json()["blast_radius"]) == (200, None)
    assert ask(exposed, reader, "GET", f"incidents/{incident.id}/report/").status_code == 403
    assert ask(exposed, reader, "POST", f"incidents/{incident.id}/note/", {"note": "x"}).status_code == 403
    elsewhere = Exposed(world)
    theirs = elsewhere.compromise()
    assert ask(exposed, reader, "GET", f"incidents/{theirs.id}/").status_code == 404


def test_a_missing_incident_is_said_before_a_wrong_body_and_a_wrong_body_before_a_missing_key(world: World) -> None:
    exposed = Exposed(world)
    robot = world.consumer(exposed.cast, scopes=RESPONDER)
    unknown = new_id()
    incident = ask(exposed, robot, "POST", f"incidents/{unknown}/note/", {})
    assert (incident.status_code, incident.json()["code"]) == (404, "not_found")
    for change in ("compromise", "suspend"):
        wrong = ask(exposed, robot, "POST", f"keys/{unknown}/{change}/", {"note": 7 * ["x"]})
        missing = ask(exposed, robot, "POST", f"keys/{unknown}/{change}/", {"note": "Found in a paste"})
        assert (wrong.status_code, missing.status_code) == (422, 404), change
