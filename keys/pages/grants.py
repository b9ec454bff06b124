"""Granting a consumer the use of a key, ending a grant, ending a consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.boundary import binding
from byok_portal.boundary.asking import AskingPage
from byok_portal.boundary.permissions import Permission
from byok_portal.ui.options import list_options
from keys import selectors
from keys.pages import presentation
from keys.pages.changes import KeyPage
from keys.pages.forms import EndForm, GrantForm
from keys.pages.picker import scope_of
from keys.services import grants
from keys.services.catalogue import entry_of
from keys.states import Delivery
from tenants.models import Consumer

if TYPE_CHECKING:
    from django.forms import Form
    from django.http import HttpRequest, HttpResponse, QueryDict

    from keys.models import Grant, Key

MOST: Final = 500
_DELIVERIES: Final = (
    (
        Delivery.BROKER.value,
        gettext_lazy("Broker"),
        gettext_lazy("The portal makes the call; the consumer never sees the secret."),
    ),
    (
        Delivery.DECISION.value,
        gettext_lazy("Decision"),
        gettext_lazy("Only yes or no; the consumer has the secret already."),
    ),
    (
        Delivery.LEASE.value,
        gettext_lazy("Lease"),
        gettext_lazy("Plaintext for five minutes. The consumer could keep it."),
    ),
)


class GrantPage(KeyPage):
    """Grants use of a key."""

    operation: ClassVar[str] = "grant.create"

    def get(self, request: HttpRequest, key: str) -> HttpResponse:  # Django's signature
        """The form; the broker is ticked, because it gives away least."""
        found = self.load(key)
        form = GrantForm(_consumers(found))
        return self._answer(found, form, scopes=set(), deliveries={Delivery.BROKER.value})

    def post(self, request: HttpRequest, key: str) -> HttpResponse:
        """Grant, then back to the key."""
        found = self.load(key)
        with binding.reading():
            form = GrantForm(_consumers(found), request.POST)
            is_valid = form.is_valid()
        ticked = {
            "scopes": set(request.POST.getlist("scope")),
            "deliveries": set(request.POST.getlist("delivery")),
        }
        if not is_valid:
            return self._answer(found, form, **ticked, status=422)
        draft = _draft(form)
        grant = self.attempt(form, lambda: grants.create(actor=self.actor, key_id=found.id, draft=draft))
        if grant is None:
            return self._answer(found, form, **ticked, status=self.status)
        messages.success(request, _("The consumer may use %(name)s now.") % {"name": found.name})
        return redirect(self.url_of(found))

    def _answer(
        self, key: Key, form: GrantForm, *, scopes: set[str], deliveries: set[str], status: int = 200
    ) -> HttpResponse:
        entry, slug = entry_of(key.provider), self.place.slug
        held = [scope for scope in map(entry.scope, key.scopes) if scope is not None]
        may_register = self.permits(Permission.CONSUMER_REGISTER)
        context = {
            "crumbs": self.trail(key, _("Grant")),
            "key": presentation.key_of(key, None, slug=slug),
            "form": form,
            "scopes": [scope_of(scope, scopes) for scope in held],
            "deliveries": list_options(_DELIVERIES, chosen=deliveries),
            "cancel_url": self.url_of(key),
            "consumer_url": reverse("tenants:consumer-register", args=[slug]) if may_register else "",
        }
        return self.render("keys/grant.html", context, status=status)


def _consumers(key: Key) -> list[tuple[str, str]]:
    """Live consumers of the key's environment: the others would be refused."""
    live = Consumer.objects.filter(state=Consumer.State.ACTIVE, environment=key.environment)
    with binding.reading():
        rows = list(live.order_by("name").values_list("id", "name")[:MOST])
    return [(str(identifier), name) for identifier, name in rows]


def _draft(form: GrantForm) -> grants.GrantDraft:
    values = form.cleaned_data
    return grants.GrantDraft(
        consumer=values["consumer"],
        scopes=tuple(values["scope"]),
        deliveries=tuple(values["delivery"]),
        days=values["days"],
        reason=values["reason"],
        networks=form.network_list,
        rate_per_minute=values["rate_per_minute"],
    )


class EndPage(KeyPage, AskingPage["Grant"]):
    """Ends a grant."""

    operation: ClassVar[str] = "grant.end"
    danger: ClassVar[bool] = True
    verb: ClassVar[Any] = gettext_lazy("End grant")
    title: ClassVar[Any] = gettext_lazy("End the grant of %(consumer)s on %(key)s")
    done: ClassVar[Any] = gettext_lazy("%(consumer)s may no longer use %(key)s.")

    def find(self, **where: Any) -> Grant:
        key = self.load(where["key"])
        with binding.reading():
            grant = selectors.get_grant(key.id, where["grant"])
        grant.key = key
        return grant

    def form_for(self, thing: Grant, data: QueryDict | None = None) -> Form:
        return EndForm(data)

    def call(self, thing: Grant, form: Form) -> object:
        reason = form.cleaned_data["reason"]
        return grants.end(actor=self.actor, key_id=thing.key_id, grant_id=thing.id, reason=reason)

    def words(self, thing: Grant) -> dict[str, Any]:
        return {"consumer": thing.consumer.name, "key": thing.key.name}

    def effects(self, thing: Grant) -> list[tuple[str, str]]:
        return [
            ("danger", _("Its uses of this key are refused from now on.")),
            ("ok", _("The key, other grants and the consumer's tokens stay.")),
        ]

    def affected(self, thing: Grant) -> list[dict[str, str]]:
        kind, note = thing.consumer.get_kind_display(), presentation.word_scopes(thing.scopes)
        return [{"name": thing.consumer.name, "kind": kind, "note": note}]

    def back(self, thing: Grant) -> str:
        return self.url_of(thing.key)

    def trail(self, thing: Any, last: str) -> list[tuple[str, str]]:
        return super().trail(thing.key, last)
