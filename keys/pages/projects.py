"""Projects: the list, one project with what belongs to it, making and changing one, and putting things into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.db.models import Count
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from audit import labels
from byok_portal.boundary import binding
from byok_portal.boundary.keyset import take_page
from byok_portal.boundary.pages import OperationPage, TenantPage
from byok_portal.boundary.permissions import Permission
from keys.models import Key
from tenants import selectors
from tenants.models import Consumer, Offboarding, Project
from tenants.services import projects
from tenants.states import ProjectState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

PAGE: Final = 50
RUNS: Final = 20
MOST: Final = 100


class ProjectForm(forms.Form):
    """What a project is."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=80, help_text=gettext_lazy("Such as: winter trial."))
    purpose = forms.CharField(label=gettext_lazy("Purpose"), max_length=300)
    ends_on = forms.DateField(
        label=gettext_lazy("Last day"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("Its keys and consumers work through this day. Without one, people end it."),
    )


class ListPage(TenantPage):
    """Projects, newest first, and the newest offboardings."""

    permission: ClassVar[Permission] = Permission.PROJECT_READ
    section: ClassVar[str] = "projects"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Each with how many keys and consumers it has."""
        page = take_page(selectors.list_projects(), request.GET, size=PAGE)
        slug, tenant = self.place.slug, selectors.get_tenant()
        may_edit = self.permits(Permission.PROJECT_EDIT)
        context = {
            "crumbs": [(_("Projects"), "")],
            "rows": _rows(page.rows, slug=slug),
            "pager": {"label": _("Newest first"), **page.urls},
            "create_url": reverse("keys:project-create", args=[slug]) if may_edit else "",
            "contract": {
                "ends_on": tenant.contract_ends_on,
                "agreed": tenant.ends_automatically,
                "plan_url": reverse("keys:tenant-plan", args=[slug]),
                "agree_url": reverse("tenants:automatic-end", args=[slug])
                if self.permits(Permission.TENANT_AGREE)
                else "",
            },
            "runs": list_runs(selectors.list_runs()[:RUNS], slug=slug),
        }
        return self.render("keys/projects.html", context)


def _rows(found: Sequence[Project], *, slug: str) -> list[dict[str, Any]]:
    identifiers = [project.id for project in found]
    keys_of, consumers_of = _count(Key, identifiers), _count(Consumer, identifiers)
    return [
        {
            "name": project.name,
            "purpose": project.purpose,
            "url": reverse("keys:project", args=[slug, project.slug]),
            "status": _css(project),
            "status_label": project.get_state_display(),
            "keys": keys_of.get(project.id, 0),
            "consumers": consumers_of.get(project.id, 0),
            "ends_on": project.ends_on,
        }
        for project in found
    ]


def _count(model: type[Key | Consumer], identifiers: Collection[UUID]) -> dict[UUID, int]:
    rows = model.objects.filter(project_id__in=identifiers).order_by().values("project_id")
    return {row["project_id"]: row["n"] for row in rows.annotate(n=Count("id"))}


def _css(project: Project) -> str:
    return "active" if project.state == ProjectState.ACTIVE else "ended"


def list_runs(found: Iterable[Offboarding], *, slug: str) -> list[dict[str, Any]]:
    """Offboardings as rows: of what, since when, how it stands."""
    rows = list(found)
    kinds = {"owner": "person"}
    names = labels.find_labels([(kinds.get(run.subject_kind, run.subject_kind), run.subject_id) for run in rows])
    return [
        {
            "name": names.get((kinds.get(run.subject_kind, run.subject_kind), run.subject_id), ""),
            "kind": run.get_subject_kind_display(),
            "url": reverse("keys:run", args=[slug, run.id]),
            "status": "running" if run.state == Offboarding.State.RUNNING else "done",
            "status_label": run.get_state_display(),
            "at": run.created_at,
        }
        for run in rows
    ]


class DetailPage(TenantPage):
    """One project."""

    permission: ClassVar[Permission] = Permission.PROJECT_READ
    section: ClassVar[str] = "projects"

    def get(self, request: HttpRequest, project: str) -> HttpResponse:  # Django's signature
        """Its keys, its consumers and its end."""
        found, slug = selectors.get_project(project), self.place.slug
        own_keys = Key.objects.filter(project_id=found.id).select_related("provider").order_by("name")
        own_consumers = Consumer.objects.filter(project_id=found.id).order_by("name")
        runs = selectors.list_runs().filter(subject_kind="project", subject_id=found.id)
        context = {
            "crumbs": [(_("Projects"), reverse("keys:projects", args=[slug])), (found.name, "")],
            "project": found,
            "status": _css(found),
            "status_label": found.get_state_display(),
            "actions": self._actions(found),
            "keys": [
                {
                    "name": key.name,
                    "url": reverse("keys:detail", args=[slug, key.slug]),
                    "sub": key.provider.name,
                    "status": key.state,
                    "status_label": key.get_state_display(),
                }
                for key in own_keys[:MOST]
            ],
            "consumers": [
                {
                    "name": each.name,
                    "url": reverse("tenants:consumer", args=[slug, each.slug]),
                    "sub": each.get_kind_display(),
                    "status": each.state,
                    "status_label": each.get_state_display(),
                }
                for each in own_consumers[:MOST]
            ],
            "runs": list_runs(runs[:RUNS], slug=slug),
            "facts": [
                (label, value)
                for label, value in (
                    (_("Slug"), found.slug),
                    (_("Purpose"), found.purpose),
                    (_("Last day"), found.ends_on),
                    (_("Created"), found.created_at),
                    (_("Ended"), found.ended_at),
                )
                if value
            ],
        }
        return self.render("keys/project.html", context)

    def _actions(self, found: Project) -> list[dict[str, Any]]:
        if found.state != ProjectState.ACTIVE:
            return []
        arguments = [self.place.slug, found.slug]
        change = {"label": _("Change"), "url": reverse("keys:project-change", args=arguments), "icon": "pencil"}
        end = {
            "label": _("End project"),
            "url": reverse("keys:project-offboard", args=arguments),
            "icon": "ban",
            "danger": True,
        }
        allowed: list[tuple[dict[str, Any], Permission]] = [
            (change, Permission.PROJECT_EDIT),
            (end, Permission.PROJECT_OFFBOARD),
        ]
        return [action for action, permission in allowed if self.permits(permission)]


class _ProjectFormPage(OperationPage):
    section: ClassVar[str] = "projects"

    def answer(self, form: forms.Form, *, title: str, back: str, trail: str, status: int = 200) -> HttpResponse:
        """The form on the house's page of one question."""
        home = reverse("keys:projects", args=[self.place.slug])
        context = {
            "crumbs": [(_("Projects"), home), (trail, "")],
            "title": title,
            "form": form,
            "submit_label": _("Save"),
            "cancel_url": back,
        }
        return self.render("keys/confirm.html", context, status=status)


class CreatePage(_ProjectFormPage):
    """Makes a project."""

    operation: ClassVar[str] = "project.create"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """The empty form."""
        return self._answer(ProjectForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make it, then show it."""
        form = ProjectForm(request.POST)
        if not form.is_valid():
            return self._answer(form, status=422)
        made = self.attempt(form, lambda: projects.create(actor=self.actor, **form.cleaned_data))
        if made is None:
            return self._answer(form, status=self.status)
        messages.success(request, _("%(name)s is a project. Put keys and consumers into it.") % {"name": made.name})
        return redirect("keys:project", self.place.slug, made.slug)

    def _answer(self, form: forms.Form, *, status: int = 200) -> HttpResponse:
        back = reverse("keys:projects", args=[self.place.slug])
        return self.answer(form, title=_("New project"), back=back, trail=_("New project"), status=status)


class EditPage(_ProjectFormPage):
    """Changes name, purpose and last day."""

    operation: ClassVar[str] = "project.change"

    def get(self, request: HttpRequest, project: str) -> HttpResponse:  # Django's signature
        """As it is now."""
        found = self._load(project)
        initial = {"name": found.name, "purpose": found.purpose, "ends_on": found.ends_on}
        return self._answer(found, ProjectForm(initial=initial))

    def post(self, request: HttpRequest, project: str) -> HttpResponse:
        """Change it."""
        found, form = self._load(project), ProjectForm(request.POST)
        if not form.is_valid():
            return self._answer(found, form, status=422)
        call = lambda: projects.change(actor=self.actor, project_id=found.id, **form.cleaned_data)  # noqa: E731
        if self.attempt(form, call) is None:
            return self._answer(found, form, status=self.status)
        messages.success(request, _("Saved."))
        return redirect("keys:project", self.place.slug, found.slug)

    def _load(self, reference: str) -> Project:
        with binding.reading():
            return selectors.get_project(reference)

    def _answer(self, found: Project, form: forms.Form, *, status: int = 200) -> HttpResponse:
        back = reverse("keys:project", args=[self.place.slug, found.slug])
        title = _("Change %(name)s") % {"name": found.name}
        return self.answer(form, title=title, back=back, trail=found.name, status=status)
