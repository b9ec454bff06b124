"""The API door of tenants and consumers: parse, call, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.response import Response

from byok_portal.boundary.api import PortalView, paginate
from byok_portal.boundary.changing import parse
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, PAGING, WRITES, describe, page_of
from tenants import selectors
from tenants.api import serializers as bodies
from tenants.services import consumers

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request


class Tenants(PortalView):
    """The tenants that this token opens: exactly one."""

    reads = Permission.TENANT_READ

    @describe("tenants_list", answer=bodies.TenantBody(many=True))
    def get(self, request: Request) -> Response:
        return Response([bodies.TenantBody(selectors.get_tenant()).data])


class TenantDetail(PortalView):
    """One tenant."""

    reads = Permission.TENANT_READ

    @describe("tenant", answer=bodies.TenantBody)
    def get(self, request: Request, tenant: str) -> Response:
        return Response(bodies.TenantBody(selectors.get_tenant()).data)


class Consumers(PortalView):
    """Consumers of the tenant."""

    reads = Permission.CONSUMER_READ

    @describe("consumers_list", answer=page_of(bodies.ConsumerBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        return paginate(self, selectors.list_consumers(), bodies.ConsumerBody)

    @describe(
        "consumer_register",
        request=bodies.RegisterConsumerBody,
        answer=bodies.ConsumerBody,
        status=201,
        problems=WRITES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str) -> Response:
        def register() -> Response:
            made = consumers.register(actor=self.actor, **parse(bodies.RegisterConsumerBody, request))
            return Response(bodies.ConsumerBody(made).data, status=201)

        return self.once(register)


class ConsumerDetail(PortalView):
    """One consumer, by id or slug."""

    reads = Permission.CONSUMER_READ

    @describe("consumer", answer=bodies.ConsumerBody)
    def get(self, request: Request, tenant: str, consumer: str) -> Response:
        return Response(bodies.ConsumerBody(selectors.get_consumer(consumer)).data)


class ConsumerTokens(PortalView):
    """Tokens of a consumer. A new one is shown in its answer and never again."""

    reads = Permission.CONSUMER_READ
    stores_answer = False

    @describe("tokens_list", answer=page_of(bodies.TokenBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str, consumer: str) -> Response:
        return paginate(self, selectors.list_tokens(selectors.get_consumer(consumer).id), bodies.TokenBody)

    @describe(
        "token_issue",
        request=bodies.IssueTokenBody,
        answer=bodies.IssuedTokenBody,
        status=201,
        problems=WRITES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str, consumer: str) -> Response:
        def issue() -> Response:
            wanted = parse(bodies.IssueTokenBody, request)
            token, issued = consumers.issue_token(
                actor=self.actor, consumer_id=self.read(selectors.get_consumer, consumer).id, **wanted
            )
            data = {**bodies.TokenBody(token).data, "token": issued.plaintext.reveal_text()}
            return Response(data, status=201)

        return self.once(issue)


class ConsumerTokenRevoke(PortalView):
    """Revoke one token at once."""

    @describe("token_revoke", answer=bodies.TokenBody, problems=WRITES)
    def post(self, request: Request, tenant: str, consumer: str, token: UUID) -> Response:
        owner = self.read(selectors.get_consumer, consumer)
        revoked = consumers.revoke_token(actor=self.actor, consumer_id=owner.id, token_id=token)
        return Response(bodies.TokenBody(revoked).data)
