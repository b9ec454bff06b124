"""The demo world of the quick start: two tenants, real OpenBao credentials, uses allowed and denied.

Everything is made through the operations that the doors call. Its passwords and tokens are kept in a private file,
because the portal itself shows them once and forgets them. Never for production.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.utils import timezone

from byok_portal import environment
from byok_portal.boundary import actors, binding
from byok_portal.boundary.actors import Actor, Origin
from byok_portal.boundary.identifiers import PLATFORM, new_id
from byok_portal.boundary.permissions import Permission, Role
from byok_portal.boundary.secrets import Secret
from byok_portal.quickstart import state
from byok_portal.quickstart.openbao import BaoServer
from keys import selectors
from keys.services import catalogue, drills, grants, lifecycle, policies, registration, uses
from keys.services.drafts import KeyDraft
from tenants.models import User
from tenants.services import consumers, members, tenants

if TYPE_CHECKING:
    from pathlib import Path

    from byok_portal.quickstart.openbao_admin import BaoAdmin
    from keys.models import Key
    from tenants.models import Tenant

_PLACE: Final = Origin(address="127.0.0.1", user_agent="demo")
POLICIES: Final = {
    "reports-read": 'path "secret/data/reports/*" { capabilities = ["read"] }\n',
    # A canary reads what the reports do, and may have its successor made: for drills of rotation too.
    "canary": (
        'path "secret/data/reports/*" { capabilities = ["read"] }\n'
        'path "auth/token/create-orphan" { capabilities = ["update"] }\n'
    ),
    "billing-write": (
        'path "secret/data/billing/*" { capabilities = ["create", "read", "update"] }\n'
        'path "secret/metadata/billing/*" { capabilities = ["list", "read"] }\n'
        # So that the portal can rotate it without anybody's help.
        'path "auth/token/create-orphan" { capabilities = ["update"] }\n'
    ),
}


PLATFORM_RULES: Final[dict[str, Any]] = {
    "max_lifetime_days": 365,
    "rotation_days": 180,
    "max_drain_hours": 7 * 24,
    "proof_days": 90,
    "recertify_days": 180,
    "reminder_days": [30, 14, 7, 1],
    "overdue": "block_grants",
}
"""A floor that a careful platform would set: rotate and confirm twice a year, a week of overlap at most."""


@dataclass(frozen=True, slots=True)
class _Tenant:
    tenant: Tenant
    owner: Actor
    people: list[User]
    password: str


def upstream() -> BaoServer:
    """The OpenBao that the demo tenant brings keys for. It stands for the customer's own server."""
    return BaoServer(state.state_folder("openbao"))


def path() -> Path:
    """Where the demo's logins and tokens are kept."""
    return state.state_folder("portal") / f"demo-{environment.DATABASE}.json"


def ensure() -> dict[str, Any]:
    """The demo world, made on first call. Returns what `manage.py demo --json` prints."""
    server = upstream()
    server.start()
    if not path().exists():
        document = _build(server)
        state.write_private(path(), json.dumps(document, indent=1))
    document = dict(json.loads(path().read_text(encoding="utf-8")))
    return {
        **document,
        "base_url": settings.BASE_URL,
        "upstream": {**document["upstream"], "openbao_addr": server.address},
    }


def _build(server: BaoServer) -> dict[str, Any]:
    bao = server.admin()
    _prepare_upstream(bao)
    password = secrets.token_urlsafe(12)
    staff = User.objects.db_manager("owner").create_superuser("staff@platform.example", password)
    staff_actor = actors.staff(staff.pk, label=staff.email, origin=_PLACE)
    _allow_private(staff_actor)
    with binding.bind_tenant(PLATFORM):
        policies.set_platform(actor=staff_actor, rules=PLATFORM_RULES, note="Demo")
    acme, globex = _tenant(staff_actor, "Acme", "acme"), _tenant(staff_actor, "Globex", "globex")
    tokens = {name: _upstream_token(bao, name) for name in ("acme-reports", "acme-billing", "globex-reports")}
    acme_keys = [
        _key(acme, server, "Quarterly reports", tokens["acme-reports"], ("secrets:read",), "reports/"),
        _key(
            acme,
            server,
            "Billing export",
            tokens["acme-billing"],
            ("secrets:read", "secrets:write"),
            "billing/",
        ),
    ]
    globex_keys = [_key(globex, server, "Market data", tokens["globex-reports"], ("secrets:read",), "reports/")]
    _canary(acme, server, bao)
    issued = [
        _consumer(staff_actor, acme, "report-service", acme_keys[0]),
        _consumer(staff_actor, globex, "market-service", globex_keys[0]),
    ]
    return {
        "base_url": settings.BASE_URL,
        "tenants": [_tenant_document(acme, acme_keys), _tenant_document(globex, globex_keys)],
        "consumers": issued,
        "staff": {"email": staff.email, "password": password},
        "upstream": {
            "openbao_addr": server.address,
            "mount": "secret",
            "prefix": "reports/",
            "example_path": "/v1/secret/data/reports/q3",
            # For a newcomer to register, to rotate to, and to see refused: the third is another account's.
            "fresh_token": _upstream_token(bao, "acme-newcomer"),
            "successor_token": bao.log_in("acme-newcomer", password=_UPSTREAM_PASSWORD).token,
            "other_account_token": _upstream_token(bao, "somebody-else"),
        },
    }


_UPSTREAM_PASSWORD: Final = secrets.token_urlsafe(24)


def _prepare_upstream(bao: BaoAdmin) -> None:
    bao.enable_userpass()
    bao.enable_kv()
    for name, rules in POLICIES.items():
        bao.write_policy(name, rules)
    bao.put_secret("reports/q3", {"revenue": "4.2M", "status": "draft"})
    bao.put_secret("billing/july", {"invoices": "118"})
    bao.put_secret("payroll/july", {"note": "no demo key may read this"})


def _upstream_token(bao: BaoAdmin, user: str) -> str:
    if "billing" in user:
        return bao.create_orphan(policies=["billing-write"], name=user, ttl="720h").token
    bao.create_user(user, password=_UPSTREAM_PASSWORD, policies=["reports-read"])
    return str(bao.log_in(user, password=_UPSTREAM_PASSWORD).token)


def _allow_private(staff: Actor) -> None:
    """The demo's OpenBao is on this machine; real ones are refused private addresses unless staff allow them."""
    with binding.use_alias(binding.STAFF):
        provider = selectors.get_provider("openbao")
    with binding.bind_tenant(PLATFORM):
        catalogue.edit_provider(actor=staff, provider_id=provider.id, is_enabled=True, allow_private_networks=True)


def _tenant(staff: Actor, name: str, slug: str) -> _Tenant:
    password = secrets.token_urlsafe(12)
    ends = timezone.now().date() + timedelta(days=365)
    with binding.bind_tenant(new_id()):
        tenant, invitation = tenants.open_tenant(
            actor=staff, name=name, slug=slug, contract_ends_on=ends, owner_email=f"owner@{slug}.example"
        )
        owner = _accept(tenant, invitation, password, "Tenant owner")
        actor = actors.person(owner.pk, tenant_id=tenant.id, role=Role.OWNER, label=owner.email, origin=_PLACE)
        second = members.invite(actor=actor, email=f"backup@{slug}.example", role=Role.OWNER.value)
        backup = _accept(tenant, second, password, "Backup owner")
        third = members.invite(actor=actor, email=f"auditor@{slug}.example", role=Role.AUDITOR.value)
        _accept(tenant, third, password, "Auditor")
    return _Tenant(tenant, actor, [owner, backup], password)


def _accept(tenant: Tenant, issued: members.IssuedInvitation, password: str, name: str) -> User:
    actor = actors.invitee(issued.invitation.user_id, tenant_id=tenant.id, label=name, origin=_PLACE)
    return members.accept(actor=actor, plaintext=issued.plaintext, password=Secret(password), name=name)


def _key(place: _Tenant, server: BaoServer, name: str, token: str, scopes: tuple[str, ...], prefix: str) -> Key:
    draft = KeyDraft(
        provider="openbao",
        name=name,
        environment="production",
        custody="sealed",
        purpose=f"{name} for the nightly jobs",
        owner=str(place.people[0].pk),
        backup_owner=str(place.people[1].pk),
        ends_on=timezone.now().date() + timedelta(days=120),
        scopes=scopes,
        endpoint=server.address,
        parameters={"mount": "secret", "prefix": prefix},
    )
    with binding.bind_tenant(place.tenant.id):
        made = registration.register(actor=place.owner, draft=draft, plaintext=Secret(token))
        return lifecycle.activate(
            actor=place.owner,
            key_id=made.key.id,
            accept_excess=bool(made.proof.excess),
            note="Accepted for the demo",
        )


def _canary(place: _Tenant, server: BaoServer, bao: BaoAdmin) -> None:
    """A key that nobody uses, to rehearse on: one drill of offboarding a month."""
    token = bao.create_orphan(policies=["canary"], name="acme-canary", ttl="720h").token
    key = _key(place, server, "Canary", token, ("secrets:read",), "reports/")
    first = timezone.now().date() + timedelta(days=7)
    with binding.bind_tenant(place.tenant.id):
        drills.set_canary(actor=place.owner, key_id=key.id, is_canary=True)
        drills.schedule(actor=place.owner, kind="offboarding", every="monthly", first_on=first)


def _consumer(staff: Actor, place: _Tenant, name: str, key: Key) -> dict[str, str]:
    with binding.bind_tenant(place.tenant.id):
        consumer = consumers.register(
            actor=staff, name=name, kind="service", environment="production", operated_by="platform"
        )
        token, issued = consumers.issue_token(actor=staff, consumer_id=consumer.id, days=180)
        draft = grants.GrantDraft(
            consumer=consumer.slug,
            scopes=("secrets:read",),
            deliveries=("decision", "broker"),
            days=30,
            reason="Nightly reports",
            networks=("127.0.0.0/8", "::1/128"),
        )
        grants.create(actor=place.owner, key_id=key.id, draft=draft)
        actor = actors.consumer(
            consumer.id,
            tenant_id=place.tenant.id,
            scopes=frozenset({Permission.KEY_USE}),
            label=consumer.slug,
            origin=_PLACE,
        )
        for scope in (*["secrets:read"] * 12, "secrets:write"):
            uses.use(actor=actor, token_id=token.id, key_reference=key.slug, scope=scope, purpose="nightly report")
    return {"name": name, "tenant": place.tenant.slug, "token": issued.plaintext.reveal_text()}


def _tenant_document(place: _Tenant, keys: list[Key]) -> dict[str, Any]:
    return {
        "slug": place.tenant.slug,
        "owner": {"email": place.people[0].email, "password": place.password},
        "keys": [key.slug for key in keys],
    }
