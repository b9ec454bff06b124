"""What every API view says of itself in the OpenAPI document. Changes nothing at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers

if TYPE_CHECKING:
    from collections.abc import Callable

    from drf_spectacular.openapi import AutoSchema


class FieldProblem(serializers.Serializer[Any]):
    """One field that breaks one rule."""

    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class Problem(serializers.Serializer[Any]):
    """RFC 9457 problem details; `code` is stable, `detail` is for people."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    instance = serializers.CharField()
    errors = FieldProblem(many=True, required=False)  # type: ignore[assignment]  # the wire name is RFC 9457's


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The one way in."""

    target_class = "byok_portal.boundary.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "byok_live_… token of a consumer"}


IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Repeats of a write answer with the first answer.",
)
PAGING = [
    OpenApiParameter("cursor", str, description="From `next` or `previous` of another page."),
    OpenApiParameter("page_size", {"type": "integer", "minimum": 1, "maximum": 200}, description="50 when left out."),
]
_PROBLEMS = {
    400: "The request is not well formed.",
    401: "No token, or one that is not live.",
    403: "The token lacks the scope, or the use is denied.",
    404: "Missing, or another tenant's.",
    406: "The answer is JSON, which the Accept header leaves out.",
    409: "The state does not allow it.",
    415: "Send application/json.",
    422: "A field breaks a rule.",
    429: "Too many requests; see Retry-After.",
    502: "The provider could not be reached.",
    503: "Temporarily unavailable; see Retry-After.",
}


def describe(
    name: str,
    *,
    answer: Any,
    status: Any = 200,
    also: dict[Any, Any] | None = None,
    request: Any = None,
    problems: tuple[int, ...] = (),
    **more: Any,
) -> Callable[[Any], Any]:
    """`extend_schema` with the problems that the operation may answer with. `also`: further good answers."""
    always = (400, 401, 403, 404, 406)
    responses: dict[Any, Any] = {status: answer, **(also or {})}
    for code in sorted({*always, *problems}):
        responses[code, "application/problem+json"] = OpenApiResponse(Problem, description=_PROBLEMS[code])
    return extend_schema(operation_id=name, request=request, responses=responses, **more)


def page_of(body: type[serializers.Serializer[Any]]) -> Any:
    """One page of a list: the rows, and where the pages beside it are."""
    fields = {
        "next": serializers.URLField(allow_null=True, read_only=True),
        "previous": serializers.URLField(allow_null=True, read_only=True),
        "results": body(many=True),
    }
    return inline_serializer(f"{body.__name__}Page", fields)


WRITES = (400, 409, 415, 422, 503)
"""The further problems of a write."""
