"""Removing a member with what that means for keys, and naming the owners of a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.boundary.asking import AskingPage
from keys.pages.changes import ChangePage
from keys.pages.forms import HandOverForm, RoleForm
from keys.services import ownership
from tenants import selectors as tenants

if TYPE_CHECKING:
    from django.forms import Form
    from django.http import QueryDict

    from keys.models import Key
    from tenants.models import Membership


class MemberPage(AskingPage["Membership"]):
    """Base of the changes of one member."""

    section: ClassVar[str] = "members"

    def find(self, **where: Any) -> Membership:
        with binding.reading():
            found = tenants.list_members().filter(id=where["member"], is_active=True).first()
        if found is None:
            raise errors.NotFound
        return found

    def words(self, thing: Membership) -> dict[str, Any]:
        return {"name": thing.user}

    def back(self, thing: Membership) -> str:
        return reverse("tenants:members", args=[self.place.slug])

    def trail(self, thing: Membership, last: str) -> list[tuple[str, str]]:
        return [(_("Members"), self.back(thing)), (str(thing.user), ""), (last, "")]


class RolePage(MemberPage):
    """Changes what a member may do."""

    operation: ClassVar[str] = "member.change_role"
    verb: ClassVar[Any] = gettext_lazy("Change role")
    title: ClassVar[Any] = gettext_lazy("Change the role of %(name)s")
    done: ClassVar[Any] = gettext_lazy("%(name)s has a new role.")

    def form_for(self, thing: Membership, data: QueryDict | None = None) -> Form:
        return RoleForm(data, initial={"role": thing.role})

    def call(self, thing: Membership, form: Form) -> object:
        return ownership.change_role(actor=self.actor, membership_id=thing.id, role=form.cleaned_data["role"])

    def effects(self, thing: Membership) -> list[tuple[str, str]]:
        return [("", _("It holds from the next page that they open."))]


class HandOverPage(ChangePage):
    """Names the owner and the backup owner of a key."""

    operation: ClassVar[str] = "key.hand_over"
    verb: ClassVar[Any] = gettext_lazy("Hand over")
    done: ClassVar[Any] = gettext_lazy("%(name)s is handed over.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:
        return HandOverForm(data, initial={"owner": key.owner_id, "backup_owner": key.backup_owner_id or ""})

    def call(self, key: Key, form: Form) -> object:
        return ownership.hand_over(actor=self.actor, key_id=key.id, **form.cleaned_data)

    def effects(self, key: Key) -> list[tuple[str, str]]:  # the base's signature
        return [
            ("", _("Reminders and questions about the key go to these two from now on.")),
            ("ok", _("Open hand-overs of it close, and the clock does not suspend it for them any more.")),
        ]
