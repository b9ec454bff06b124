"""Opening, editing, suspending and resuming a tenant. The end of a tenant is in `keys.services.offboarding`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary import binding
from byok_portal.boundary.operations import Absent, operation
from byok_portal.boundary.permissions import Permission, Role
from byok_portal.errors import Conflict, InvalidInput
from tenants import rules, selectors
from tenants.models import Project, Tenant
from tenants.services import members
from tenants.states import TENANT_TRANSITIONS, ProjectState, TenantState

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from tenants.services.members import IssuedInvitation

_NO_API = Absent("only platform staff open and end tenants, in the staff admin")
_NAMED: Final = 3


@operation(
    "tenant.open",
    permission=Permission.TENANT_OPEN,
    events=("tenant.opened", "member.invited"),
    page="admin:tenants_tenant_add",
    api=_NO_API,
)
def open_tenant(
    *, actor: Actor, name: str, slug: str, contract_ends_on: date | None, owner_email: str
) -> tuple[Tenant, IssuedInvitation]:
    """Create the bound tenant (the door binds a new id) with its first owner, who is invited.

    Raises InvalidInput for a taken slug, a past contract end or a malformed address.
    """
    tenant = Tenant(
        id=binding.get_tenant(),
        name=rules.require_text(name, field="name", maximum=120),
        slug=rules.require_slug(slug),
        contract_ends_on=rules.require_end_date(contract_ends_on, field="contract_ends_on", required=False),
    )
    email = rules.require_email(owner_email, field="owner_email")
    _insert(tenant)
    append(
        actor=actor,
        action="tenant.opened",
        target=Target("tenant", tenant.id),
        detail={"slug": tenant.slug, "contract_ends_on": str(tenant.contract_ends_on or "")},
    )
    return tenant, members.add(actor=actor, email=email, role=Role.OWNER)


@operation(
    "tenant.edit",
    permission=Permission.TENANT_EDIT,
    events=("tenant.edited",),
    page="admin:tenants_tenant_change",
    api=_NO_API,
)
def edit_tenant(*, actor: Actor, name: str, contract_ends_on: date | None) -> Tenant:
    """Change the tenant's name or contract end. Raises InvalidInput for a past end."""
    tenant = selectors.lock_tenant()
    tenant.name = rules.require_text(name, field="name", maximum=120)
    if contract_ends_on != tenant.contract_ends_on:
        tenant.contract_ends_on = rules.require_end_date(contract_ends_on, field="contract_ends_on", required=False)
    tenant.save(update_fields=["name", "contract_ends_on"])
    detail = {"contract_ends_on": str(tenant.contract_ends_on or "")}
    append(actor=actor, action="tenant.edited", target=Target("tenant", tenant.id), detail=detail)
    return tenant


@operation(
    "tenant.suspend",
    permission=Permission.TENANT_SUSPEND,
    events=("tenant.suspended",),
    page="admin:tenants_tenant_changelist",
    api=_NO_API,
)
def suspend_tenant(*, actor: Actor) -> Tenant:
    """Stop every use of the tenant's keys from this commit on."""
    return move(actor=actor, to=TenantState.SUSPENDED, event="tenant.suspended")


@operation(
    "tenant.resume",
    permission=Permission.TENANT_SUSPEND,
    events=("tenant.resumed",),
    page="admin:tenants_tenant_changelist",
    api=_NO_API,
)
def resume_tenant(*, actor: Actor) -> Tenant:
    """Allow the tenant's keys again."""
    return move(actor=actor, to=TenantState.ACTIVE, event="tenant.resumed")


@operation(
    "tenant.agree_automatic_end",
    permission=Permission.TENANT_AGREE,
    events=("tenant.automatic_end_set",),
    page="tenants:automatic-end",
    api=Absent("owners agree themselves, in the web UI: nothing that a token can do starts an end by itself"),
)
def agree_automatic_end(*, actor: Actor, agreed: bool) -> Tenant:
    """Whether the end of the contract, or of a project, starts the offboarding by itself on the day after.

    Raises Conflict when it is so already, when the tenant ends, and for an agreement when a day has passed already:
    with no reminder and no plan before it, it would be the end itself.
    """
    tenant = require_active()
    if tenant.ends_automatically == agreed:
        message = "This is how it is already."
        raise Conflict(message, code="same_agreement")
    if agreed:
        _refuse_over(tenant)
    tenant.ends_automatically = agreed
    tenant.save(update_fields=["ends_automatically"])
    detail = {"agreed": agreed, "contract_ends_on": str(tenant.contract_ends_on or "")}
    append(actor=actor, action="tenant.automatic_end_set", target=Target("tenant", tenant.id), detail=detail)
    return tenant


def move(*, actor: Actor, to: TenantState, event: str, detail: dict[str, str] | None = None) -> Tenant:
    """One transition of the bound tenant with its event. Raises Conflict when the state does not allow it."""
    transfer(actor=actor, to=to, event=event, detail=detail)
    return selectors.get_tenant()


def transfer(*, actor: Actor, to: TenantState, event: str, detail: dict[str, str] | None = None) -> UUID:
    """As `move`, but answers with the id of the event."""
    tenant = selectors.lock_tenant()
    state = TenantState(tenant.state)
    if to not in TENANT_TRANSITIONS[state]:
        message = f"The tenant is {state.value}; it cannot become {to.value}."
        raise Conflict(message, code="tenant_state")
    tenant.state = to
    tenant.save(update_fields=["state"])
    return append(actor=actor, action=event, target=Target("tenant", tenant.id), detail=detail)


def require_active() -> Tenant:
    """The bound tenant, locked in share mode by its row; raises Conflict unless it is active."""
    tenant = selectors.lock_tenant()
    if tenant.state != TenantState.ACTIVE:
        message = f"The tenant is {tenant.state}; nothing can be added or changed."
        raise Conflict(message, code="tenant_not_active")
    return tenant


def is_over(tenant: Tenant, ends_on: date | None, today: date) -> bool:
    """Whether this last day has passed and ends things by itself: decisions do not wait for the clock's job."""
    return tenant.ends_automatically and ends_on is not None and ends_on < today


def _refuse_over(tenant: Tenant) -> None:
    today = timezone.now().date()
    projects = Project.objects.filter(state=ProjectState.ACTIVE, ends_on__lt=today).order_by("ends_on", "id")
    over = [f"the project {name}" for name in projects.values_list("name", flat=True)[:_NAMED]]
    if tenant.contract_ends_on is not None and tenant.contract_ends_on < today:
        over.insert(0, "the contract")
    if over:
        message = f"Over already: {', '.join(over)}. End that first, or set another last day."
        raise Conflict(message, code="already_over")


def _insert(tenant: Tenant) -> None:
    from django.db import IntegrityError, transaction  # noqa: PLC0415  # the name clashes with errors.IntegrityError

    try:
        with transaction.atomic():
            tenant.save(force_insert=True)
    except IntegrityError:
        raise InvalidInput("Slug is taken by another tenant.", code="slug_taken", field="slug") from None
