"""The API's side of a change: parse the body, find the thing, call one operation once, answer. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rest_framework.response import Response

from byok_portal.boundary.api import PortalView
from byok_portal.boundary.schema_api import IDEMPOTENCY, WRITES, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer


def parse(body: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """The request's body in that shape. Raises ValidationError, which becomes fields and rules."""
    serializer = body(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


class ChangeView(PortalView):
    """Base: subclasses find the thing and say what it is answered with. `view_of` makes one view per operation."""

    answers: ClassVar[type[BaseSerializer[Any]]]
    looks_first: ClassVar[bool] = False
    """Whether a missing thing is said before a body that breaks a rule."""
    body: ClassVar[type[BaseSerializer[Any]]]
    operation: ClassVar[Callable[..., Any]]

    def find(self, **where: Any) -> dict[str, Any]:
        """What the operation is told of the thing, by the parts of the address. Raises NotFound."""
        raise NotImplementedError

    def answer(self, result: Any) -> Response:
        """What became of it."""
        return Response(self.answers(result).data)

    def run(self, request: Request, **where: Any) -> Response:
        """Call the operation once per Idempotency-Key."""
        operation = type(self).operation

        def call() -> Response:
            if self.looks_first:
                thing = self.read(self.find, **where)
                values = parse(self.body, request)
            else:
                values = parse(self.body, request)
                thing = self.read(self.find, **where)
            return self.answer(operation(actor=self.actor, **thing, **values))

        return self.once(call)


View = TypeVar("View", bound=ChangeView)


def view_of(base: type[View], name: str, operation: Callable[..., Any], body: type[BaseSerializer[Any]]) -> type[View]:
    """The view of one operation, `name` in the OpenAPI document: those of one base differ in nothing but this."""

    @describe(name, request=body, answer=base.answers, problems=WRITES, parameters=[IDEMPOTENCY])
    def post(self: ChangeView, request: Request, tenant: str, **where: Any) -> Response:  # noqa: ARG001
        return self.run(request, **where)

    members = {
        "post": post,
        "body": body,
        "operation": staticmethod(operation),
        "__doc__": operation.__doc__,
        "__module__": base.__module__,
    }
    return type(name.title().replace("_", ""), (base,), members)
