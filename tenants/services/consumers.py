"""Registering consumers, issuing and revoking their tokens, ending them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary.actors import ActorKind
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import TOKEN_PERMISSIONS, Permission
from byok_portal.errors import Conflict, Forbidden, InvalidInput, NotFound
from tenants import rules, tokens
from tenants.models import Consumer, ConsumerKind, ConsumerToken
from tenants.services.projects import find_project, leave_running
from tenants.services.tenants import require_active

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from byok_portal.boundary.actors import Actor

MAX_TOKEN_DAYS: Final = 366
MAX_LIVE_TOKENS: Final = 2
"""One in use and one to move to: enough for a rotation with overlap, too few to share around."""


@operation(
    "consumer.register",
    permission=Permission.CONSUMER_REGISTER,
    events=("consumer.registered",),
    page="tenants:consumer-register",
    api="api:consumers",
)
def register(
    *,
    actor: Actor,
    name: str,
    kind: str,
    environment: str,
    operated_by: str = "tenant",
    contact: str = "",
    project: str = "",
) -> Consumer:
    """Register a workload of the bound tenant. Raises InvalidInput naming the field; a taken name is one."""
    require_active()
    title = rules.require_text(name, field="name", maximum=120)
    consumer = Consumer(
        name=title,
        slug=rules.slug_from(title),
        kind=rules.require_choice(kind, ConsumerKind.values, field="kind"),
        environment=rules.require_environment(environment),
        operated_by=rules.require_choice(operated_by, ["platform", "tenant"], field="operated_by"),
        contact=rules.require_email(contact, field="contact") if contact else "",
        project=find_project(project),
    )
    if Consumer.objects.filter(slug=consumer.slug).exists():
        raise InvalidInput("Name is taken by another consumer.", code="name_taken", field="name")
    consumer.save(force_insert=True)
    append(
        actor=actor,
        action="consumer.registered",
        target=Target("consumer", consumer.id),
        detail={
            "slug": consumer.slug,
            "kind": consumer.kind,
            "environment": consumer.environment,
            "project": str(consumer.project_id or ""),
        },
    )
    return consumer


@operation(
    "consumer.issue_token",
    permission=Permission.CONSUMER_TOKEN,
    events=("consumer.token_issued",),
    page="tenants:token-issue",
    api="api:consumer-tokens",
)
def issue_token(
    *, actor: Actor, consumer_id: UUID, days: int, scopes: Iterable[str] = (Permission.KEY_USE.value,)
) -> tuple[ConsumerToken, tokens.IssuedToken]:
    """Issue a bearer token; the plaintext is in the result and nowhere else.

    A consumer that issues tokens cannot give more scopes than it has. Raises InvalidInput, Conflict, Forbidden.
    """
    require_active()
    consumer = _lock_active(consumer_id)
    leave_running(consumer.project_id)
    if actor.kind is ActorKind.CONSUMER and actor.id != consumer.id:
        # Another consumer's token would carry the caller past its own grants.
        raise Forbidden("A consumer issues tokens for itself only, to rotate its own.")
    wanted = _check_scopes(actor, scopes)
    now = timezone.now()
    live = ConsumerToken.objects.filter(consumer_id=consumer.id, revoked_at=None, expires_at__gt=now).count()
    if live >= MAX_LIVE_TOKENS:
        message = f"This consumer has {live} live tokens. Revoke one first."
        raise Conflict(message, code="too_many_tokens")
    expires_at = now + timedelta(days=rules.require_number(days, field="days", minimum=1, maximum=MAX_TOKEN_DAYS))
    issued = tokens.issue()
    token = ConsumerToken.objects.create(
        consumer=consumer,
        digest=issued.digest,
        prefix=issued.prefix,
        last_four=issued.last_four,
        scopes=wanted,
        expires_at=expires_at,
    )
    append(
        actor=actor,
        action="consumer.token_issued",
        target=Target("consumer", consumer.id),
        detail={"token": str(token.id), "scopes": wanted, "expires_at": token.expires_at.isoformat()},
    )
    return token, issued


@operation(
    "consumer.revoke_token",
    permission=Permission.CONSUMER_TOKEN,
    events=("consumer.token_revoked",),
    page="tenants:token-revoke",
    api="api:consumer-token-revoke",
)
def revoke_token(*, actor: Actor, consumer_id: UUID, token_id: UUID) -> ConsumerToken:
    """Revoke one token at once. Raises Conflict when it is revoked already."""
    token = ConsumerToken.objects.lock().filter(id=token_id, consumer_id=consumer_id).first()
    if token is None:
        raise NotFound
    if token.revoked_at is not None:
        raise Conflict("The token is revoked already.", code="token_revoked")
    token.revoked_at = timezone.now()
    token.save(update_fields=["revoked_at"])
    append(
        actor=actor,
        action="consumer.token_revoked",
        target=Target("consumer", token.consumer_id),
        detail={"token": str(token.id)},
    )
    return token


def end_access(consumer: Consumer) -> int:
    """Mark the consumer ended and revoke its tokens; part of operations that append the event. Returns the count."""
    now = timezone.now()
    consumer.state, consumer.ended_at = Consumer.State.ENDED, now
    consumer.save(update_fields=["state", "ended_at"])
    return int(ConsumerToken.objects.filter(consumer_id=consumer.id, revoked_at=None).update(revoked_at=now))


def _lock_active(consumer_id: UUID) -> Consumer:
    consumer = Consumer.objects.lock().filter(id=consumer_id).first()
    if consumer is None:
        raise NotFound
    if consumer.state != Consumer.State.ACTIVE:
        raise Conflict("The consumer has ended.", code="consumer_ended")
    return consumer


def _check_scopes(actor: Actor, scopes: Iterable[str]) -> list[str]:
    wanted = sorted(set(scopes))
    known = {permission.value for permission in TOKEN_PERMISSIONS}
    if not wanted:
        raise InvalidInput("Scopes: choose at least one.", code="required", field="scopes")
    for scope in wanted:
        if scope not in known:
            raise InvalidInput(
                f"Scopes: {scope[:60]!r} is not a scope of the API.", code="unknown_scope", field="scopes"
            )
    held = {permission.value for permission in actor.permissions}
    if actor.kind is ActorKind.CONSUMER and not held.issuperset(wanted):
        raise Forbidden("A token cannot give more scopes than its own.")
    return wanted
