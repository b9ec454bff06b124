"""Works on a batch of uses: one read, one record, one commit, then the answers. Must never answer before the commit."""

from __future__ import annotations

import functools
from collections import Counter, deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg

from byok_portal.boundary.identifiers import new_id
from byok_portal.errors import PortalError, Unavailable
from keys.gate import arrays, metrics
from keys.gate.judging import PASS_ON, Answer, Case, Judge, PassOn, clock
from keys.gate.links import Link
from keys.gate.statements import CONFIRM, CONTEXTS, COUNT, FORGET, RECORD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from keys.gate.asking import Asked
    from keys.gate.judging import Draft
    from keys.gate.links import Rows
    from keys.gate.records import Record
    from keys.gate.remembering import Facts, FactsMemory

_KEPT: Final = timedelta(minutes=2)


class Database:
    """A link that is opened when it is needed, and again when it broke."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._link: Link | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a link."""
        return self._link is not None and not self._link.is_closed

    async def get(self) -> Link:
        """Raises Unavailable without a database."""
        if self._link is None or self._link.is_closed:
            try:
                self._link = await Link.open(self._parameters)
            except psycopg.Error:
                raise unreachable() from None
        return self._link

    async def close(self) -> None:
        """Leave."""
        if self._link is not None and not self._link.is_closed:
            await self._link.close()


class UseLane:
    """One batch at a time on one link."""

    def __init__(self, database: Database, judge: Judge, facts: FactsMemory) -> None:
        self._database = database
        self._facts = facts
        self._judge = judge

    async def work(self, items: Sequence[Asked]) -> Sequence[Answer | Exception]:
        """As `batches.Lane`. One bad item fails alone: what the database refuses together it is asked one by one."""
        link = await self._database.get()
        try:
            return await self._work(link, items)
        except psycopg.OperationalError:
            # Whether the last statement was carried out is not known, so nothing of it is answered.
            raise unreachable() from None
        except psycopg.Error:
            if len(items) == 1:
                raise
        return [await self._work_alone(link, item) for item in items]

    async def _work_alone(self, link: Link, item: Asked) -> Answer | Exception:
        try:
            return (await self._work(link, [item]))[0]
        except psycopg.OperationalError:
            return unreachable()
        except psycopg.Error as error:
            return error

    async def _work(self, link: Link, items: Sequence[Asked]) -> Sequence[Answer | Exception]:
        now = clock()
        answers: list[Answer | Exception] = [PASS_ON] * len(items)
        drafted: list[tuple[int, Draft]] = []
        waiting: list[tuple[int, Asked]] = []
        for place, item in enumerate(items):
            draft = self._judge.draft(item, self._facts.find(item), now)
            if draft is not None:
                drafted.append((place, draft))
            else:
                waiting.append((place, item))
        if drafted:
            drafts = [draft for _, draft in drafted]
            rows = await link.run(CONFIRM, _drafted(drafts), meanwhile=lambda: self._finish(drafts))
            held = {int.from_bytes(rows.raw(row, 0), "big") - 1 for row in range(rows.count)}
            for n, (place, draft) in enumerate(drafted):
                if n in held:
                    answers[place] = self._judge.finish_draft(draft)
                else:
                    waiting.append((place, items[place]))
        metrics.count_drafts(held=len(items) - len(waiting), read=len(waiting))
        if waiting:
            await self._decide_rest(link, waiting, answers)
        return answers

    async def _decide_rest(
        self, link: Link, rest: Sequence[tuple[int, Asked]], answers: list[Answer | Exception]
    ) -> None:
        """What held is committed and keeps its answer, whatever becomes of these: one bad item fails alone."""
        try:
            await self._decide(link, rest, answers)
        except psycopg.OperationalError:
            # Whether the last statement was carried out is not known, so nothing of it is answered.
            for place, _ in rest:
                answers[place] = unreachable()
        except psycopg.Error as error:
            if len(rest) == 1:
                answers[rest[0][0]] = error
                return
            for place, item in rest:
                answers[place] = await self._work_alone(link, item)

    def _finish(self, drafts: Sequence[Draft]) -> None:
        """Write the answers while the database works: they are sent only if it says that the drafts hold."""
        for draft in drafts:
            self._judge.finish_draft(draft)

    async def _read(self, link: Link, items: Sequence[Asked]) -> dict[int, Facts]:
        """What each is decided on, as it is now; nothing for a token that nobody has."""
        rows = await link.run(CONTEXTS, _asked(items, self._judge.known_entries))
        read: dict[int, Facts] = {}
        for row in range(rows.count):
            n, record = int.from_bytes(rows.raw(row, 0), "big") - 1, rows.raw(row, 1)
            read[n] = self._facts.take(items[n], record, functools.partial(_load_facts, rows, row))
        return read

    async def _decide(self, link: Link, rest: Sequence[tuple[int, Asked]], answers: list[Answer | Exception]) -> None:
        """Decide on what is read now, and record it."""
        read = await self._read(link, [item for _, item in rest])
        now = clock()
        records: list[Record] = []
        cases: list[tuple[int, Case]] = []
        for n, (place, item) in enumerate(rest):
            try:
                opened = self._judge.open_case(item, read.get(n), now)
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


class RecordLane:
    """Commits events that have their answers already, such as how a call ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def work(self, items: Sequence[Record]) -> Sequence[Exception | None]:
        """As `batches.Lane`."""
        link = await self._database.get()
        try:
            await link.run(RECORD, recorded(items))
        except psycopg.OperationalError:
            raise unreachable() from None
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


def unreachable() -> Unavailable:
    """What everybody is told while there is no database."""
    return Unavailable("The database does not answer.", code="database_unavailable")
