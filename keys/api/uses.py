"""The API door of runtime use: decide, lease, broker, introspect. Every answer carries its `Audit-Id`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from byok_portal.boundary import problems
from byok_portal.boundary.api import PortalView
from byok_portal.boundary.changing import parse
from byok_portal.boundary.schema_api import describe
from byok_portal.boundary.secrets import Secret
from keys import use_answers
from keys.api import serializers as bodies
from keys.canaries import PROCESS_HEADER, name_process
from keys.selectors import end_of
from keys.services import introspection, uses
from keys.states import Delivery, Environment
from tenants import rules

if TYPE_CHECKING:
    from rest_framework.request import Request

_Response = TypeVar("_Response", bound=HttpResponse)
USES = (400, 415, 422, 429, 503)
_UNAUTHENTICATED = 401


_WORDS: Final = {"scope": 60, "purpose": 200}
_CHOICES: Final = {"delivery": frozenset({"decision", "lease"}), "environment": frozenset(Environment)}
_ACCEPTED: Final = frozenset({"*/*", "application/json"})
_PLAIN: Final = re.compile("[!-~](?:[ -~]*[!-~])?")


def plain_use(data: Any) -> dict[str, Any] | None:
    """What UseBody makes of the common body; None leaves any other to it. Making a serializer costs more than this."""
    if type(data) is not dict or not _WORDS.keys() <= data.keys() <= {*_WORDS, *_CHOICES}:
        return None
    if not all(type(value) is str for value in data.values()):
        return None
    if not all(len(data[name]) <= most and _PLAIN.fullmatch(data[name]) for name, most in _WORDS.items()):
        return None
    if not all(data[name] in words for name, words in _CHOICES.items() if name in data):
        return None
    return {"delivery": Delivery.DECISION.value, **data}


class KeyUse(PortalView):
    """Ask for one use of a key: a decision, or a short-lived lease of the plaintext."""

    @describe("key_use", request=bodies.UseBody, answer=bodies.UsedBody, problems=USES)
    def post(self, request: Request, tenant: str, key: str) -> Response:
        asked = plain_use(request.data) or parse(bodies.UseBody, request)
        environment = asked.get("environment")
        answer = uses.use(
            actor=self.actor,
            token_id=self.bearer.token_id,
            key_reference=key,
            scope=asked["scope"],
            purpose=rules.require_text(asked["purpose"], field="purpose", maximum=200),
            delivery=Delivery(asked["delivery"]),
            environment=Environment(environment) if environment else None,
            version=asked.get("version"),
        )
        response = _no_store(Response(used(answer))) if answer.decision.allowed else denial(request, answer)
        if answer.is_canary:
            response[PROCESS_HEADER] = name_process()
        return response

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: FBT001, FBT002  # DRF's signature
        """There is one way to write an answer; only a caller who asks for another needs to be told so."""
        if request.META.get("HTTP_ACCEPT", "*/*") in _ACCEPTED and not request.META.get("QUERY_STRING"):
            renderer = JSONRenderer()
            return renderer, renderer.media_type
        return super().perform_content_negotiation(request, force)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """A token that is refused names no key, so the process names itself then too: drills end a token and count."""
        final = super().finalize_response(request, response, *args, **kwargs)
        if final.status_code == _UNAUTHENTICATED:
            final[PROCESS_HEADER] = name_process()
        return final


class Passthrough(BaseParser):
    """Leaves the body alone, whatever its type: the provider reads it, not we."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream


class KeyProxy(PortalView):
    """Make a call through the portal: it adds the credential, the consumer never sees it.

    The call must match a call pattern of a granted scope; anything else is refused and recorded.
    """

    parser_classes = (Passthrough,)
    # A brokered GET writes to the record, so it must not run inside a read transaction of the door.
    reads_in_transaction = False
    purpose = OpenApiParameter("Byok-Purpose", str, OpenApiParameter.HEADER, required=True, description="What for.")

    def handle(self, request: Request, tenant: str, key: str, path: str) -> HttpResponse:
        """The same for every method."""
        purpose = rules.require_text(request.META.get("HTTP_BYOK_PURPOSE", ""), field="Byok-Purpose", maximum=200)
        raw = request._request  # noqa: SLF001  # the untouched request: the provider reads the body, not we
        call = uses.Call(
            method=str(request.method),
            path=f"/{path}",
            query=request.META.get("QUERY_STRING", ""),
            headers=dict(raw.headers),
            body=raw.body,
            purpose=purpose,
        )
        answer = uses.proxy(actor=self.actor, token_id=self.bearer.token_id, key_reference=key, call=call)
        if answer.result is None:
            return denial(request, answer)
        response = HttpResponse(answer.result.body, status=answer.result.status, headers=dict(answer.result.headers))
        response["Audit-Id"] = str(answer.audit_id)
        return _no_store(response)


def _serve(method: str) -> Any:
    """The handler of one HTTP method: they differ only in what the OpenAPI document says of them."""

    def handler(self: KeyProxy, request: Request, **kwargs: Any) -> HttpResponse:
        return self.handle(request, **kwargs)

    body = OpenApiTypes.BINARY if method in {"post", "put", "patch"} else None
    return describe(
        f"key_proxy_{method}",
        answer=OpenApiTypes.BINARY,
        problems=(*USES, 502),
        parameters=[KeyProxy.purpose],
        request=body,
    )(handler)


for _method in ("get", "post", "put", "patch", "delete"):
    setattr(KeyProxy, _method, _serve(_method))


class Introspect(PortalView):
    """Whether a credential presented to the asking service is a live key of its tenant (RFC 7662)."""

    @describe("introspect", request=bodies.IntrospectBody, answer=bodies.IntrospectedBody, problems=USES)
    def post(self, request: Request) -> Response:
        plaintext = Secret(parse(bodies.IntrospectBody, request)["token"])
        found = introspection.introspect(actor=self.actor, plaintext=plaintext)
        if not found.active or found.key is None or found.version is None:
            return _no_store(Response(use_answers.introspected()))
        ends = [end for end in (found.version.expires_at, end_of(found.key.ends_on)) if end]
        body = use_answers.introspected(
            key_id=found.key.id, scopes=found.key.scopes, environment=found.key.environment, ends_at=min(ends)
        )
        return _no_store(Response(body))


def used(answer: uses.Answer) -> dict[str, Any]:
    """The body of an allowed use."""
    return use_answers.allowed(
        answer.decision,
        audit_id=answer.audit_id,
        key_id=answer.key_id,
        plaintext=answer.plaintext,
        lease_expires_at=answer.lease_expires_at,
    )


def denial(request: Request, answer: uses.Answer) -> Response:
    """The problem of a denied use, with its receipt."""
    instance = request.META.get("byok.request_id", "")
    body = use_answers.denied(answer.decision, audit_id=answer.audit_id, instance=instance)
    response = Response(body, status=answer.decision.status, content_type=problems.CONTENT_TYPE)
    response["Audit-Id"] = str(answer.audit_id)
    for name, value in use_answers.denial_headers(answer.decision):
        response[name] = value
    return _no_store(response)


def _no_store(response: _Response) -> _Response:
    response["Cache-Control"] = "no-store"
    return response
