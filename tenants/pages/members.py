"""The people of a tenant, and inviting one. The invitation link is shown once, in the answer of the form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.boundary.asking import AskingPage
from byok_portal.boundary.pages import OperationPage, TenantPage
from byok_portal.boundary.permissions import Permission
from byok_portal.boundary.secrets import Secret
from byok_portal.ui.options import list_options
from tenants import selectors
from tenants.models import Invitation
from tenants.pages.forms import ROLES, EmptyForm, InviteForm
from tenants.services import departures, mails, members

if TYPE_CHECKING:
    from django.forms import Form
    from django.http import HttpRequest, HttpResponse, QueryDict

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
            "members": [self._member(member) for member in joined],
            "invitations": self._invitations(may_withdraw=may_invite),
            "invite_url": reverse("tenants:invite", args=[self.place.slug]) if may_invite else "",
        }
        return self.render("tenants/members.html", context)

    def _member(self, member: Membership) -> dict[str, Any]:
        is_active = member.user.is_active
        place = [self.place.slug, member.id]
        may_remove = self.permits(Permission.MEMBER_REMOVE)
        return {
            "name": member.user.name,
            "email": member.user.email,
            "role_label": member.get_role_display(),
            "status": "active" if is_active else "suspended",
            "status_label": _("Active") if is_active else _("Locked"),
            "last_seen_at": member.user.last_login,
            "is_self": member.user_id == self.request.user.pk,
            "role_url": reverse("keys:member-role", args=place) if may_remove else "",
            "end_url": reverse("keys:member-remove", args=place) if may_remove else "",
        }

    def _invitations(self, *, may_withdraw: bool) -> list[dict[str, Any]]:
        still_open = Invitation.objects.filter(used_at=None, expires_at__gt=timezone.now())
        return [
            {
                "email": each.user.email,
                "role_label": each.get_role_display(),
                "invited_at": each.created_at,
                "expires_at": each.expires_at,
                "end_url": reverse("tenants:invitation-withdraw", args=[self.place.slug, each.id])
                if may_withdraw
                else "",
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
        link, email = _link(issued.plaintext), form.cleaned_data["email"]
        mailed = mails.send_invitation(issued, link=link)
        said = [{"level": "ok", "text": _("The invitation was mailed to %(email)s.") % {"email": email}}]
        # Where mail leaves this machine, only who reads the address's mail gets the link: that proves the address.
        shown = "" if mailed and settings.MAIL_LEAVES else link.reveal_text()
        return self._answer(InviteForm(), link=shown, notices=said if mailed else [])

    def _answer(self, form: InviteForm, *, status: int = 200, link: str = "", notices: Any = ()) -> HttpResponse:
        back = reverse("tenants:members", args=[self.place.slug])
        context = {
            "crumbs": [(_("Members"), back), (_("Invite"), "")],
            "form": form,
            "roles": list_options(ROLES, chosen={str(form["role"].value())}),
            "link": link,
            "notices": notices,
            "cancel_url": back,
        }
        return self.render("tenants/invite.html", context, status=status)


def _link(plaintext: Secret) -> Secret:
    return Secret(settings.BASE_URL + reverse("tenants:invitation", args=[plaintext.reveal_text()]))


class WithdrawPage(AskingPage[Invitation]):
    """Takes an invitation back."""

    operation: ClassVar[str] = "invitation.withdraw"
    section: ClassVar[str] = "members"
    danger: ClassVar[bool] = True
    verb: ClassVar[Any] = gettext_lazy("Withdraw")
    title: ClassVar[Any] = gettext_lazy("Withdraw the invitation of %(email)s")
    done: ClassVar[Any] = gettext_lazy("The invitation of %(email)s is withdrawn.")

    def find(self, **where: Any) -> Invitation:
        with binding.reading():
            found = Invitation.objects.filter(id=where["invitation"]).select_related("user").first()
        if found is None:
            raise errors.NotFound
        return found

    def form_for(self, thing: Invitation, data: QueryDict | None = None) -> Form:
        return EmptyForm(data)

    def call(self, thing: Invitation, form: Form) -> object:
        return departures.withdraw(actor=self.actor, invitation_id=thing.id)

    def words(self, thing: Invitation) -> dict[str, Any]:
        return {"email": thing.user.email}

    def effects(self, thing: Invitation) -> list[tuple[str, str]]:
        return [("danger", _("The link stops working at once. You can invite again."))]

    def back(self, thing: Invitation) -> str:
        return reverse("tenants:members", args=[self.place.slug])

    def trail(self, thing: Invitation, last: str) -> list[tuple[str, str]]:
        return [(_("Members"), self.back(thing)), (last, "")]
