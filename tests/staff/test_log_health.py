"""Staff see whether the log is numbered, signed and read in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.models import Checkpoint, LogState
from tests.pages.browser import text_of
from tests.staff.door import address, enter, sign_in

if TYPE_CHECKING:
    import psycopg

    from tests.world import World


def test_log_health_shows_size_checkpoint_readers_and_partitions(
    world: World, admin_connection: psycopg.Connection
) -> None:
    client = enter(world)
    world.tenant()
    world.sequence()
    size, newest = LogState.objects.get().size, Checkpoint.objects.order_by("-size")[0]
    admin_connection.execute(
        "INSERT INTO audit_reader (name, position, delivered, fault) VALUES ('slow <b>', 1, 1, 'refused') "
        "ON CONFLICT DO NOTHING"
    )
    try:
        page = client.get(address("audit_logstate_changelist"))
    finally:
        admin_connection.execute("DELETE FROM audit_reader WHERE name = 'slow <b>'")
    facts, text = dict(page.context["facts"]), text_of(page)
    assert facts["Entries in the log"] == size
    assert facts["Last checkpoint"] == newest.size
    assert facts["Not covered by a signed checkpoint yet"] == size - newest.size
    assert facts["Signed"] == newest.signed_at
    assert {row["reader"].name: row["behind"] for row in page.context["readers"]}["slow <b>"] == size - 1
    assert "slow &lt;b&gt;" in text
    assert page.context["partitions"]
    assert all(row["name"] in text and row["size"].replace("\xa0", " ") in text for row in page.context["partitions"])
    assert "No checkpoint is signed" not in text


def test_a_fault_of_the_log_stands_first(world: World, admin_connection: psycopg.Connection) -> None:
    client = enter(world)
    admin_connection.execute("UPDATE audit_logstate SET fault = 'root differs', fault_at = now()")
    try:
        text = text_of(client.get(address("audit_logstate_changelist")))
    finally:
        admin_connection.execute("UPDATE audit_logstate SET fault = '', fault_at = NULL")
    assert "No checkpoint is signed root differs Since" in text


def test_what_stands_still_is_named(world: World, admin_connection: psycopg.Connection) -> None:
    client = enter(world)
    world.tenant()
    world.sequence()
    well = client.get(address("audit_logstate_changelist"))
    admin_connection.execute("UPDATE audit_logstate SET beat_at = now() - interval '1 hour', waiting = 2")
    try:
        page = client.get(address("audit_logstate_changelist"))
    finally:
        admin_connection.execute("UPDATE audit_logstate SET beat_at = now(), waiting = 0")
    assert not [text for text in well.context["troubles"] if "Readers" not in text]
    silent, refused = page.context["troubles"][:2]
    assert silent.startswith("The sequencer has given no sign of life for 1\xa0hour")
    assert refused.startswith("Events were refused")
    assert "All is well" not in text_of(page)


def test_log_health_is_for_staff_and_changes_nothing(world: World) -> None:
    cast = world.tenant()
    page = address("audit_logstate_changelist")
    assert sign_in(cast.owner).get(page).status_code == 404
    assert enter(world).get(address("audit_logstate_add")).status_code == 403
