"""Reminders and mails survive kill -9 at every statement and while a mail is handed over: none lost, none doubled."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from django.core.mail.backends.filebased import EmailBackend
from django.db import connections
from django.test import override_settings
from django_q.models import OrmQ
from django_q.tasks import async_task

from audit.models import Entry
from byok_portal.boundary import jobs
from keys.models import Key
from tenants.models import Mail
from tests.crash.smtp import MailServer
from tests.crash.test_offboarding import Fuse
from tests.crash.test_worker import descendants, is_alive, kill, pulse_after
from tests.keys.test_reminders import Waiting, staff_notices
from tests.portal import Portal, wait_until
from tests.tenants.mailing import PASSED, gather, inbox, job_of, say, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    import psycopg

    from tests.world import Cast, World


def die_at(step: int, work: Callable[[], object]) -> bool:
    """Run the work in a forked process that is killed at a step. Returns whether it came to its end alive."""
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            fuse = Fuse(step)
            fuse.arm()
            _arm_mail(fuse)
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFEXITED(status)


def _arm_mail(fuse: Fuse) -> None:
    hand_over = EmailBackend.send_messages

    def watched(self: Any, messages: Any) -> int:
        fuse.burn()
        taken = hand_over(self, messages)
        fuse.burn()
        return taken

    EmailBackend.send_messages = watched  # type: ignore[assignment,method-assign]  # in the child only


@pytest.mark.parametrize("days", [7, -5], ids=["reminder", "escalation"])
def test_killing_the_sweep_at_any_statement_says_everything_once(world: World, days: int) -> None:
    waiting = Waiting(world, days=days)
    for _ in range(2):
        world.key(waiting.cast)
    waiting.set_deadlines(days=days)
    kills = 0
    for step in count(2, 3):
        if die_at(step, waiting.sweep):
            break
        kills += 1
        assert kills < 100
    assert kills > 3
    assert waiting.sweep() == 0
    ends = [kind for kind in waiting.said_to(waiting.cast.owner.pk) if kind.startswith("key.end")]
    assert len(ends) == 3
    told = staff_notices(waiting.cast.id)
    assert len(told) == len({notice.recipient_id for notice in told})
    assert bool(told) == (days < 0)
    world.sequence()
    with world.inside(waiting.cast):
        entries = Entry.objects.filter(tenant_id=waiting.cast.id, leaf__contains="key.reminded").count()
    assert entries == 1


def test_killing_the_sender_at_any_step_never_sends_twice_and_never_claims_too_much(
    world: World, admin_connection: psycopg.Connection, tmp_path: Path
) -> None:
    cast, ends = world.tenant(), set()
    backend = "django.core.mail.backends.filebased.EmailBackend"
    with override_settings(EMAIL_BACKEND=backend, EMAIL_FILE_PATH=str(tmp_path)):
        for step in count(1):
            say(cast, cast.owner.pk)
            mail = force_gather(world, cast)
            job = job_of(cast, mail)
            alive = die_at(step, lambda job=job: jobs.run(str(cast.id), str(job.id)))  # type: ignore[misc]
            # What time does: the dead worker's lease lapses.
            admin_connection.execute(
                "UPDATE boundary_job SET lease_until = now(), run_after = now() WHERE id = %s", [job.id]
            )
            jobs.run(str(cast.id), str(job.id))
            taken = sum(str(mail.id) in path.read_text() for path in tmp_path.iterdir())
            ends.add((state_of(cast, mail), taken))
            if alive:
                break
            assert step < 100
    # Confirmed and taken once; or left open, and then it may or may not have gone. Nothing else.
    assert ends == {("sent", 1), ("unconfirmed", 0), ("unconfirmed", 1)}


def force_gather(world: World, cast: Cast) -> Mail:
    """As after an hour."""
    with world.inside(cast):
        Mail.objects.update(created_at="2020-01-01T00:00:00Z")
    mail = gather(cast, cast.owner.pk)
    assert mail is not None
    return mail


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    server = MailServer()
    monkeypatch.setenv("EMAIL_URL", server.url)
    yield server
    server.shutdown()
    server.server_close()


def start_worker(portal: Portal) -> None:
    since = time.time()
    portal.start("worker")
    wait_until(lambda: pulse_after(since), seconds=40)


def test_a_worker_killed_while_the_mail_server_thinks_leaves_the_mail_unconfirmed(
    world: World, server: MailServer, tmp_path: Path
) -> None:
    cast, portal = world.tenant(), Portal(tmp_path)
    server.silent_for = cast.owner.email
    start_worker(portal)
    try:
        say(cast, cast.owner.pk, kind=PASSED)
        wait_until(lambda: server.taken_for(cast.owner.email), seconds=30)
        below = descendants(portal.processes["worker"].pid)
        portal.kill("worker")
        for pid in below:
            kill(pid)
        wait_until(lambda: not any(is_alive(pid) for pid in below), seconds=15)
        server.silent_for = ""
        start_worker(portal)
        (first,) = mails_of(world, cast)
        wait_until(lambda: job_of(cast, first).state == "dead", seconds=40)
        assert job_of(cast, first).last_error == "mail_unconfirmed"
        assert state_of(cast, first) == "unconfirmed"
        say(cast, cast.backup.pk, kind=PASSED)
        wait_until(lambda: server.taken_for(cast.backup.email), seconds=40)
        wait_until(lambda: [mail.state for mail in mails_of(world, cast)] == ["unconfirmed", "sent"], seconds=20)
    finally:
        portal.stop()
    assert [server.taken_for(person.email) for person in (cast.owner, cast.backup)] == [1, 1]
    assert len(inbox(cast, cast.owner.pk)) == 1  # what lasts
    assert cast.owner.email not in portal.logs()


def mails_of(world: World, cast: Cast) -> list[Mail]:
    with world.inside(cast):
        return list(Mail.objects.order_by("created_at"))


def test_two_clusters_one_of_them_killed_and_restarted_say_everything_once(
    world: World, tmp_path: Path, admin_connection: psycopg.Connection
) -> None:
    """Real clusters of django-q2 on one database, both made to sweep again and again."""
    waiting = Waiting(world, days=7)
    with world.inside(waiting.cast):
        Key.objects.update(ends_on=datetime.now(UTC).date() + timedelta(days=7))
    clusters = [Portal(tmp_path / name) for name in ("one", "two")]
    for cluster in clusters:
        cluster.folder.mkdir()
        start_worker(cluster)

    def sweep_at_once() -> bool:
        admin_connection.execute("DELETE FROM boundary_pulse WHERE name = 'keys.reminders'")
        for _ in clusters:
            async_task("keys.tasks.remind", save=False)
        return all(waiting.everybody)

    try:
        sweep_at_once()
        below = descendants(clusters[0].processes["worker"].pid)
        clusters[0].kill("worker")
        for pid in below:
            kill(pid)
        start_worker(clusters[0])
        wait_until(sweep_at_once, seconds=60, every=0.5)
        for _ in range(6):
            sweep_at_once()
            time.sleep(0.3)
        wait_until(lambda: not OrmQ.objects.exists(), seconds=60)
    finally:
        for cluster in clusters:
            cluster.stop()
    assert waiting.everybody == (["key.ends_soon"], ["key.ends_soon"])
    assert list_actions(admin_connection, waiting.cast.id).count("key.reminded") == 1


def list_actions(admin: psycopg.Connection, tenant_id: UUID) -> list[str]:
    """Actions of the tenant's events that wait for their numbers, and of those that have them."""
    rows = admin.execute("SELECT body::json ->> 'action' FROM audit_inbox WHERE tenant_id = %s", [tenant_id]).fetchall()
    rows += admin.execute(
        "SELECT leaf::json #>> '{body,action}' FROM audit_entry WHERE tenant_id = %s", [tenant_id]
    ).fetchall()
    return [row[0] for row in rows]
