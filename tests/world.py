"""The cast: tenants with their people, consumers and keys, made through the operations that the doors call."""

from __future__ import annotations

import functools
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from byok_portal.boundary.actors import Actor, Origin
from byok_portal.boundary.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from byok_portal.quickstart.openbao import BaoServer
    from byok_portal.quickstart.openbao_admin import BaoAdmin, BaoToken
    from keys.models import Grant, Key
    from tenants.models import Consumer, Tenant, User

PASSWORD = "correct horse battery staple 42"
READER_POLICY = """
path "secret/data/reports/*" { capabilities = ["read"] }
path "secret/metadata/reports/*" { capabilities = ["read", "list"] }
"""
ROBOT_POLICY = 'path "auth/token/create-orphan" { capabilities = ["update"] }'


@functools.cache
def slow_hash() -> str:
    """The cast's password as real processes want it hashed; once per process, it takes half a second."""
    from django.contrib.auth.hashers import make_password  # noqa: PLC0415  # settings must be ready

    return make_password(PASSWORD, hasher="pbkdf2_sha256")


@dataclass(frozen=True, slots=True)
class Cast:
    """One tenant with an owner, a backup owner and an auditor."""

    tenant: Tenant
    owner: User
    backup: User
    auditor: User
    actor: Actor

    @property
    def id(self) -> UUID:
        return self.tenant.id

    @property
    def slug(self) -> str:
        return self.tenant.slug


@dataclass(frozen=True, slots=True)
class Credential:
    """A consumer with its bearer token in clear."""

    consumer: Consumer
    token_id: UUID
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class World:
    """Makes what a test needs; every name is new, so tests never meet."""

    def name(self, word: str) -> str:
        return f"{word}-{secrets.token_hex(4)}"

    @cached_property
    def bao_server(self) -> BaoServer:
        """A real OpenBao in memory, started once per process."""
        import atexit  # noqa: PLC0415  # only when an upstream is needed

        from byok_portal.quickstart.openbao import BaoServer  # noqa: PLC0415
        from keys.models import Provider  # noqa: PLC0415

        server = BaoServer(Path(mkdtemp(prefix="byok-bao-")), inmem=True)
        server.start()
        atexit.register(server.stop)
        admin = server.admin()
        admin.enable_kv()
        admin.enable_userpass()
        # Bound to an entity as a log-in is, without its password hashing: keys are made by the thousand.
        admin.write_token_role("person", allowed_entity_aliases="*", allowed_policies_glob="*", orphan=True)
        admin.write_policy("report-reader", READER_POLICY)
        admin.put_secret("reports/q3", {"total": "42"})
        Provider.objects.using("owner").filter(slug="openbao").update(allow_private_networks=True)
        return server

    @cached_property
    def bao(self) -> BaoAdmin:
        """Its administrator."""
        return self.bao_server.admin()

    @contextmanager
    def inside(self, cast: Cast) -> Iterator[None]:
        """Bound to the tenant as a door would bind it, in a read transaction."""
        from byok_portal.boundary import binding  # noqa: PLC0415

        with binding.bind_tenant(cast.id), binding.reading():
            yield

    @contextmanager
    def bound(self, cast: Cast) -> Iterator[None]:
        """Bound without a transaction: operations open their own."""
        from byok_portal.boundary import binding  # noqa: PLC0415

        with binding.bind_tenant(cast.id):
            yield

    def staff(self) -> User:
        """A platform staff member, who can sign in to real processes too."""
        from tenants.models import User  # noqa: PLC0415

        user = User.objects.db_manager("owner").create_superuser(f"{self.name('staff')}@platform.example", PASSWORD)
        user.password = slow_hash()
        user.save(update_fields=["password"])
        return user

    def staff_actor(self) -> Actor:
        """A staff actor, as the admin door would build it."""
        from byok_portal.boundary import actors  # noqa: PLC0415

        user = self.staff()
        return actors.staff(user.pk, label=user.email, origin=Origin(address="127.0.0.1"))

    def tenant(self, word: str = "acme") -> Cast:
        """An active tenant with its people, opened and accepted through operations."""
        from byok_portal.boundary import actors, binding  # noqa: PLC0415
        from byok_portal.boundary.identifiers import new_id  # noqa: PLC0415
        from byok_portal.boundary.permissions import Role  # noqa: PLC0415
        from tenants.services import members, tenants  # noqa: PLC0415

        slug, staff = self.name(word), self.staff_actor()
        people = {}
        with binding.bind_tenant(new_id()):
            tenant, invitation = tenants.open_tenant(
                actor=staff,
                name=slug.title(),
                slug=slug,
                contract_ends_on=None,
                owner_email=f"owner@{slug}.example",
            )
            owner = people["owner"] = self._accept(tenant, invitation)
            actor = actors.person(
                owner.pk, tenant_id=tenant.id, role=Role.OWNER, label=owner.email, origin=Origin(address="127.0.0.1")
            )
            for name, role in (("backup", Role.OWNER), ("auditor", Role.AUDITOR)):
                invited = members.invite(actor=actor, email=f"{name}@{slug}.example", role=role.value)
                people[name] = self._accept(tenant, invited)
            with binding.reading():
                tenant.refresh_from_db()
        return Cast(tenant, owner, people["backup"], people["auditor"], actor)

    def _accept(self, tenant: Tenant, issued: Any) -> User:
        from byok_portal.boundary import actors  # noqa: PLC0415
        from tenants.services import members  # noqa: PLC0415

        actor = actors.invitee(issued.invitation.user_id, tenant_id=tenant.id, label="", origin=Origin())
        return members.accept(actor=actor, plaintext=issued.plaintext, password=Secret(PASSWORD), name="")

    def actor(self, cast: Cast, user: User, role: str) -> Actor:
        """A member as an actor of that role."""
        from byok_portal.boundary import actors  # noqa: PLC0415
        from byok_portal.boundary.permissions import Role  # noqa: PLC0415

        return actors.person(user.pk, tenant_id=cast.id, role=Role(role), label=user.email, origin=Origin("127.0.0.1"))

    def consumer(
        self, cast: Cast, *, environment: str = "production", scopes: tuple[str, ...] = ("key:use",)
    ) -> Credential:
        """A consumer with a live token."""
        from tenants.services import consumers  # noqa: PLC0415

        with self.bound(cast):
            consumer = consumers.register(
                actor=cast.actor, name=self.name("report-service"), kind="service", environment=environment
            )
            token, issued = consumers.issue_token(actor=cast.actor, consumer_id=consumer.id, days=30, scopes=scopes)
        return Credential(consumer, token.id, issued.plaintext.reveal_text())

    def bao_token(self, user: str | None = None, *, policies: tuple[str, ...] = ("report-reader",)) -> BaoToken:
        """A fresh real token of an OpenBao user (made if new): tokens of one user share the upstream account."""
        return self.bao.create_by_role("person", entity_alias=user or self.name("user"), policies=list(policies))

    def bao_login(self, *, policies: tuple[str, ...] = ("report-reader",)) -> BaoToken:
        """A token as people get one who log in."""
        name = self.name("user")
        self.bao.create_user(name, password=PASSWORD, policies=policies)
        return self.bao.log_in(name, password=PASSWORD)

    def bao_robot(
        self, name: str | None = None, *, policies: tuple[str, ...] = ("report-robot",), **more: Any
    ) -> BaoToken:
        """A fresh orphan token without a login, which may have its own successor made."""
        self.bao.write_policy("report-robot", READER_POLICY + ROBOT_POLICY)
        return self.bao.create_orphan(policies=policies, name=name or self.name("robot"), **{"ttl": "2h", **more})

    def draft(self, cast: Cast, **changes: Any) -> Any:
        """A valid registration of an OpenBao key."""
        from django.utils import timezone  # noqa: PLC0415

        from keys.services.drafts import KeyDraft  # noqa: PLC0415

        values: dict[str, Any] = {
            "provider": "openbao",
            "name": self.name("reports"),
            "environment": "production",
            "custody": "sealed",
            "purpose": "Nightly report",
            "owner": str(cast.owner.pk),
            "backup_owner": str(cast.backup.pk),
            "ends_on": timezone.now().date() + timedelta(days=90),
            "scopes": ("secrets:read",),
            "endpoint": self.bao_server.address,
            "parameters": {"mount": "secret", "prefix": "reports/"},
        }
        return KeyDraft(**{**values, **changes})

    def key(self, cast: Cast, *, token: BaoToken | None = None, activate: bool = True, **changes: Any) -> Key:
        """A proven key of a real OpenBao token, active unless told otherwise."""
        from keys.services import lifecycle, registration  # noqa: PLC0415

        upstream = token or self.bao_token()
        with self.bound(cast):
            done = registration.register(
                actor=cast.actor, draft=self.draft(cast, **changes), plaintext=Secret(upstream.token)
            )
            if activate:
                lifecycle.activate(
                    actor=cast.actor, key_id=done.key.id, accept_excess=True, note="Accepted for this test"
                )
        return done.key

    def grant(self, cast: Cast, key: Key, credential: Credential, **changes: Any) -> Grant:
        """A grant of `secrets:read` with every delivery."""
        from keys.services import grants  # noqa: PLC0415

        values: dict[str, Any] = {
            "consumer": str(credential.consumer.id),
            "scopes": ("secrets:read",),
            "deliveries": ("decision", "lease", "broker"),
            "days": 30,
            "reason": "Nightly report",
        }
        with self.bound(cast):
            return grants.create(actor=cast.actor, key_id=key.id, draft=grants.GrantDraft(**{**values, **changes}))

    def sequence(self) -> None:
        """Number everything that waits, sign it, and have it read."""
        from django.core.management import call_command  # noqa: PLC0415

        call_command("sequencer", "--once")
        call_command("readers", "--once")
