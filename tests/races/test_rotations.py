"""Two processes rotate one key with its provider's help: one wins, the other is told so, nothing else lives on."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from django.db import connections

from byok_portal.errors import PortalError
from keys.models import KeyVersion
from keys.states import VersionState
from tests.keys.succeeding import Succeeding

if TYPE_CHECKING:
    from tests.world import World

LOST = {"rotation_running", "rotated_meanwhile", "still_draining"}
PROCESSES = 2


def race(succeeding: Succeeding, *, hours: int) -> list[dict[str, Any]]:
    """What each of two forked processes got that started at one signal."""
    connections.close_all()
    answers, answer = os.pipe()
    gate, opener = os.pipe()
    pids = [pid for _ in range(PROCESSES) if (pid := _fork(succeeding, hours, gate=gate, answer=answer))]
    os.write(opener, b"!" * PROCESSES)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(answer)
    with os.fdopen(answers) as lines:
        found = [json.loads(line) for line in lines]
    for end in (gate, opener):
        os.close(end)
    assert len(found) == PROCESSES
    return found


def _fork(succeeding: Succeeding, hours: int, *, gate: int, answer: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            connections["default"].ensure_connection()
            os.read(gate, 1)
            os.write(answer, (json.dumps(_rotate(succeeding, hours)) + "\n").encode())
        finally:
            os._exit(0)
    return pid


def _rotate(succeeding: Succeeding, hours: int) -> dict[str, Any]:
    try:
        return {"number": succeeding.rotate(hours=hours).number}
    except PortalError as error:
        return {"kind": type(error).__name__, "code": error.code}


def test_of_two_processes_one_rotates_and_the_other_gets_a_conflict(world: World) -> None:
    succeeding = Succeeding(world)
    for hours in (0, 0, 24):
        before = max(succeeding.states())
        found = race(succeeding, hours=hours)
        won = [each["number"] for each in found if "number" in each]
        lost = [each for each in found if "code" in each]
        assert (len(won), len(lost)) == (1, 1), found
        assert lost[0]["kind"] == "Conflict"
        assert lost[0]["code"] in LOST
        succeeding.work()
        states = succeeding.states()
        assert [number for number, state in states.items() if state == VersionState.ACTIVE] == won
        assert states[before] == (VersionState.SUPERSEDED if hours else VersionState.REVOKED)
    with world.inside(succeeding.cast):
        live = KeyVersion.objects.filter(state__in=[VersionState.ACTIVE, VersionState.SUPERSEDED])
        wanted = {version.revoke_evidence["accessor"] for version in live}
    assert len(wanted) == 2
    assert {each["accessor"] for each in succeeding.alive()} == wanted
    assert len(succeeding.told("key.rotated")) == 3
