"""Starting the end of a tenant, in two steps, and watching it. The work is in `keys.services.offboarding`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.staff import ANSWERABLE, StaffAdmin, bind_form
from keys import endings, selectors
from keys.models import Grant, Key, KeyVersion, UpstreamStatus
from keys.models.words import choices_of
from keys.services import offboarding
from keys.states import GrantState, RevocationReason, VersionState
from tenants.admin.filters import TenantFilter
from tenants.admin.tenants import ENDING
from tenants.models import Consumer, ConsumerToken, Offboarding, OffboardingStep, Tenant
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from keys.endings import Plan

_REFRESH_SECONDS = 3


class ChooseForm(forms.Form):
    """The first step: whose end, and why."""

    tenant = forms.ModelChoiceField(queryset=Tenant.objects.exclude(state__in=ENDING).order_by("slug"))
    reason = forms.ChoiceField(choices=choices_of(RevocationReason), initial=RevocationReason.CONTRACT_ENDED.value)
    note = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="For the record, such as the ticket. No personal data.",
    )


class ConfirmForm(ChooseForm):
    """The second step repeats the first, hidden, and asks for the slug."""

    digest = forms.CharField(required=False, widget=forms.HiddenInput)
    confirmation = forms.CharField(
        required=False,
        label="Type the tenant's slug",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ChooseForm.base_fields:
            self.fields[name].widget = forms.HiddenInput()


@admin.register(Offboarding)
class OffboardingAdmin(StaffAdmin):
    """Every offboarding with its progress."""

    list_display = ("tenant", "subject_kind", "reason", "state", "percent", "created_at", "finished_at")
    list_filter = (TenantFilter, "subject_kind", "state")
    list_select_related = ("tenant",)
    ordering = ("-created_at",)
    change_form_template = "admin/staff/offboarding.html"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    @admin.display(description="progress")
    def percent(self, run: Offboarding) -> str:
        return f"{offboarding.progress_of(run).percent} %"

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Choose, review, confirm. Nothing happens before the slug was typed."""
        if "confirmation" in request.POST:
            return self.start(request)
        tenant = parse_id(request.GET.get("tenant", ""))
        form = bind_form(request, ChooseForm, tenant=tenant, reason=RevocationReason.CONTRACT_ENDED.value)
        return self.serve(
            request,
            form,
            title="Start an offboarding",
            submit="Review what will end",
            perform=lambda values: self.review(request, ConfirmForm(initial=values), values["tenant"]),
            says="Nothing ends in this step. The next page shows what would end and asks for the slug.",
        )

    def start(self, request: HttpRequest) -> HttpResponse:
        """The point of no return, when the confirmation is right; else the review again."""
        form = ConfirmForm(request.POST.copy())
        if not form.is_valid():
            first = ChooseForm(request.POST)
            first.is_valid()
            return self.serve(
                request, first, title="Start an offboarding", submit="Review what will end", perform=_never
            )
        values = dict(form.cleaned_data)
        tenant = values.pop("tenant")
        try:
            run = self.run(request, tenant.id, lambda actor: offboarding.start(actor=actor, **values))
        except ANSWERABLE as error:
            self.add_problems(form, error)
            return self.review(request, form, tenant)
        self.log_addition(request, run, f"Started for {tenant.slug}.")
        return HttpResponseRedirect(self.url("change", run.pk))

    def review(self, request: HttpRequest, form: forms.Form, tenant: Tenant) -> HttpResponse:
        """What would end and for whom, and the confirmation. The form carries the digest of what is on the screen."""
        plan: Plan = self.run(request, tenant.id, lambda _actor: _read_plan(tenant.id))
        if form.is_bound:
            form.data["digest"] = plan.digest  # type: ignore[index]  # a copy that `start` made
        else:
            form.initial["digest"] = plan.digest
        says = (
            "This is the point of no return. From the commit on every use of this tenant's keys is refused; a "
            "worker then revokes everything here and at the providers, and destroys the tenant's data keys."
        )
        return self.show(
            request,
            "admin/staff/form.html",
            title=f"End {tenant}?",
            form=form,
            submit=f"Start the offboarding of {tenant.slug}",
            says=says,
            danger=True,
            facts=[
                ("Slug", tenant.slug),
                ("State", tenant.state.capitalize()),
                *count_plan(tenant),
                *word_plan(plan),
            ],
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """How far it is: read-only, and fresh while it runs."""
        run = self.require(request, object_id)
        steps = list(OffboardingStep.objects.filter(offboarding_id=run.id).order_by("position"))
        running = run.state == Offboarding.State.RUNNING
        context = {
            "run": run,
            "tenant": run.tenant,
            "tenant_url": reverse("admin:tenants_tenant_change", args=[run.tenant_id]),
            "jobs_url": f"{reverse('admin:boundary_job_changelist')}?tenant={run.tenant_id}",
            "progress": offboarding.progress_of(run),
            "steps": steps,
            "residuals": [step for step in steps if step.state == OffboardingStep.State.RESIDUAL],
            "refresh_seconds": _REFRESH_SECONDS if running else 0,
        }
        of = "of" if run.subject_kind == SubjectKind.TENANT else f"of a {run.subject_kind} of"
        title = f"Offboarding {of} {run.tenant}"
        return self.show(request, "admin/staff/offboarding.html", title=title, obj=run, **context)


def count_plan(tenant: Tenant) -> list[tuple[str, Any]]:
    """What the run would end, counted as staff can see it."""
    now = timezone.now()
    keys = Key.objects.filter(tenant_id=tenant.id).exclude(state__in=selectors.ENDED_KEYS)
    versions = KeyVersion.objects.filter(tenant_id=tenant.id).exclude(state=VersionState.DESTROYED)
    upstream = versions.exclude(upstream_status=UpstreamStatus.REVOKED_CONFIRMED)
    consumers = Consumer.objects.filter(tenant_id=tenant.id, state=Consumer.State.ACTIVE)
    tokens = ConsumerToken.objects.filter(tenant_id=tenant.id, revoked_at=None, expires_at__gt=now)
    return [
        ("Keys to revoke", keys.count()),
        ("Credentials to revoke at providers", upstream.count()),
        ("Grants to end", Grant.objects.filter(tenant_id=tenant.id, state=GrantState.ACTIVE).count()),
        ("Consumers to end", f"{consumers.count()}, with {tokens.count()} live tokens"),
        ("Then", "The tenant's data keys and ciphertext are destroyed. Metadata and the record stay."),
    ]


def word_plan(plan: Plan) -> list[tuple[str, Any]]:
    """Who breaks, what providers cannot do, and what nobody brings back."""
    busy = [f"{each.name}: {each.week} uses in 7 days, {each.month} in 30" for each in plan.consumers if each.month]
    left = [f"{each.provider}: {each.credentials}. {each.instruction}" for each in plan.upstream if not each.possible]
    return [
        ("Will be refused", "; ".join(busy[:10]) or "No consumer has used a key in 30 days."),
        ("Left to people at providers", " ".join(left) or "Nothing that is known before."),
        ("Point of no return", plan.point_of_no_return),
        ("Cannot be undone", " ".join(plan.permanent)),
    ]


def _read_plan(tenant_id: UUID) -> Plan:
    with binding.reading():
        return endings.plan_of(SubjectKind.TENANT, tenant_id)


def _never(_values: dict[str, Any]) -> HttpResponse:
    raise AssertionError
