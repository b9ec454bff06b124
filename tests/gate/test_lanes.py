"""A batch whose second statement the database refuses: one bad item fails alone, and what held keeps its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from byok_portal.errors import Unavailable
from keys.gate.lanes import UseLane
from keys.gate.records import Record
from keys.gate.statements import CONFIRM, CONTEXTS, RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keys.gate.links import Statement

NO_TENANT = UUID(int=0)
NO_DIGEST = b"no digest"


@dataclass(frozen=True)
class Item:
    """A use whose facts did or did not change since it was asked last."""

    name: str
    is_as_before: bool = False
    draft: None = None
    question: tuple[Any, ...] = (NO_DIGEST, None, "", "", False, False, 0)


class Notebook:
    """Stands for the facts memory: knows what every item found last, so that each is drafted once."""

    def __init__(self) -> None:
        self._asked: set[str] = set()

    def find(self, item: Item) -> object | None:
        known = None if item.name in self._asked else SimpleNamespace(revision=b"", until=0.0)
        self._asked.add(item.name)
        return known

    def take(self, item: Item, read: bytes, load: object) -> bytes:
        return read


class EasyJudge:
    """Allows everything: a record's body is the item's name."""

    known_entries: Sequence[str] = ()

    def draft(self, item: Item, facts: Any, now: object) -> Any:
        return None if facts is None else SimpleNamespace(item=item, facts=facts, record=record_of(item))

    def finish_draft(self, draft: Any) -> str:
        return f"{draft.item.name} held"

    def open_case(self, item: Item, facts: object, now: object) -> tuple[str, Record]:
        return f"{item.name} decided", record_of(item)


def record_of(item: Item) -> Record:
    return Record(uuid4(), NO_TENANT, item.name, None)


@dataclass
class ScriptedLink:
    """Stands for a link: a statement that refuses is what no real use is known to cause."""

    items: Sequence[Item]
    error: psycopg.Error
    confirms: bool = True
    recorded: list[bytes] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)

    def knows(self, statement: Statement) -> bool:
        return statement is CONFIRM

    async def prepare(self, statement: Statement) -> None:
        assert statement is CONFIRM

    def send(self, statement: Statement, values: Sequence[bytes], then: Callable[[Any], None]) -> None:
        assert statement is CONFIRM
        self.ran.append(statement.name)
        held = [place for place, item in enumerate(self.items, start=1) if item.is_as_before]
        found = rows_of(held) if self.confirms else self.error
        asyncio.get_running_loop().call_soon(then, found)

    async def run(self, statement: Statement, values: Sequence[bytes]) -> Any:
        self.ran.append(statement.name)
        if statement is RECORD:
            return self._record(values[2])
        assert statement is CONTEXTS
        return rows_of(range(1, 1 + values[0].count(NO_DIGEST)))

    def _record(self, bodies: bytes) -> None:
        if b"bad" in bodies:
            raise self.error
        self.recorded.append(bodies)


def rows_of(places: Sequence[int]) -> Any:
    found = [(place.to_bytes(8, "big"), b"row") for place in places]
    return SimpleNamespace(count=len(found), raw=lambda row, column: found[row][column])


def work(link: ScriptedLink, judge: EasyJudge | None = None) -> Sequence[Any]:
    async def get() -> ScriptedLink:
        return link

    async def begin() -> Sequence[Any]:
        lane = UseLane(SimpleNamespace(get=get, find=lambda: link), judge or EasyJudge(), Notebook())  # type: ignore[arg-type]
        told: list[Sequence[Any]] = []
        done = asyncio.Event()
        lane.begin(link.items, lambda answers: (told.append(answers), done.set()))  # type: ignore[arg-type,func-returns-value]
        await asyncio.wait_for(done.wait(), 10)
        await asyncio.sleep(0.01)
        assert len(told) == 1, "an answer is told once"
        return told[0]

    return asyncio.run(begin())


def test_one_bad_item_fails_alone_beside_drafts_that_held() -> None:
    refused = psycopg.DataError("no")
    link = ScriptedLink([Item("first", is_as_before=True), Item("good"), Item("bad")], refused)
    assert work(link) == ["first held", "good decided", refused]
    assert [b"good" in bodies for bodies in link.recorded] == [True]
    assert link.ran.count(CONFIRM.name) == 1, "what is committed is never asked again"


@pytest.mark.parametrize("error", [psycopg.OperationalError("gone"), psycopg.errors.ReadOnlySqlTransaction("no")])
@pytest.mark.parametrize("others", [[], [Item("good")]])
def test_what_held_is_answered_though_the_database_went_away_then(others: list[Item], error: psycopg.Error) -> None:
    """Gone, or a standby that takes no writes yet."""
    link = ScriptedLink([Item("first", is_as_before=True), *others, Item("bad")], error)
    first, *rest = work(link)
    assert first == "first held"
    assert [type(each) for each in rest] == [Unavailable] * (len(others) + 1)
    assert link.recorded == []


@pytest.mark.parametrize(
    ("error", "answer"),
    [(psycopg.DataError("no"), "decided"), (psycopg.errors.InvalidSqlStatementName("who?"), "decided")],
)
def test_a_confirmation_that_was_refused_is_read_and_decided(error: psycopg.Error, answer: str) -> None:
    """Also behind a pooler, where another server connection may not know the statement."""
    link = ScriptedLink([Item("first", is_as_before=True), Item("good")], error, confirms=False)
    assert work(link) == [f"first {answer}", f"good {answer}"]


def test_nobody_is_answered_when_the_database_goes_away_while_it_confirms() -> None:
    """Whether it was carried out is not known."""
    link = ScriptedLink([Item("first", is_as_before=True)], psycopg.OperationalError("gone"), confirms=False)
    (answer,) = work(link)
    assert isinstance(answer, Unavailable)
    assert link.recorded == []


def test_an_answer_that_cannot_be_written_fails_alone() -> None:
    class Clumsy(EasyJudge):
        def finish_draft(self, draft: Any) -> str:
            if draft.item.name == "odd":
                raise ZeroDivisionError
            return super().finish_draft(draft)

    items = [Item("first", is_as_before=True), Item("odd", is_as_before=True), Item("last", is_as_before=True)]
    first, odd, last = work(ScriptedLink(items, psycopg.DataError("no")), Clumsy())
    assert (first, last) == ("first held", "last held")
    assert isinstance(odd, ZeroDivisionError)
