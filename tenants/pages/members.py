"""The people of a tenant, and inviting one. The invitation link is shown once, in the answer of the form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from byok_portal.boundary.pages import OperationPage, TenantPage
from byok_portal.boundary.permissions import Permission
from byok_portal.ui.options import list_options
from tenants import selectors
from tenants.models import Invitation
from tenants.pages.forms import ROLES, InviteForm
from tenants.services import members

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from byok_portal.boundary.secrets import Secret
    from tenants.models import Membership

MOST: Final = 500


class ListPage(TenantPage):
    """Members and open invitations."""

    permission: ClassVar[Permission] = Permission.MEMBER_READ
    section: ClassVar[str] = "members"

    def get(self, request: HttpRequest) -> HttpResponse:
        """People by address."""
        joined = selectors.list_members().filter(is_active=True)[:MOST]
        may_invite = self.permits(Permission.MEMBER_INVITE)
        context = {
            "crumbs": [(_("Members"), "")],
            "members": [_member(member, is_self=member.user_id == request.user.pk) for member in joined],
            "invitations": _invitations(),
            "invite_url": reverse("tenants:invite", args=[self.place.slug]) if may_invite else "",
        }
        return self.render("tenants/members.html", context)


def _member(member: Membership, *, is_self: bool) -> dict[str, Any]:
    is_active = member.user.is_active
    return {
        "name": member.user.name,
        "email": member.user.email,
        "role_label": member.get_role_display(),
        "status": "active" if is_active else "suspended",
        "status_label": _("Active") if is_active else _("Locked"),
        "last_seen_at": member.user.last_login,
        "is_self": is_self,
    }


def _invitations() -> list[dict[str, Any]]:
    still_open = Invitation.objects.filter(used_at=None, expires_at__gt=timezone.now())
    return [
        {
            "email": each.user.email,
            "role_label": each.get_role_display(),
            "invited_at": each.created_at,
            "expires_at": each.expires_at,
        }
        for each in still_open.select_related("user").order_by("-created_at")[:MOST]
    ]


class InvitePage(OperationPage):
    """Invites a person."""

    operation: ClassVar[str] = "member.invite"
    section: ClassVar[str] = "members"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """The empty form."""
        return self._answer(InviteForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Invite, and show the link in this very answer."""
        form = InviteForm(request.POST)
        if not form.is_valid():
            return self._answer(form, status=422)
        issued = self.attempt(form, lambda: members.invite(actor=self.actor, **form.cleaned_data))
        if issued is None:
            return self._answer(form, status=self.status)
        return self._answer(InviteForm(), link=_link(issued.plaintext), email=form.cleaned_data["email"])

    def _answer(self, form: InviteForm, *, status: int = 200, link: str = "", email: str = "") -> HttpResponse:
        back = reverse("tenants:members", args=[self.place.slug])
        context = {
            "crumbs": [(_("Members"), back), (_("Invite"), "")],
            "form": form,
            "roles": list_options(ROLES, chosen={str(form["role"].value())}),
            "link": link,
            "link_email": email,
            "cancel_url": back,
        }
        return self.render("tenants/invite.html", context, status=status)


def _link(plaintext: Secret) -> str:
    return settings.BASE_URL + reverse("tenants:invitation", args=[plaintext.reveal_text()])
