"""What can be seen of tenants, people and consumers. Missing and foreign rows raise NotFound alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from django.db import connections, models

from audit.documents import list_documents
from byok_portal.boundary import binding
from byok_portal.boundary.directory import Place
from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.models import Job
from byok_portal.boundary.permissions import Role
from byok_portal.errors import NotFound
from tenants.models import Consumer, ConsumerToken, Membership, Offboarding, Project, Tenant, User
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet

    from audit.models import Document

CERTIFICATE: Final = "offboarding_certificate"
"""The kind of its document."""

_Model = TypeVar("_Model", bound=models.Model)


def list_places(user_id: UUID) -> list[Place]:
    """The tenants where this person is an active member."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id, slug, name, role, state FROM directory_memberships(%s)", [user_id])
        return [Place(row[0], row[1], row[2], Role(row[3]), row[4]) for row in cursor.fetchall()]


def find_invitation(digest: bytes) -> tuple[UUID, UUID] | None:
    """(tenant, invitation) ids of an invitation digest."""
    with connections[binding.DEFAULT].cursor() as cursor:
        cursor.execute("SELECT tenant_id, id FROM directory_invitation(%s)", [digest])
        row = cursor.fetchone()
    return (row[0], row[1]) if row else None


def get_tenant() -> Tenant:
    """The bound tenant."""
    tenant = Tenant.objects.filter(id=binding.get_tenant()).first()
    if tenant is None:
        raise NotFound
    return tenant


def lock_tenant() -> Tenant:
    """The bound tenant, locked against a concurrent change of its state."""
    tenant = Tenant.objects.select_for_update(no_key=True).filter(id=binding.get_tenant()).first()
    if tenant is None:
        raise NotFound
    return tenant


def list_members() -> QuerySet[Membership]:
    """Memberships of the bound tenant with their people."""
    return Membership.objects.select_related("user").order_by("user__email")


def list_owner_candidates() -> QuerySet[User]:
    """People who may be accountable for a key: active members whose role can act. An auditor only reads."""
    members = Membership.objects.filter(is_active=True).exclude(role=Role.AUDITOR).values("user_id")
    return User.objects.filter(id__in=members, is_active=True).order_by("email")


def list_consumers() -> QuerySet[Consumer]:
    """Consumers of the bound tenant, newest first."""
    return Consumer.objects.order_by("-created_at", "-id")


def get_consumer(reference: str | UUID) -> Consumer:
    """By id or slug."""
    return get_by_reference(Consumer.objects.all(), reference)


def list_tokens(consumer_id: UUID) -> QuerySet[ConsumerToken]:
    """Tokens of one consumer, newest first; digests are not selected."""
    return ConsumerToken.objects.filter(consumer_id=consumer_id).defer("digest").order_by("-created_at")


def get_member(user_id: UUID) -> Membership:
    """A person's membership in the bound tenant, also one that has ended."""
    found = list_members().filter(user_id=user_id).first()
    if found is None:
        raise NotFound
    return found


def list_projects() -> QuerySet[Project]:
    """Projects of the bound tenant, newest first."""
    return Project.objects.order_by("-created_at", "-id")


def get_project(reference: str | UUID) -> Project:
    """By id or slug."""
    return get_by_reference(Project.objects.all(), reference)


def find_offboarding() -> Offboarding | None:
    """The offboarding of the bound tenant itself, if it was started."""
    return find_run(SubjectKind.TENANT, binding.get_tenant())


def find_run(kind: SubjectKind, subject_id: UUID) -> Offboarding | None:
    """The newest offboarding of one subject."""
    runs = Offboarding.objects.filter(subject_kind=kind, subject_id=subject_id)
    return runs.order_by("-created_at", "-id").first()


def find_certificate(run: Offboarding) -> Document | None:
    """The newest certificate of a finished run, without its text; None before there is one."""
    return list_documents().filter(id=run.certificate_id).first() if run.certificate_id else None


def list_runs() -> QuerySet[Offboarding]:
    """Every offboarding of the bound tenant and in it, newest first."""
    return Offboarding.objects.order_by("-created_at", "-id")


def get_run(run_id: UUID) -> Offboarding:
    """One offboarding of the bound tenant or in it."""
    found = Offboarding.objects.filter(id=run_id).first()
    if found is None:
        raise NotFound
    return found


def get_by_reference(queryset: QuerySet[_Model], reference: str | UUID) -> _Model:
    """The row with this id or slug. Raises NotFound."""
    identifier = parse_id(reference)
    lookup = {"id": identifier} if identifier else {"slug": str(reference)[:60]}
    found = None if "\0" in str(reference) else queryset.filter(**lookup).first()
    if found is None:
        raise NotFound
    return found


def list_jobs() -> QuerySet[Job]:
    """Background work of the bound tenant."""
    return Job.objects.filter(tenant_id=binding.get_tenant())
