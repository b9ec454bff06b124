"""A page that reads the OpenAPI document to people. No third-party script: the portal's own look and policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from django.shortcuts import render
from drf_spectacular.generators import SchemaGenerator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a body, or one parameter."""

    name: str
    kind: str
    required: bool
    note: str


@dataclass(frozen=True, slots=True)
class Call:
    """One operation as people read it."""

    anchor: str
    method: str
    path: str
    text: str
    fields: tuple[Row, ...]
    answers: tuple[tuple[str, str], ...]


def docs(request: HttpRequest) -> HttpResponse:
    """Every call of the API with its fields and answers."""
    return render(request, "api/docs.html", {"calls": _calls()})


@cache
def _calls() -> list[Call]:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    schemas = document["components"]["schemas"]
    return [
        _call(method, path, operation, schemas)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def _call(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> Call:
    return Call(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        text=operation.get("description", ""),
        fields=tuple(_fields(operation, schemas)),
        answers=tuple((status, answer.get("description", "")) for status, answer in operation["responses"].items()),
    )


def _fields(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[Row]:
    for parameter in operation.get("parameters", []):
        place = f"{parameter['in']} parameter"
        yield Row(parameter["name"], place, parameter.get("required", False), parameter.get("description", ""))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolve(content["schema"], schemas)
        for name, field in schema.get("properties", {}).items():
            yield Row(name, _kind(field, schemas), name in schema.get("required", []), field.get("description", ""))


def _resolve(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    return dict(schemas[schema["$ref"].rsplit("/", 1)[1]]) if "$ref" in schema else schema


def _kind(field: dict[str, Any], schemas: dict[str, Any]) -> str:
    for part in field.get("allOf", field.get("oneOf", [])):
        return _kind(part, schemas)
    found = _resolve(field, schemas)
    kinds = found.get("type", "object")
    words = kinds if isinstance(kinds, str) else " or ".join(kinds)
    choices = ", ".join(str(choice) for choice in found.get("enum", []) if choice is not None)
    return f"{words}: {choices}" if choices else words
