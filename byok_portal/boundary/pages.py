"""The web door: signs in, finds the person's place in the tenant, binds it, and turns portal errors into answers.

A page reads inside one transaction and renders in it; a POST calls one operation, which opens its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import HttpResponseNotAllowed
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views import View

from byok_portal import errors
from byok_portal.boundary import actors, binding, directory, operations, replica
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.requests import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.forms import BaseForm
    from django.http import HttpRequest, HttpResponse

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.directory import Place

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class TenantPage(View):
    """Base of every page under /t/<tenant>/. `permission` is what seeing the page needs; operations check their own."""

    permission: ClassVar[Permission]
    section: ClassVar[str] = ""
    may_lag: ClassVar[bool] = False
    """Whether GET may be answered from the replica: it only reads, and nothing is decided by what it shows."""
    http_method_names = ["get", "head", "post"]
    actor: Actor
    place: Place

    def dispatch(self, request: HttpRequest, *args: Any, tenant: str, **kwargs: Any) -> HttpResponse:
        """Bind and serve. Raises NotFound for a tenant that is missing or not the person's."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        self.place, self.actor = self._enter(request, tenant)
        with binding.bind_tenant(self.place.tenant_id), operations.receipts() as receipts:
            if not self.actor.permits(self.permission, self.place.tenant_id):
                raise errors.Forbidden(_("Your role in this tenant does not include this page."))
            response = self._serve(request, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        if receipts:
            response["Audit-Id"] = str(receipts[-1])
        return response

    def _enter(self, request: HttpRequest, slug: str) -> tuple[Place, Actor]:
        user_id = cast("UUID", request.user.pk)
        places = directory.get().list_places(user_id)
        place = next((each for each in places if each.slug == slug), None)
        if place is None:
            raise errors.NotFound
        request.byok_place, request.byok_places, request.byok_section = place, places, self.section  # type: ignore[attr-defined]
        label = str(getattr(request.user, "email", ""))
        actor = actors.person(
            user_id, tenant_id=place.tenant_id, role=place.role, label=label, origin=origin_of(request)
        )
        return place, actor

    def _serve(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method in SAFE:
            alias = replica.choose() if self.may_lag else binding.get_alias()
            answer = replica.read(lambda: super(TenantPage, self).dispatch(request, *args, **kwargs), alias=alias)
            return cast("HttpResponse", answer)
        return cast("HttpResponse", super().dispatch(request, *args, **kwargs))

    def http_method_not_allowed(self, request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
        return HttpResponseNotAllowed([method.upper() for method in self.http_method_names if hasattr(self, method)])

    def permits(self, permission: Permission) -> bool:
        """Whether the person may do this here: templates show only what would be allowed."""
        return self.actor.permits(permission, self.place.tenant_id)

    def render(self, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
        """Render inside a read transaction, so that a lazy query still runs as this tenant."""
        with transaction.atomic(using=binding.get_alias(), savepoint=False):
            return render(self.request, template, context, status=status)

    def attempt(self, form: BaseForm | None, call: Callable[[], Any]) -> Any:
        """Call an operation; a portal error becomes form errors and None. `self.status` is the answer's status then."""
        try:
            return call()
        except (
            errors.InvalidInput,
            errors.InvalidInputs,
            errors.Refused,
            errors.Conflict,
            errors.UpstreamUnavailable,
            errors.Unavailable,
        ) as error:
            self.status = error.status
            self.problem = error
            if form is not None:
                add_errors(form, error)
            return None

    status: int = 200
    problem: errors.PortalError | None = None


class OperationPage(TenantPage):
    """A page of one operation. Its form is shown to whoever may do it; a forged POST is recorded as a denial."""

    operation: ClassVar[str]
    permission: ClassVar[Permission] = Permission.TENANT_READ

    def _serve(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method not in SAFE:
            operations.authorise(self.operation, actor=self.actor)
        elif not self.permits(operations.REGISTRY[self.operation].permission):
            raise errors.Forbidden(_("Your role in this tenant does not include this."))
        return super()._serve(request, *args, **kwargs)


def add_errors(form: BaseForm, error: errors.PortalError) -> None:
    """Put each problem on its field, or on the form when the form has no such field.

    A form whose field is called otherwise than the operation's says so in `aliases`.
    """
    aliases: dict[str, str] = getattr(form, "aliases", {})
    for problem in error.problems if isinstance(error, errors.InvalidInputs) else [error]:
        field = (problem.field or "").replace("parameters.", "param_")
        name = aliases.get(field, field)
        form.add_error(name if name in form.fields else None, problem.detail)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001  # Django's signature
    """A form that was open too long, or a forged one."""
    return render(request, "403_csrf.html", status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """The one 404 of the web."""
    return render(request, "404.html", status=404)
