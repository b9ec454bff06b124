"""Break the log on purpose, as a superuser with the triggers off, and see each fault named."""

# The attacker writes SQL from words of this file.
# ruff: noqa: S608

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audit import verification
from audit.chain import build_leaf, leaf_hash
from audit.inspection import FaultKind
from byok_portal.boundary.identifiers import new_id
from tests.audit import inbox
from tests.audit.attacking import EACH

if TYPE_CHECKING:
    from uuid import UUID

    from tests.audit.attacking import AttackedLog

LAST = EACH
NEXT = EACH + 1
OF_VICTIM = "WHERE tenant_id = %(victim)s AND tseq ="

FORGE = """
INSERT INTO audit_entry (idx, tenant_id, tseq, event_id, leaf)
VALUES (%(idx)s, %(tenant)s, %(tseq)s, %(event)s, %(leaf)s)
"""


def faults_of(log: AttackedLog, tenant: UUID) -> set[tuple[FaultKind, int]]:
    return {(fault.kind, fault.number) for fault in log.verify().faults if fault.tenant_id == tenant}


def positions_of(log: AttackedLog) -> set[tuple[FaultKind, int]]:
    return {(fault.kind, fault.number) for fault in log.verify().faults if fault.tenant_id is None}


def test_an_untouched_log_is_intact_and_counted(log: AttackedLog) -> None:
    report = log.verify()
    assert report.faults == []
    assert report.entries == log.one("SELECT count(*) FROM audit_entry") >= 2 * EACH
    assert report.tenants == log.one("SELECT count(*) FROM audit_tenanthead") >= 2


@pytest.mark.parametrize("batch", [1, 7, EACH])
def test_the_size_of_a_batch_makes_no_difference(log: AttackedLog, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(verification, "BATCH", batch)
    assert log.verify().intact
    log.run(f"DELETE FROM audit_entry {OF_VICTIM} 14")
    assert faults_of(log, log.victim) == {(FaultKind.MISSING, 14)}


@pytest.mark.parametrize("number", [1, 2, 7, LAST - 1, LAST])
def test_an_edited_record_is_named(log: AttackedLog, number: int) -> None:
    log.run(f"""UPDATE audit_entry SET leaf = replace(leaf, '"n":', '"m":') {OF_VICTIM} {number}""")
    assert faults_of(log, log.victim) == {(FaultKind.EDITED, number)}
    assert positions_of(log) == set()


@pytest.mark.parametrize("junk", ["leaf || ' '", "'not json'", "''", "'[]'", "replace(leaf, '\"v\":1', '\"v\":true')"])
def test_a_record_that_is_no_record_any_more_is_named(log: AttackedLog, junk: str) -> None:
    log.run(f"UPDATE audit_entry SET leaf = {junk} {OF_VICTIM} 7")
    assert faults_of(log, log.victim) == {(FaultKind.EDITED, 7)}


def test_an_edited_column_is_named(log: AttackedLog) -> None:
    log.run(f"UPDATE audit_entry SET event_id = gen_random_uuid() {OF_VICTIM} 7")
    assert faults_of(log, log.victim) == {(FaultKind.COLUMN, 7)}
    assert [fault.detail for fault in log.verify().faults] == ["not as in the record: event_id"]


def test_a_record_that_was_edited_with_its_column_is_named(log: AttackedLog) -> None:
    log.run(
        f"UPDATE audit_entry SET leaf = replace(leaf, event_id::text, %(new)s), event_id = %(new)s::uuid {OF_VICTIM} 7",
        new=str(new_id()),
    )
    assert faults_of(log, log.victim) == {(FaultKind.EDITED, 7)}


def test_a_backdated_record_is_named(log: AttackedLog) -> None:
    log.run(f"UPDATE audit_entry SET leaf = replace(leaf, '2026-01-02', '2025-01-02') {OF_VICTIM} 7")
    assert faults_of(log, log.victim) == {(FaultKind.EDITED, 7)}


def test_a_deleted_entry_is_named_in_the_chain_and_in_the_log(log: AttackedLog) -> None:
    position = log.position(7)
    log.run(f"DELETE FROM audit_entry {OF_VICTIM} 7")
    assert faults_of(log, log.victim) == {(FaultKind.MISSING, 7)}
    assert positions_of(log) == {(FaultKind.MISSING, position)}
    assert faults_of(log, log.other) == set()


def test_a_cut_tail_is_named(log: AttackedLog) -> None:
    log.run(f"DELETE FROM audit_entry WHERE tenant_id = %(victim)s AND tseq > {LAST - 3}")
    assert faults_of(log, log.victim) == {(FaultKind.TAIL_CUT, LAST - 2)}
    assert len(positions_of(log)) == 3


def test_the_cut_tail_of_the_whole_log_is_named(log: AttackedLog) -> None:
    size = log.one("SELECT size FROM audit_logstate")
    log.run("DELETE FROM audit_entry WHERE idx >= %(from)s", **{"from": size - 5})
    assert positions_of(log) == {(FaultKind.TAIL_CUT, size - 5)}


def test_a_chain_that_is_gone_is_named(log: AttackedLog) -> None:
    log.run("DELETE FROM audit_entry WHERE tenant_id = %(victim)s")
    assert faults_of(log, log.victim) == {(FaultKind.TAIL_CUT, 1)}


def test_two_swapped_records_are_named(log: AttackedLog) -> None:
    log.run(
        "UPDATE audit_entry e SET leaf = o.leaf, event_id = o.event_id FROM kept.audit_entry o "
        "WHERE e.tenant_id = %(victim)s AND o.tenant_id = e.tenant_id AND e.tseq IN (7, 9) AND o.tseq = 16 - e.tseq"
    )
    assert faults_of(log, log.victim) == {(FaultKind.REORDERED, 7), (FaultKind.REORDERED, 9)}


def test_swapped_positions_are_named(log: AttackedLog) -> None:
    first, second = log.position(7), log.position(8)
    log.run(f"UPDATE audit_entry SET idx = idx + 1000000 {OF_VICTIM} 7")  # in the same partition
    log.run(f"UPDATE audit_entry SET idx = {first} {OF_VICTIM} 8")
    log.run(f"UPDATE audit_entry SET idx = {second} {OF_VICTIM} 7")
    assert faults_of(log, log.victim) == {(FaultKind.REORDERED, 8)}


def test_a_reattributed_column_is_named_on_both_sides(log: AttackedLog) -> None:
    log.run(f"UPDATE audit_entry SET tenant_id = %(other)s, tseq = {NEXT} {OF_VICTIM} 7")
    assert faults_of(log, log.victim) == {(FaultKind.MISSING, 7)}
    assert faults_of(log, log.other) >= {(FaultKind.REATTRIBUTED, NEXT), (FaultKind.ADDED, NEXT)}


def test_a_reattributed_record_is_named_on_both_sides(log: AttackedLog) -> None:
    """The attacker writes a new record for the other tenant, well linked, and moves its head along."""
    leaf, prev = inbox.document(new_id()), _head_of(log, log.other)
    moved = build_leaf(tenant=log.other, seq=NEXT, prev=prev, body={**leaf, "id": str(_event(log, 7))})
    log.run(
        f"UPDATE audit_entry SET tenant_id = %(other)s, tseq = {NEXT}, leaf = %(leaf)s {OF_VICTIM} 7",
        leaf=moved.decode(),
    )
    assert faults_of(log, log.victim) == {(FaultKind.MISSING, 7)}
    assert (FaultKind.ADDED, NEXT) in faults_of(log, log.other)
    log.run(
        "UPDATE audit_tenanthead SET tseq = tseq + 1, leaf_hash = %(hash)s WHERE tenant_id = %(other)s",
        hash=leaf_hash(moved),
    )
    assert faults_of(log, log.victim) == {(FaultKind.MISSING, 7)}
    assert (FaultKind.REORDERED, NEXT) in faults_of(log, log.other)


def test_a_forged_entry_at_the_end_is_named(log: AttackedLog) -> None:
    event, size = new_id(), log.one("SELECT size FROM audit_logstate")
    leaf = build_leaf(tenant=log.victim, seq=NEXT, prev=_head_of(log, log.victim), body=inbox.document(event))
    log.run(FORGE, idx=size, tenant=log.victim, tseq=NEXT, event=event, leaf=leaf.decode())
    found = faults_of(log, log.victim)
    assert (FaultKind.ADDED, NEXT) in found
    assert positions_of(log) == {(FaultKind.ADDED, size)}


def test_a_second_entry_with_the_same_number_is_named(log: AttackedLog) -> None:
    size = log.one("SELECT size FROM audit_logstate")
    log.run(FORGE, idx=size, tenant=log.victim, tseq=7, event=new_id(), leaf="{}")
    assert faults_of(log, log.victim) == {(FaultKind.DUPLICATE, 7)}


@pytest.mark.parametrize("change", ["DELETE FROM audit_tenanthead", "UPDATE audit_tenanthead SET idx = idx - 1"])
def test_a_head_that_does_not_fit_is_named(log: AttackedLog, change: str) -> None:
    log.run(f"{change} WHERE tenant_id = %(victim)s")
    assert faults_of(log, log.victim) == {(FaultKind.HEAD, LAST)}


def test_every_fault_is_told_in_one_sentence(log: AttackedLog) -> None:
    log.run(f"DELETE FROM audit_entry {OF_VICTIM} 7")
    sentences = [str(fault) for fault in log.verify().faults]
    expected = f"Tenant {log.victim}, entry 7: missing; the next entry that is there has number 8."
    assert expected in sentences


def test_a_thoroughly_broken_log_is_counted_but_not_kept_whole(
    log: AttackedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "KEPT", 10)
    log.run("UPDATE audit_entry SET event_id = gen_random_uuid() WHERE tenant_id = %(victim)s")
    report = log.verify()
    assert report.found == EACH
    assert len(report.faults) == 10


def _head_of(log: AttackedLog, tenant: UUID) -> bytes:
    return bytes(log.one("SELECT leaf_hash FROM audit_tenanthead WHERE tenant_id = %(tenant)s", tenant=tenant))


def _event(log: AttackedLog, number: int) -> UUID:
    found: UUID = log.one(f"SELECT event_id FROM audit_entry {OF_VICTIM} {number}")
    return found
