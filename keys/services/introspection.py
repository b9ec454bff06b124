"""Tells a service whether a credential presented to it is a live key of the tenant (RFC 7662 shape)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils import timezone

from audit.models import Outcome
from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission
from keys import rulebook
from keys.liveness import CredentialFacts, is_live
from keys.models import Key, KeyVersion
from keys.selectors import end_of
from keys.services import custody
from tenants import selectors as tenants
from tenants.services.tenants import is_over

if TYPE_CHECKING:
    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.secrets import Secret


@dataclass(frozen=True, slots=True)
class Introspection:
    """`active` alone when the credential is not a live key: nothing tells an unknown one from a dead one."""

    active: bool
    key: Key | None = None
    version: KeyVersion | None = None


@operation(
    "credential.introspect",
    permission=Permission.CREDENTIAL_INTROSPECT,
    events=("credential.introspected",),
    page=Absent("services ask, not people"),
    api="api:introspect",
)
def introspect(*, actor: Actor, plaintext: Secret) -> Introspection:
    """Look the credential up by its keyed fingerprint; its text is neither stored nor logged."""
    version = _find(plaintext)
    active = version is not None and _is_live(version)
    target = Target("key", version.key_id) if version else Target("tenant", binding.get_tenant())
    append(
        actor=actor,
        action="credential.introspected",
        target=target,
        outcome=Outcome.ALLOWED if active else Outcome.DENIED,
        detail={"active": active, "version": version.number if version else 0},
    )
    return (
        Introspection(active=True, key=version.key, version=version)
        if active and version
        else Introspection(active=False)
    )


def _find(plaintext: Secret) -> KeyVersion | None:
    providers = Key.objects.values_list("provider__slug", flat=True).distinct()
    digests = [custody.fingerprints(plaintext, provider=slug)[0] for slug in providers]
    matching = Q(fingerprint__in=digests)
    return (
        KeyVersion.objects.filter(matching).select_related("key__provider", "key__project").order_by("-number").first()
    )


def _is_live(version: KeyVersion) -> bool:
    now, tenant, project = timezone.now(), tenants.get_tenant(), version.key.project
    today = now.astimezone(UTC).date()
    facts = CredentialFacts(
        tenant_state=tenant.state,
        tenant_is_over=is_over(tenant, tenant.contract_ends_on, today),
        project_state=project.state if project is not None else None,
        project_is_over=project is not None and is_over(tenant, project.ends_on, today),
        key_state=version.key.state,
        suspends_at=rulebook.suspends_at(version.key),
        key_ends_at=end_of(version.key.ends_on),
        version_state=version.state,
        expires_at=version.expires_at,
        drain_until=version.drain_until,
        dark_from=version.dark_from,
        dark_until=version.dark_until,
    )
    return is_live(facts, now)
