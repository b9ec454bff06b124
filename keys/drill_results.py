"""What a drill's uses show, process by process, and whether that is good enough. Must never do I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from keys.probes import Answered


NOT_MEASURED: Final = "not_measured"


def measure(
    answers: Sequence[tuple[str, Answered]], *, ended: float | None, target_ms: int
) -> tuple[list[dict[str, Any]], str]:
    """A row per process, and why it is not good enough; empty when it is.

    A use counts as after the end only if it began when the end had been answered. `ended` None: there was no end.
    """
    rows = [_row(place, process, answers, ended) for place, process in _processes(answers)]
    if ended is not None:
        missed = list_missed(answers, ended)
        rows = [{**row, "code": NOT_MEASURED} if (row["place"], row["process"]) in missed else row for row in rows]
    return rows, _judge(rows, target_ms, has_end=ended is not None)


def list_missed(answers: Sequence[tuple[str, Answered]], ended: float) -> set[tuple[str, str]]:
    """(place, process) that answered by its name, and never a use that began after the end."""
    after = {(a.place, a.process) for phase, a in answers if phase == "after" and a.began >= ended}
    return {(place, process) for place, process in _processes(answers) if process} - after


def slowest(rows: Iterable[dict[str, Any]]) -> int | None:
    """The longest time until a process refused."""
    return max((row["first_refused_ms"] for row in rows if row["first_refused_ms"] is not None), default=None)


def _processes(answers: Sequence[tuple[str, Answered]]) -> list[tuple[str, str]]:
    """Refusals before a process has said its name belong to the place as a whole."""
    return list(dict.fromkeys((answer.place, answer.process) for _, answer in answers))


def _row(place: str, process: str, answers: Sequence[tuple[str, Answered]], ended: float | None) -> dict[str, Any]:
    mine = [(phase, answer) for phase, answer in answers if (answer.place, answer.process) == (place, process)]
    after = [answer for phase, answer in mine if phase == "after" and ended is not None and answer.began >= ended]
    refused = [answer for answer in after if answer.allowed is False]
    first = min((answer.ended for answer in refused), default=None)
    return {
        "place": place,
        "process": process,
        "before": sum(phase == "before" and answer.allowed is True for phase, answer in mine),
        "overlap": sum(phase == "overlap" and answer.allowed is True for phase, answer in mine),
        "failed": sum(phase != "after" and answer.allowed is False for phase, answer in mine),
        "refused": len(refused),
        "allowed_after": sum(answer.allowed is True for answer in after),
        "unreachable": sum(answer.allowed is None for _, answer in mine),
        "first_refused_ms": None if first is None or ended is None else max(0, round((first - ended) * 1000)),
        "code": refused[0].code if refused else "",
    }


def _judge(rows: list[dict[str, Any]], target_ms: int, *, has_end: bool) -> str:
    checks = {
        "used_after_end": any(row["allowed_after"] for row in rows),
        "failed_uses": any(row["failed"] for row in rows),
        "unreachable": any(row["unreachable"] for row in rows),
        "not_refused": has_end and not all(_place_refused(rows, row["place"]) for row in rows),
        NOT_MEASURED: any(row["code"] == NOT_MEASURED for row in rows),
        "too_slow": (slowest(rows) or 0) > target_ms,
    }
    return next((code for code, is_so in checks.items() if is_so), "")


def _place_refused(rows: list[dict[str, Any]], place: str) -> bool:
    return any(row["refused"] for row in rows if row["place"] == place)
