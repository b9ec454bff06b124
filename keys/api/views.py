"""The API door of keys, their versions, proofs and grants: parse, call, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.response import Response

from byok_portal.boundary.api import PortalView, paginate
from byok_portal.boundary.changing import ChangeView, parse, view_of
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.schema_api import IDEMPOTENCY, PAGING, WRITES, describe, page_of
from byok_portal.boundary.secrets import Secret
from byok_portal.errors import NotFound
from keys import selectors
from keys.api import serializers as bodies
from keys.api.offboardings import RunDetailBody, run_answer
from keys.services import grants, leaving, lifecycle, ownership, registration, rotation
from keys.services.drafts import KeyDraft
from tenants import selectors as tenants
from tenants.api.serializers import ConsumerBody, EndConsumerBody, ReasonBody

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request

PROBES = (*WRITES, 502)


class Providers(PortalView):
    """The provider catalogue."""

    reads = Permission.PROVIDER_READ

    @describe("providers_list", answer=bodies.ProviderBody(many=True))
    def get(self, request: Request) -> Response:
        return Response(bodies.ProviderBody(selectors.list_providers(), many=True).data)


class ProviderDetail(PortalView):
    """One provider with its scopes, presets and call patterns."""

    reads = Permission.PROVIDER_READ

    @describe("provider", answer=bodies.ProviderDetailBody)
    def get(self, request: Request, provider: str) -> Response:
        return Response(bodies.ProviderDetailBody(selectors.get_provider(provider)).data)


class Keys(PortalView):
    """Keys of the tenant."""

    reads = Permission.KEY_READ
    may_lag = True

    @describe("keys_list", answer=page_of(bodies.KeyBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str) -> Response:
        return paginate(self, selectors.list_keys(), bodies.KeyBody)

    @describe(
        "key_register",
        request=bodies.RegisterKeyBody,
        answer=bodies.RegisteredBody,
        status=201,
        problems=PROBES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str) -> Response:
        return self.once(lambda: self._register(request))

    def _register(self, request: Request) -> Response:
        values = parse(bodies.RegisterKeyBody, request)
        plaintext = Secret(values.pop("secret"))
        draft = KeyDraft(**{**values, "scopes": tuple(values["scopes"])})
        made = registration.register(actor=self.actor, draft=draft, plaintext=plaintext)
        return Response(bodies.RegisteredBody(made).data, status=201)


class KeyDetail(PortalView):
    """One key, by id or slug."""

    reads = Permission.KEY_READ

    @describe("key", answer=bodies.KeyBody)
    def get(self, request: Request, tenant: str, key: str) -> Response:
        return Response(bodies.KeyBody(selectors.get_key(key)).data)


class KeyProof(PortalView):
    """The newest proof of control; POST probes again."""

    reads = Permission.KEY_READ

    @describe("proof", answer=bodies.ProofBody)
    def get(self, request: Request, tenant: str, key: str) -> Response:
        proof = selectors.find_proof(selectors.get_key(key).id)
        if proof is None:
            raise NotFound
        return Response(bodies.ProofBody(proof).data)

    @describe("key_prove", answer=bodies.ProofBody, status=201, problems=PROBES)
    def post(self, request: Request, tenant: str, key: str) -> Response:
        found = self.read(selectors.get_key, key)
        return Response(bodies.ProofBody(registration.prove(actor=self.actor, key_id=found.id)).data, status=201)


class KeyVersions(PortalView):
    """Versions of a key; POST rotates."""

    reads = Permission.KEY_READ

    @describe("versions_list", answer=bodies.VersionBody(many=True))
    def get(self, request: Request, tenant: str, key: str) -> Response:
        return Response(bodies.VersionBody(selectors.list_versions(selectors.get_key(key).id), many=True).data)

    @describe(
        "key_rotate",
        request=bodies.RotateBody,
        answer=bodies.VersionBody,
        status=201,
        problems=PROBES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str, key: str) -> Response:
        def rotate() -> Response:
            values = parse(bodies.RotateBody, request)
            plaintext, found = Secret(values.pop("secret")), self.read(selectors.get_key, key)
            version = rotation.rotate(actor=self.actor, key_id=found.id, plaintext=plaintext, **values)
            return Response(bodies.VersionBody(version).data, status=201)

        return self.once(rotate)


class KeyChange(ChangeView):
    """Base of the one-word changes of a key."""

    answers = bodies.KeyBody

    def find(self, **where: Any) -> dict[str, Any]:
        return {"key_id": selectors.get_key(where["key"]).id}


KeyActivate = view_of(KeyChange, "key_activate", lifecycle.activate, bodies.ActivateBody)
KeySuspend = view_of(KeyChange, "key_suspend", lifecycle.suspend, bodies.NoteBody)
KeyResume = view_of(KeyChange, "key_resume", lifecycle.resume, bodies.NoteBody)
KeyRevoke = view_of(KeyChange, "key_revoke", lifecycle.revoke, ReasonBody)
KeyHandOver = view_of(KeyChange, "key_hand_over", ownership.hand_over, bodies.HandOverBody)


class KeyWithdraw(PortalView):
    """Take back a key that was never activated."""

    @describe("key_withdraw", answer=bodies.KeyBody, problems=WRITES)
    def post(self, request: Request, tenant: str, key: str) -> Response:
        found = self.read(selectors.get_key, key)
        return Response(bodies.KeyBody(registration.withdraw(actor=self.actor, key_id=found.id)).data)


class Grants(PortalView):
    """Grants on a key."""

    reads = Permission.GRANT_READ

    @describe("grants_list", answer=page_of(bodies.GrantBody), problems=(422,), parameters=PAGING)
    def get(self, request: Request, tenant: str, key: str) -> Response:
        return paginate(self, selectors.list_grants(selectors.get_key(key).id), bodies.GrantBody)

    @describe(
        "grant_create",
        request=bodies.CreateGrantBody,
        answer=bodies.GrantBody,
        status=201,
        problems=WRITES,
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, tenant: str, key: str) -> Response:
        def create() -> Response:
            values = parse(bodies.CreateGrantBody, request)
            plain: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
            }
            found = self.read(selectors.get_key, key)
            made = grants.create(actor=self.actor, key_id=found.id, draft=grants.GrantDraft(**plain))
            return Response(bodies.GrantBody(made).data, status=201)

        return self.once(create)


class GrantEnd(PortalView):
    """End a grant at once."""

    @describe("grant_end", request=ReasonBody, answer=bodies.GrantBody, problems=WRITES)
    def post(self, request: Request, tenant: str, key: str, grant: UUID) -> Response:
        reason = parse(ReasonBody, request)["reason"]
        found = self.read(selectors.get_key, key)
        ended = grants.end(actor=self.actor, key_id=found.id, grant_id=grant, reason=reason)
        return Response(bodies.GrantBody(ended).data)


class ConsumerEnd(PortalView):
    """End a consumer: its tokens and all its grants."""

    @describe("consumer_end", request=EndConsumerBody, answer=ConsumerBody, problems=WRITES)
    def post(self, request: Request, tenant: str, consumer: str) -> Response:
        values = parse(EndConsumerBody, request)
        found = self.read(tenants.get_consumer, consumer)
        return Response(ConsumerBody(leaving.end_consumer(actor=self.actor, consumer_id=found.id, **values)).data)


class OffboardingDetail(PortalView):
    """The offboarding of the tenant itself: its steps, times and what could not be done upstream."""

    reads = Permission.TENANT_READ

    @describe("offboarding", answer=RunDetailBody)
    def get(self, request: Request, tenant: str) -> Response:
        found = tenants.find_offboarding()
        if found is None:
            raise NotFound
        return Response(run_answer(found))
