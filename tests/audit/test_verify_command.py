"""`manage.py verify_audit_log` as an auditor runs it: exit code, sentences, JSON."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from byok_portal.boundary.identifiers import new_id
from tests import spawning
from tests.audit.attacking import EACH

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from tests.audit.attacking import AttackedLog
    from tests.world import World


def verify(*arguments: str, auditor: str | None) -> CompletedProcess[str]:
    """Run the command with this auditor's login, or with none."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL_AUDITOR"}
    if auditor:
        environment["DATABASE_URL_AUDITOR"] = auditor
    return spawning.run("verify_audit_log", *arguments, env=environment)


def test_an_intact_log_exits_with_0_and_says_what_was_read(log: AttackedLog) -> None:
    done = verify(auditor=log.auditor_url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Intact: ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_each_fault_is_a_sentence_and_the_exit_code_is_1(log: AttackedLog) -> None:
    position = log.position(7)
    log.run("DELETE FROM audit_entry WHERE tenant_id = %(victim)s AND tseq = 7")
    done = verify(auditor=log.auditor_url)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"Tenant {log.victim}, entry 7: missing; the next entry that is there has number 8."
    assert lines[1].startswith(f"Log position {position}: missing; ")
    assert lines[2].startswith("2 faults: ")


def test_json_names_kind_tenant_and_number(log: AttackedLog) -> None:
    log.run("UPDATE audit_entry SET event_id = gen_random_uuid() WHERE tenant_id = %(victim)s AND tseq = 7")
    done = verify("--json", "--tenant", str(log.victim), auditor=log.auditor_url)
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert (answer["intact"], answer["entries"], answer["tenants"], answer["found"]) == (False, EACH, 1, 1)
    (fault,) = answer["faults"]
    assert (fault["kind"], fault["tenant"], fault["number"]) == ("column_differs", str(log.victim), 7)
    assert "event_id" in fault["detail"]


def test_a_tenant_is_found_by_the_slug_it_was_opened_with(world: World) -> None:
    cast = world.tenant()
    world.sequence()
    done = verify("--tenant", cast.slug, "--json", auditor=os.environ["DATABASE_URL_AUDITOR"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["entries"] >= 3


def test_without_the_auditors_login_one_tenant_is_verified_by_id(world: World) -> None:
    cast = world.tenant()
    world.sequence()
    done = verify("--tenant", str(cast.id), auditor=None)
    assert done.returncode == 0, done.stderr
    assert "of 1 tenants" in done.stdout


def test_wrong_use_exits_with_2_and_never_says_intact(world: World) -> None:
    auditor = os.environ["DATABASE_URL_AUDITOR"]
    tries = [verify(auditor=None), verify("--tenant", "no-such-tenant", auditor=auditor)]
    tries.append(verify("--tenant", str(new_id()), auditor=auditor))
    for done in tries:
        assert done.returncode == 2
        assert "Intact" not in done.stdout
        assert done.stderr.startswith("CommandError: ")
