"""What an event must be before it gets a number: canonical, small, whole and of the row that carries it.

Nearly every body is plain and is checked by msgspec in a tenth of the time; whatever is not goes the long way, which
alone decides. Must never do I/O.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID  # noqa: TC003  # msgspec reads the annotations

import msgspec

from audit.canonical import parse_canonical
from byok_portal.errors import InvalidInput

MAX_BODY: Final = 16 * 1024
OUTCOMES: Final = ("allowed", "denied", "failed")

_KEYS: Final = frozenset({"action", "actor", "detail", "id", "outcome", "priv", "req", "target", "time"})
_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WIDTHS: Final = {"action": 60, "outcome": 10, "actor": 10, "target": 20}
"""How long each word of a body may be; of actor and target the kind."""

_Integer = Annotated[int, msgspec.Meta(gt=-(2**53), lt=2**53)]
_Scalar = str | _Integer | bool | None


class _Actor(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: UUID
    kind: Annotated[str, msgspec.Meta(max_length=_WIDTHS["actor"])]


class _Target(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: UUID
    kind: Annotated[str, msgspec.Meta(max_length=_WIDTHS["target"])]


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields in canonical order: written again, a plain body is the same bytes."""

    action: Annotated[str, msgspec.Meta(max_length=_WIDTHS["action"])]
    actor: _Actor
    detail: dict[str, _Scalar | list[_Scalar]]
    id: str
    outcome: Literal["allowed", "denied", "failed"]
    priv: str
    req: str
    target: _Target
    time: Annotated[datetime, msgspec.Meta(tz=True)]


_decode = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def check_body(event_id: str, body: str) -> None:
    """Raises InvalidInput or IntegrityError for a body that cannot be numbered as this event."""
    if not _is_plain(event_id, body):
        _check(event_id, body)


def _is_plain(event_id: str, body: str) -> bool:
    """Whether the body is one of the many; False says nothing about it.

    Without a backslash no text can hold what the canonical profile leaves out, nor have two spellings.
    """
    if len(body) > MAX_BODY or "\\" in body or not body.isascii():
        return False
    try:
        found = _decode(body)
    except msgspec.MsgspecError:
        return False
    return found.id == event_id and _encode(found) == body.encode()


def _check(event_id: str, body: str) -> None:
    document = parse_canonical(body.encode())
    try:
        said = {
            "action": document["action"],
            "outcome": document["outcome"],
            "actor": document["actor"]["kind"],
            "target": document["target"]["kind"],
        }
        moment = datetime.fromisoformat(document["time"])
        whole = document.keys() == _KEYS and isinstance(document["detail"], dict)
        whole = whole and all(isinstance(document[name], str) for name in ("priv", "req"))
        whole = whole and all(document[name].keys() == {"id", "kind"} for name in ("actor", "target"))
        # The one spelling that searches look for.
        whole = whole and all(_ID.fullmatch(document[name]["id"]) for name in ("actor", "target"))
    except (KeyError, TypeError, AttributeError, ValueError):
        message = "the body lacks a part, or one has another type"
        raise InvalidInput(message) from None
    fits = whole and all(isinstance(text, str) and len(text) <= _WIDTHS[name] for name, text in said.items())
    if not fits or said["outcome"] not in OUTCOMES or moment.tzinfo is None:
        message = "the body has a word that is too long or unknown, or a time without a zone"
        raise InvalidInput(message)
    if len(body.encode()) > MAX_BODY or document["id"] != event_id:
        message = "the body is too long or names another event"
        raise InvalidInput(message)
