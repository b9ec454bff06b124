"""The staff door: Django admin that reads as `byok_staff` and writes only through operations.

What is shown once (an invitation, a token) is in the answer to the POST and nowhere else: never in a message, a
session, the admin log or a redirect.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import unquote
from django.contrib.auth.views import LogoutView, redirect_to_login
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from byok_portal import errors
from byok_portal.boundary import actors, binding, operations
from byok_portal.boundary.pages import add_errors
from byok_portal.boundary.requests import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from byok_portal.boundary.actors import Actor

FORM = "admin/staff/form.html"
ANSWERABLE = (
    errors.InvalidInput,
    errors.InvalidInputs,
    errors.Conflict,
    errors.Refused,
    errors.UpstreamUnavailable,
    errors.Unavailable,
)
"""Errors that a form tells; others are the page of their status."""


class StaffSite(admin.AdminSite):
    """One sign-in for the whole portal: allauth's, with its rate limits. A signed-in stranger sees no door at all."""

    site_header = "BYOK Portal staff"
    site_title = "BYOK Portal staff"
    index_title = "Tenants, providers, record"
    enable_nav_sidebar = True

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Only doors of ours: what libraries register for themselves would write without an operation."""
        if admin_class is not None and issubclass(admin_class, StaffAdmin):
            super().register(model_or_iterable, admin_class, **options)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.user.is_authenticated:
            _refuse_stranger(request)
            return HttpResponseRedirect(reverse("admin:index"))
        target = request.GET.get("next") or reverse("admin:index")
        return redirect_to_login(target)

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return LogoutView.as_view(next_page="account_login")(request)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Passwords change by e-mail: this login cannot write people."""
        return HttpResponseRedirect(reverse("account_reset_password"))

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Django would send a signed-in stranger to the sign-in page, and that one back: a loop."""
        guarded = super().admin_view(view, cacheable)

        def serve(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.user.is_authenticated:
                _refuse_stranger(request)
            response: HttpResponse = guarded(request, *args, **kwargs)
            if audit_id := getattr(request, "byok_audit_id", None):
                response["Audit-Id"] = str(audit_id)
            return response

        return functools.update_wrapper(serve, guarded)


class StaffPermissions:
    """Staff see everything that is registered and change nothing by Django's own means."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_staff(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_staff(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class StaffInline(StaffPermissions, admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    """Rows of another table on an object's page; read-only, `fields` lists what is shown."""

    extra = 0
    can_delete = False
    show_change_link = False


class StaffAdmin(StaffPermissions, admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Read-only unless a subclass opens add or change, and then only through `run`."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would be a count over every tenant
    change_form_template = "admin/staff/change_form.html"
    change_list_template = "admin/staff/change_list.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Django's list under its plain name."""
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def run(self, request: HttpRequest, tenant_id: UUID, call: Callable[[Actor], Any]) -> Any:
        """Bind the tenant, leave the read-only login, and call operations as this staff member.

        An operation that belongs to no tenant (`alias=staff`) runs bound to `identifiers.PLATFORM`.
        """
        user_id: Any = request.user.pk  # never None: admin_view let only a signed-in person through
        actor = actors.staff(user_id, label=str(request.user), origin=origin_of(request))
        with (
            binding.use_alias(binding.DEFAULT),
            binding.bind_tenant(tenant_id),
            operations.receipts() as receipts,
        ):
            result = call(actor)
        if receipts:
            request.byok_audit_id = receipts[-1]  # type: ignore[attr-defined]  # admin_view answers with it
        return result

    def serve(
        self,
        request: HttpRequest,
        form: forms.Form,
        *,
        title: str,
        submit: str,
        perform: Callable[[dict[str, Any]], HttpResponse],
        **context: Any,
    ) -> HttpResponse:
        """A page of one form. `perform` calls the operation and answers; what that refuses, the form says."""
        if request.method == "POST" and form.is_valid():
            try:
                return perform(form.cleaned_data)
            except ANSWERABLE as error:
                self.add_problems(form, error)
        return self.show(request, FORM, title=title, submit=submit, form=form, **context)

    def add_problems(self, form: forms.Form, error: errors.PortalError) -> None:
        """Put what an operation refused on the form's fields."""
        add_errors(form, error)

    def show(self, request: HttpRequest, template: str, *, title: str, obj: Any = None, **context: Any) -> HttpResponse:
        """Render a page of the admin's shell; `form` is laid out as Django lays out its own."""
        form = context.get("form")
        if form is not None:
            _dress(form)
            fieldsets = [(None, {"fields": list(form.fields)})]
            context["adminform"] = helpers.AdminForm(form, fieldsets, {}, (), self)
        request.current_app = self.admin_site.name
        shell = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, "original": obj}
        return TemplateResponse(request, template, {**shell, **context})

    def require(self, request: HttpRequest, object_id: str) -> Any:
        """The object of this page. Raises NotFound."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise errors.NotFound
        return obj

    def done(self, request: HttpRequest, obj: Any, said: str) -> HttpResponse:
        """Log a change in the admin log, say it, go to the object. `said` must never hold anything secret."""
        self.log_change(request, obj, said)
        messages.success(request, said)
        return HttpResponseRedirect(self.url("change", obj.pk))

    def run_each(
        self, request: HttpRequest, rows: Iterable[Any], call: Callable[[Any, Actor], Any], *, said: str
    ) -> None:
        """The operation on each chosen row, in its own tenant; what one refuses does not stop the others."""
        for row in rows:
            tenant_id = getattr(row, "tenant_id", row.pk)
            try:
                self.run(request, tenant_id, functools.partial(call, row))
            except ANSWERABLE as error:
                messages.error(request, f"{row}: {error.detail}")
            else:
                self.log_change(request, row, said)
                messages.success(request, f"{row}: {said}")

    def url(self, page: str, *args: Any) -> str:
        """The address of one of this model's pages."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)


def bind_form(request: HttpRequest, kind: type[forms.Form], **initial: Any) -> Any:
    """The form with what was posted, or with its initial values."""
    return kind(request.POST) if request.method == "POST" else kind(initial=initial)


def is_staff(request: HttpRequest) -> bool:
    """Whether the signed-in person is platform staff."""
    return bool(request.user.is_active and getattr(request.user, "is_staff", False))


def _refuse_stranger(request: HttpRequest) -> None:
    if not is_staff(request):
        raise errors.NotFound


_CLASSES = ((forms.Textarea, "vLargeTextField"), (forms.TextInput, "vTextField"))


def _dress(form: forms.Form) -> None:
    for field in form.fields.values():
        known = next((css for kind, css in _CLASSES if isinstance(field.widget, kind)), "")
        if known:
            field.widget.attrs.setdefault("class", known)
