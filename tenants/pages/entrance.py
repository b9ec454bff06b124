"""Where people come in: the choice of a tenant, and the invitation, whose token is never logged or echoed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.views import redirect_to_login
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters

from byok_portal import errors
from byok_portal.boundary import actors, binding, directory
from byok_portal.boundary.pages import add_errors
from byok_portal.boundary.requests import origin_of
from byok_portal.boundary.secrets import Secret
from tenants import selectors
from tenants.models import Invitation
from tenants.pages.forms import EmptyForm, PasswordForm
from tenants.services import members

if TYPE_CHECKING:
    from uuid import UUID

    from django.forms import Form
    from django.http import HttpRequest, HttpResponse, HttpResponseBase

    from byok_portal.boundary.directory import Place
    from tenants.models import Tenant, User

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


class ChoosePage(View):
    """The start: straight into the only tenant, or a choice."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """One place: go there. More or none: say so."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        places = directory.get().list_places(request.user.pk)
        if len(places) == 1:
            return redirect("keys:list", places[0].slug)
        context = {"memberships": [_membership(place) for place in places], "is_staff": request.user.is_staff}
        response = render(request, "tenants/choose.html", context)
        response["Cache-Control"] = "no-store"
        return response


def _membership(place: Place) -> dict[str, str]:
    return {
        "name": place.name,
        "url": reverse("keys:list", args=[place.slug]),
        "role": place.role.value.capitalize(),
        "status": place.state,
        "status_label": place.state.capitalize(),
    }


@method_decorator(sensitive_post_parameters("password"), name="dispatch")
class InvitationPage(View):
    """Joins a tenant by its single-use link. Binds the tenant that the link belongs to, and nobody else's."""

    http_method_names = ["get", "head", "post"]
    plaintext: Secret
    invitation: Invitation
    tenant: Tenant

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Serve an open invitation. Raises NotFound alike for one that is unknown, used or expired."""
        self.plaintext = Secret(kwargs.pop("token"))
        # What logs and templates see from here on.
        request.path = request.path_info = "/invitations/"
        found = selectors.find_invitation(members.digest_of(self.plaintext))
        if found is None:
            raise errors.NotFound
        # Bound for the look and for the operation only: signing in writes no row of the tenant.
        with binding.bind_tenant(found[0]), binding.reading():
            self._load(found[1])
        response = super().dispatch(request, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        # Never the path. `no-referrer` would make browsers send `Origin: null`, which CSRF protection refuses.
        response["Referrer-Policy"] = "strict-origin"
        return response

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """The invitation, with a password field for a person who has none."""
        return self._answer(self._form())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Accept, sign in, go to the tenant."""
        password = Secret(request.POST.get("password", ""))
        data = request.POST.copy()
        data.pop("password", None)
        request.POST = data  # type: ignore[assignment]  # nothing else may hold the password
        form = self._form(data)
        if not self._may_accept or not form.is_valid():
            return self._answer(form, status=422)
        try:
            user = self._accept(password, form.cleaned_data.get("name", ""))
        except (errors.InvalidInput, errors.Conflict) as error:
            add_errors(form, error)
            return self._answer(form, status=error.status)
        if request.user.pk != user.pk:
            logout(request)
            login(request, user, backend=BACKEND)
        messages.success(request, _("Welcome to %(tenant)s.") % {"tenant": self.tenant.name})
        return redirect("keys:list", self.tenant.slug)

    def _accept(self, password: Secret, name: str) -> User:
        origin = origin_of(self.request)
        actor = actors.invitee(self.user.pk, tenant_id=self.tenant.id, label=self.user.email, origin=origin)
        with binding.bind_tenant(self.tenant.id):
            return members.accept(actor=actor, plaintext=self.plaintext, password=password, name=name)

    def _load(self, invitation_id: UUID) -> None:
        invitation = Invitation.objects.select_related("user").filter(id=invitation_id).first()
        if invitation is None or not members.is_open(invitation) or not invitation.user.is_active:
            raise errors.NotFound
        self.invitation, self.tenant = invitation, selectors.get_tenant()

    @property
    def user(self) -> User:
        """The invited person."""
        return self.invitation.user

    @property
    def _may_accept(self) -> bool:
        """A link must not sign anyone in as a person who has a password: that person signs in first."""
        return not self.user.has_usable_password() or self.request.user.pk == self.user.pk

    def _form(self, data: Any = None) -> Form:
        return EmptyForm(data) if self.user.has_usable_password() else PasswordForm(data)

    def _answer(self, form: Form, *, status: int = 200) -> HttpResponse:
        invitation = {
            "tenant": self.tenant.name,
            "email": self.user.email,
            "role_label": self.invitation.role.capitalize(),
            "expires_at": self.invitation.expires_at,
        }
        context = {"invitation": invitation, "form": form, "must_sign_in": not self._may_accept}
        return render(self.request, "tenants/invitation.html", context, status=status)
