"""Works on a batch of uses: one read, one record, one commit, then the answers. Must never answer before the commit."""

from __future__ import annotations

import functools
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg

from byok_portal.boundary.identifiers import new_id
from byok_portal.boundary.problems import is_database_away
from byok_portal.errors import PortalError
from keys.gate import arrays, metrics
from keys.gate.batches import TaskLane
from keys.gate.judging import PASS_ON, Answer, Case, Judge, PassOn, clock
from keys.gate.links import unreachable
from keys.gate.statements import CONFIRM, CONTEXTS, COUNT, FORGET, RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from keys.gate.asking import Asked
    from keys.gate.judging import Draft
    from keys.gate.links import Database, Link, Rows
    from keys.gate.records import Record
    from keys.gate.remembering import Facts, FactsMemory

    Finish = Callable[[Sequence[Answer | Exception]], None]

_KEPT: Final = timedelta(minutes=2)
_FRESH: Final = timedelta(milliseconds=50)
"""A use that waited longer is drafted anew: its decision is of the moment when it is made."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Uses whose drafts, by the place of their item, are at the database."""

    items: Sequence[Asked]
    drafts: Sequence[tuple[int, Draft]]
    finish: Finish


class UseLane(TaskLane["Asked", "Answer"]):
    """One batch at a time on one link.

    What can be drafted goes out at once and is answered from where its confirmation is read; the rest is read, decided
    and recorded by a coroutine.
    """

    def __init__(self, database: Database, judge: Judge, facts: FactsMemory) -> None:
        super().__init__()
        self._database = database
        self._facts = facts
        self._judge = judge

    def begin(self, items: Sequence[Asked], finish: Finish) -> None:
        """As `batches.Lane`."""
        link = self._database.find()
        drafts = self._draft(items) if link is not None and link.knows(CONFIRM) else []
        if link is None or not drafts:
            metrics.count_drafts(held=0, read=len(items))
            super().begin(items, finish)
            return
        batch = _Batch(items, drafts, finish)
        try:
            link.send(CONFIRM, _drafted([draft for _, draft in drafts]), functools.partial(self._confirm, batch))
        except psycopg.OperationalError:
            finish([unreachable()] * len(items))
            return
        # While the database works. They are sent only if it says that the drafts hold, and what fails then fails again.
        for _, draft in drafts:
            with suppress(Exception):
                self._judge.finish_draft(draft)

    def _draft(self, items: Sequence[Asked]) -> list[tuple[int, Draft]]:
        now, drafts = clock(), []
        for place, item in enumerate(items):
            draft = item.draft
            if draft is None or now - draft.made_at > _FRESH or draft.facts is not self._facts.find(item):
                draft = self._judge.draft(item, self._facts.find(item), now)
            if draft is not None:
                drafts.append((place, draft))
        return drafts

    def _confirm(self, batch: _Batch, found: Rows | psycopg.Error) -> None:
        """Answer what held; what did not, or what could not be drafted, is read."""
        if isinstance(found, psycopg.Error) and is_database_away(found):
            # Whether the statement was carried out is not known, so nothing of it is answered.
            batch.finish([unreachable()] * len(batch.items))
            return
        held = self._held(batch, found) if not isinstance(found, psycopg.Error) else {}
        waiting = [place for place in range(len(batch.items)) if place not in held]
        metrics.count_drafts(held=len(held), read=len(waiting))
        if not waiting:
            batch.finish([held[place] for place in range(len(batch.items))])
            return

        def complete(rest: Sequence[Answer | Exception]) -> None:
            answers = held | dict(zip(waiting, rest, strict=True))
            batch.finish([answers[place] for place in range(len(batch.items))])

        super().begin([batch.items[place] for place in waiting], complete)

    def _held(self, batch: _Batch, rows: Rows) -> dict[int, Answer | Exception]:
        held: dict[int, Answer | Exception] = {}
        for row in range(rows.count):
            place, draft = batch.drafts[int.from_bytes(rows.raw(row, 0), "big") - 1]
            try:
                held[place] = self._judge.finish_draft(draft)
            except Exception as error:  # noqa: BLE001  # told to whoever asked; its record stands
                held[place] = error
        return held

    async def work(self, items: Sequence[Asked]) -> Sequence[Answer | Exception]:
        """Read, decide, record. One bad item fails alone: what the database refuses together it is asked one by one."""
        link = await self._database.get()
        try:
            await link.prepare(CONFIRM)
            return await self._decide(link, items)
        except psycopg.Error as error:
            if is_database_away(error):
                raise unreachable() from None
            if len(items) == 1:
                raise
        return [await self._work_alone(link, item) for item in items]

    async def _work_alone(self, link: Link, item: Asked) -> Answer | Exception:
        try:
            return (await self._decide(link, [item]))[0]
        except psycopg.Error as error:
            return unreachable() if is_database_away(error) else error

    async def _read(self, link: Link, items: Sequence[Asked]) -> dict[int, Facts]:
        """What each is decided on, as it is now; nothing for a token that nobody has."""
        rows = await link.run(CONTEXTS, _asked(items, self._judge.known_entries))
        read: dict[int, Facts] = {}
        for row in range(rows.count):
            n, record = int.from_bytes(rows.raw(row, 0), "big") - 1, rows.raw(row, 1)
            read[n] = self._facts.take(items[n], record, functools.partial(_load_facts, rows, row))
        return read

    async def _decide(self, link: Link, items: Sequence[Asked]) -> list[Answer | Exception]:
        """Decide on what is read now, and record it."""
        read = await self._read(link, items)
        now = clock()
        answers: list[Answer | Exception] = [PASS_ON] * len(items)
        records: list[Record] = []
        cases: list[tuple[int, Case]] = []
        for place, item in enumerate(items):
            try:
                opened = self._judge.open_case(item, read.get(place), now)
            except PortalError as error:
                answers[place] = error
                continue
            if isinstance(opened, Case):
                cases.append((place, opened))
            elif not isinstance(opened, PassOn):
                answers[place], record = opened
                records += [record] if record is not None else []
        await self._count(link, [case for _, case in cases if case.is_counted], now)
        for place, case in cases:
            try:
                answers[place], record = self._judge.close_case(case)
            except PortalError as error:
                answers[place] = error
            else:
                records.append(record)
        if records:
            await link.run(RECORD, recorded(records))
        return answers

    async def _count(self, link: Link, cases: Sequence[Case], now: datetime) -> None:
        """The counters of all processes are the rows of this table; a batch counts its uses of one grant at once."""
        if not cases:
            return
        waiting: dict[Any, deque[Case]] = {}
        for case in cases:
            waiting.setdefault((case.row["tenant_id"], case.loaded.grant_id), deque()).append(case)
        minute = now.replace(second=0, microsecond=0)
        tenants, grants = [tenant for tenant, _ in waiting], [grant for _, grant in waiting]
        sizes = [len(queue) for queue in waiting.values()]
        values = (
            arrays.uuids([new_id() for _ in waiting]),
            arrays.uuids(tenants),
            arrays.uuids(grants),
            arrays.integers(tuple(sizes)),
            arrays.float8(minute.timestamp()),
        )
        counted = await link.run(COUNT, values)
        totals = dict(counted.load(place) for place in range(counted.count))
        new: Counter[Any] = Counter()
        for (tenant, grant), queue in waiting.items():
            first = totals[grant] - len(queue) + 1
            new[tenant, grant] += first == 1
            for used, case in enumerate(queue, start=first):
                self._judge.count(case, used, now)
        begun = [place for place, is_new in new.items() if is_new]
        if begun:
            # A new minute. The last one stays: a late use may still count in it.
            old = arrays.float8((minute - _KEPT).timestamp())
            await link.run(FORGET, (arrays.uuids(t for t, _ in begun), arrays.uuids(g for _, g in begun), old))


class RecordLane(TaskLane["Record", None]):
    """Commits events that have their answers already, such as how a call ended."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def work(self, items: Sequence[Record]) -> Sequence[Exception | None]:
        """As `batches.TaskLane`."""
        link = await self._database.get()
        try:
            await link.run(RECORD, recorded(items))
        except psycopg.Error as error:
            if is_database_away(error):
                raise unreachable() from None
            raise
        return [None] * len(items)


def recorded(records: Sequence[Record]) -> tuple[bytes, ...]:
    """The parameters of RECORD."""
    sealed = [record.sealed for record in records]
    return (
        arrays.uuids([record.event_id for record in records]),
        arrays.uuids([record.tenant_id for record in records]),
        arrays.texts([record.body for record in records]),
        arrays.byteas([None if each is None else each.blob for each in sealed]),
        arrays.integers(tuple(0 if each is None else each.version for each in sealed)),
        arrays.byteas([None if each is None else bytes(each.kcv) for each in sealed]),
    )


def _asked(items: Sequence[Asked], known: Sequence[str]) -> tuple[bytes, ...]:
    """The parameters of CONTEXTS."""
    digests, ids, slugs, scopes, opens, brokers, versions = zip(*(item.question for item in items), strict=True)
    return (
        arrays.byteas(digests),
        arrays.uuids(ids),
        arrays.texts(slugs),
        arrays.texts(scopes),
        arrays.booleans(opens),
        arrays.booleans(brokers),
        arrays.texts(known),
        arrays.integers(versions),
    )


def _drafted(drafts: Sequence[Draft]) -> tuple[bytes, ...]:
    """The parameters of CONFIRM."""
    records = [draft.record for draft in drafts]
    sealed = [record.sealed for record in records]
    return (
        arrays.byteas([draft.facts.revision for draft in drafts]),
        arrays.doubles([draft.facts.until for draft in drafts]),
        arrays.uuids([record.event_id for record in records]),
        arrays.uuids([record.tenant_id for record in records]),
        arrays.texts([record.body for record in records]),
        arrays.byteas([each.blob if each is not None else None for each in sealed]),
    )


def _load_facts(rows: Rows, row: int) -> tuple[Any, ...]:
    facts: tuple[Any, ...] = rows.load(row)[1]
    return facts
