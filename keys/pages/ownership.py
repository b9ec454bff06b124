"""Removing a member with what that means for keys, and naming the owners of a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage
from keys.models import Key
from keys.pages.changes import ChangePage
from keys.pages.forms import HandOverForm, NoteForm, RoleForm
from keys.services import ownership
from tenants import selectors as tenants

if TYPE_CHECKING:
    from uuid import UUID

    from django.forms import Form
    from django.http import HttpRequest, HttpResponse, QueryDict

    from tenants.models import Membership


class MemberPage(OperationPage):
    """Base of the pages about one member."""

    section: ClassVar[str] = "members"

    def load(self, member: UUID) -> Membership:
        """An active membership. Raises NotFound."""
        with binding.reading():
            found = tenants.list_members().filter(id=member, is_active=True).first()
        if found is None:
            raise errors.NotFound
        return found

    def trail(self, member: Membership, last: str) -> list[tuple[str, str]]:
        """The breadcrumbs."""
        return [(_("Members"), self.back), (str(member.user), ""), (last, "")]

    @property
    def back(self) -> str:
        return reverse("tenants:members", args=[self.place.slug])


class RolePage(MemberPage):
    """Changes what a member may do."""

    operation: ClassVar[str] = "member.change_role"

    def get(self, request: HttpRequest, member: UUID) -> HttpResponse:  # Django's signature
        """The present role."""
        found = self.load(member)
        return self._answer(found, RoleForm(initial={"role": found.role}))

    def post(self, request: HttpRequest, member: UUID) -> HttpResponse:
        """Change it at once."""
        found, form = self.load(member), RoleForm(request.POST)
        if not form.is_valid():
            return self._answer(found, form, status=422)
        role = form.cleaned_data["role"]
        done = self.attempt(form, lambda: ownership.change_role(actor=self.actor, membership_id=found.id, role=role))
        if done is None:
            return self._answer(found, form, status=self.status)
        messages.success(request, _("%(name)s has a new role.") % {"name": found.user})
        return redirect(self.back)

    def _answer(self, member: Membership, form: Form, *, status: int = 200) -> HttpResponse:
        context: dict[str, Any] = {
            "crumbs": self.trail(member, _("Change role")),
            "title": _("Change the role of %(name)s") % {"name": member.user},
            "effects": [{"level": "", "text": _("It holds from the next page that they open.")}],
            "form": form,
            "submit_label": _("Change role"),
            "cancel_url": self.back,
        }
        return self.render("keys/confirm.html", context, status=status)


class RemoveMemberPage(MemberPage):
    """Ends a membership."""

    operation: ClassVar[str] = "member.remove"

    def get(self, request: HttpRequest, member: UUID) -> HttpResponse:  # Django's signature
        """What the person loses, and which keys need somebody else."""
        return self._answer(self.load(member), NoteForm())

    def post(self, request: HttpRequest, member: UUID) -> HttpResponse:
        """Remove at once."""
        found, form = self.load(member), NoteForm(request.POST)
        if not form.is_valid():
            return self._answer(found, form, status=422)
        note = form.cleaned_data["note"]
        done = self.attempt(form, lambda: ownership.remove_member(actor=self.actor, membership_id=found.id, note=note))
        if done is None:
            return self._answer(found, form, status=self.status)
        messages.success(request, _("%(name)s is not a member any more.") % {"name": found.user})
        return redirect(self.back)

    def _answer(self, member: Membership, form: Form, *, status: int = 200) -> HttpResponse:
        with binding.reading():
            owned = Key.objects.filter(id__in=ownership.list_owned(member.user_id)).select_related("provider")
            keys = [{"name": key.name, "kind": key.provider.name, "note": _role_of(key, member)} for key in owned[:50]]
        effects = [
            {"level": "danger", "text": _("The next page that they open refuses them.")},
            {"level": "ok", "text": _("What they did stays in the audit log, under their name.")},
        ]
        if keys:
            text = _("Each key below gets a hand-over: name a second owner in time, or the clock suspends it.")
            effects.insert(1, {"level": "danger", "text": text})
            effects.insert(
                2, {"level": "", "text": _("Each is due for rotation: they could have seen its credential.")}
            )
        context: dict[str, Any] = {
            "crumbs": self.trail(member, _("Remove")),
            "title": _("Remove %(name)s") % {"name": member.user},
            "danger": True,
            "effects": effects,
            "affected": keys,
            "form": form,
            "submit_label": _("Remove"),
            "cancel_url": self.back,
        }
        return self.render("keys/confirm.html", context, status=status)


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


def _role_of(key: Key, member: Membership) -> str:
    return _("owner") if key.owner_id == member.user_id else _("backup owner")
