"""Personal data beside the log: sealed under the tenant's key, erased on request, and the leaf stays as it was."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from audit import sealing
from audit.models import DataKey, PrivateDetail
from audit.services.recording import Target, append
from byok_portal.boundary import actors, binding
from byok_portal.boundary.identifiers import PLATFORM, new_id
from byok_portal.errors import IntegrityError
from keys.services import custody
from keys.services.audit_seal import AuditSealer
from tests.audit.recordings import act, body_of, opened, sealed_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    import psycopg

    from tests.world import World


@pytest.fixture
def fresh_sealer(world: World) -> AuditSealer:
    """As in a process that has just started: it keeps no key yet."""
    sealer = AuditSealer()
    sealing.install(sealer)
    return sealer


def change(admin: psycopg.Connection, event_id: UUID, sealed: bytes) -> None:
    """What only a superuser with the triggers off can do."""
    with admin.transaction():
        admin.execute("SET LOCAL session_replication_role = replica")
        admin.execute("ALTER TABLE audit_private DISABLE TRIGGER append_only")
        admin.execute("UPDATE audit_private SET sealed = %s WHERE event_id = %s", [sealed, event_id])
        admin.execute("ALTER TABLE audit_private ENABLE ALWAYS TRIGGER append_only")


def test_personal_data_is_sealed_and_the_leaf_commits_to_it(world: World, admin_connection: psycopg.Connection) -> None:
    cast = world.tenant()
    event = act(cast, note="call the night desk")
    blob, priv = sealed_of(admin_connection, event), body_of(admin_connection, event)["priv"]
    assert blob is not None
    assert b"night desk" not in blob
    assert blob[:5] == b"\x01\x00\x00\x00\x01"
    detail = opened(cast, event)[event]
    assert detail.data == {"label": cast.actor.label, "address": "127.0.0.1", "note": "call the night desk"}
    assert len(detail.salt) == 32
    text = json.dumps(detail.data, sort_keys=True, separators=(",", ":")).encode()
    assert priv == base64.b64encode(hashlib.sha256(b"byok-priv-v1\n" + detail.salt + text).digest()).decode()
    assert len(blob) == 5 + 12 + 32 + len(text) + 16
    sealing.verify_commitment(detail, priv)
    for other in (sealing.Detail.of(detail.data), sealing.Detail(detail.salt, {**detail.data, "note": "x"})):
        with pytest.raises(IntegrityError):
            sealing.verify_commitment(other, priv)


def test_equal_data_twice_looks_different_everywhere(world: World, admin_connection: psycopg.Connection) -> None:
    cast = world.tenant()
    events = [act(cast), act(cast)]
    assert len({body_of(admin_connection, event)["priv"] for event in events}) == 2
    assert len({sealed_of(admin_connection, event) for event in events}) == 2


def test_a_row_opens_only_unchanged_and_at_its_own_event(world: World, admin_connection: psycopg.Connection) -> None:
    cast = world.tenant()
    event, other = act(cast), act(cast)
    blob = sealed_of(admin_connection, event)
    assert blob is not None
    flipped = [blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :] for at in (0, 4, 5, 17, len(blob) - 1)]
    for changed in [*flipped, blob[:-1], blob[:8], b"", sealed_of(admin_connection, other) or b""]:
        change(admin_connection, event, changed)
        with pytest.raises(IntegrityError):
            opened(cast, event)
    change(admin_connection, event, blob)
    assert opened(cast, event)[event].data["address"] == "127.0.0.1"


def test_a_row_of_another_tenant_does_not_open(world: World, admin_connection: psycopg.Connection) -> None:
    cast, other = world.tenant(), world.tenant()
    event = act(cast)
    blob = sealed_of(admin_connection, event)
    with binding.bind_tenant(other.id), binding.reading(), pytest.raises(IntegrityError):
        sealing.open_all([(event, blob or b"")])


def test_staff_and_the_platform_seal_too(world: World) -> None:
    staff = world.staff_actor()
    with binding.bind_tenant(PLATFORM), binding.use_alias(binding.STAFF), binding.reading():
        event = append(actor=staff, action="provider.changed", target=Target("provider", new_id()))
        rows = PrivateDetail.objects.filter(tenant_id=PLATFORM, event_id=event).values_list("event_id", "sealed")
        assert sealing.open_all(rows)[event]["label"] == staff.label


def test_two_processes_at_a_tenants_first_event_agree_on_one_key(world: World) -> None:
    tenant, sealers, sealed = new_id(), [AuditSealer(), AuditSealer()], {}
    barrier = threading.Barrier(2, timeout=10)

    def first(sealer: AuditSealer) -> None:
        event = new_id()
        try:
            with binding.bind_tenant(tenant), binding.reading():
                barrier.wait()
                sealed[event] = sealer.seal(b"detail", event_id=event, again=False)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=first, args=[sealer]) for sealer in sealers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = [(event, detail.blob) for event, detail in sealed.items() if detail]
    assert len(rows) == 2
    with binding.bind_tenant(tenant), binding.reading():
        assert [text for _, text in AuditSealer().open_each(rows)] == [b"detail", b"detail"]
        assert DataKey.objects.filter(tenant_id=tenant).count() == 1


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_key_whose_transaction_was_rolled_back_seals_nothing(fresh_sealer: AuditSealer, *, elsewhere: bool) -> None:
    """`elsewhere`: another process has made the tenant's key meanwhile, with the same version number."""
    tenant = new_id()

    def first(*, crash: bool = False) -> UUID:
        with binding.bind_tenant(tenant), binding.reading():
            event = append(actor=actors.worker(tenant), action="tenant.opened", target=Target("tenant", tenant))
            if crash:
                raise ZeroDivisionError
            return event

    with pytest.raises(ZeroDivisionError):
        first(crash=True)
    if elsewhere:
        sealing.install(AuditSealer())
        first()
        sealing.install(fresh_sealer)
    event = first()
    with binding.bind_tenant(tenant), binding.reading():
        rows = PrivateDetail.objects.filter(event_id=event).values_list("event_id", "sealed")
        assert sealing.open_all(rows) == {event: {"label": "worker"}}


def test_shredding_leaves_the_commitment_and_nothing_to_open(
    world: World, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    before = act(cast)
    with world.inside(cast):
        custody.shred()
    after = act(cast)  # this process still holds the key in memory
    assert sealed_of(admin_connection, after) is None
    assert len(body_of(admin_connection, after)["priv"]) == 44
    assert opened(cast, before, after) == {}
    with world.inside(cast):
        row = DataKey.objects.get(tenant_id=cast.id)
        assert row.wrapped is None
        assert row.shredded_at is not None


@pytest.fixture
def no_key_file(settings: Any, fresh_sealer: AuditSealer) -> Iterator[None]:
    """As in a process that was started without one."""
    settings.KEY_FILE = ""
    custody.local_wrapper.cache_clear()
    yield
    custody.local_wrapper.cache_clear()


def test_without_a_key_file_events_are_recorded_and_nothing_private_is_stored(
    world: World, no_key_file: None, admin_connection: psycopg.Connection
) -> None:
    cast = world.tenant()
    event = act(cast)
    assert body_of(admin_connection, event)["action"] == "consumer.registered"
    assert sealed_of(admin_connection, event) is None
    assert opened(cast, event) == {}
