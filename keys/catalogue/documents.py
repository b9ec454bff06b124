"""Frozen dataclasses to JSON documents and back, guided by their annotations. Names the field and rule that
breaks.
"""
# an annotation at run time has no type of its own

from __future__ import annotations

import dataclasses
import types
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from byok_portal.errors import InvalidInput

if TYPE_CHECKING:
    from keys.catalogue.entries import Json

T = TypeVar("T")


def broken(field: str, rule: str, detail: str) -> InvalidInput:
    """One spelling of a catalogue error: which field, which rule."""
    return InvalidInput(f"{field}: {detail}", code=rule, field=field)


def build(kind: type[T], document: object, field: str) -> T:
    """A dataclass from a table. Unknown and missing names are refused, and so is every wrong type."""
    if not isinstance(document, dict):
        raise broken(field or "entry", "not_a_table", "must be a table of names and values")
    fields = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    for name in document:
        if name not in fields:
            raise broken(_join(field, str(name)), "unknown_field", "is not a field of the catalogue")
    values: dict[str, Any] = {}
    for name, each in fields.items():
        if name in document:
            values[name] = _convert(hints[name], document[name], _join(field, name))
        elif each.default is dataclasses.MISSING:
            raise broken(_join(field, name), "missing", "is required")
    return kind(**values)


def dump(value: object) -> Json:
    """The JSON form: dataclasses become tables, tuples lists, pairs of tuples tables; defaults are left
    out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = [each for each in dataclasses.fields(value) if getattr(value, each.name) != each.default]
        hints = get_type_hints(type(value))
        return {each.name: _dump_as(hints[each.name], getattr(value, each.name)) for each in kept}
    if isinstance(value, tuple):
        return [dump(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    message = f"a catalogue entry cannot hold a {type(value).__name__}"
    raise TypeError(message)


def _dump_as(hint: Any, value: Any) -> Json:
    return {name: dump(item) for name, item in value} if _is_table(hint) else dump(value)


def _is_table(hint: Any) -> bool:
    """`tuple[tuple[str, X], ...]` is a frozen table."""
    inner = get_args(hint)[0] if get_origin(hint) is tuple else None
    return get_origin(inner) is tuple and Ellipsis not in get_args(inner)


def _convert(hint: Any, value: object, field: str) -> object:
    if get_origin(hint) is types.UnionType:
        return None if value is None else _convert(get_args(hint)[0], value, field)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, field)  # type: ignore[arg-type]
    if _is_table(hint):
        return _convert_table(get_args(get_args(hint)[0])[1], value, field)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise broken(field, "not_a_list", "must be a list")
        return tuple(_convert(get_args(hint)[0], item, f"{field}[{n}]") for n, item in enumerate(value))
    # `True` is an int to Python, not to a reader.
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise broken(field, "wrong_type", f"must be of type {hint.__name__}")
    return value


def _convert_table(hint: Any, value: object, field: str) -> object:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise broken(field, "not_a_table", "must be a table of names and values")
    return tuple((name, _convert(hint, item, _join(field, name))) for name, item in value.items())


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
