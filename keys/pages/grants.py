"""Granting a consumer the use of a key, ending a grant, ending a consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage
from byok_portal.boundary.permissions import Permission
from byok_portal.ui.options import list_options
from keys import selectors
from keys.models import Grant
from keys.pages import presentation
from keys.pages.changes import KeyPage
from keys.pages.forms import EndForm, GrantForm
from keys.pages.picker import scope_of
from keys.services import grants
from keys.services.catalogue import entry_of
from keys.states import Delivery, GrantState
from tenants import selectors as tenants
from tenants.models import Consumer

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from keys.models import Key

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


class EndPage(KeyPage):
    """Ends a grant."""

    operation: ClassVar[str] = "grant.end"

    def get(self, request: HttpRequest, key: str, grant: UUID) -> HttpResponse:  # Django's
        """Whose grant, and what stops."""
        found = self.load(key)
        return self._answer(found, self._grant(found, grant), EndForm())

    def post(self, request: HttpRequest, key: str, grant: UUID) -> HttpResponse:
        """End it at once."""
        found, form = self.load(key), EndForm(request.POST)
        row = self._grant(found, grant)
        if not form.is_valid():
            return self._answer(found, row, form, status=422)
        reason = form.cleaned_data["reason"]
        done = self.attempt(form, lambda: grants.end(actor=self.actor, key_id=found.id, grant_id=row.id, reason=reason))
        if done is None:
            return self._answer(found, row, form, status=self.status)
        names = {"consumer": row.consumer.name, "key": found.name}
        messages.success(request, _("%(consumer)s may no longer use %(key)s.") % names)
        return redirect(self.url_of(found))

    def _grant(self, key: Key, grant_id: UUID) -> Grant:
        with binding.reading():
            return selectors.get_grant(key.id, grant_id)

    def _answer(self, key: Key, grant: Grant, form: EndForm, *, status: int = 200) -> HttpResponse:
        names = {"consumer": grant.consumer.name, "key": key.name}
        affected = {"name": grant.consumer.name, "kind": grant.consumer.get_kind_display()}
        context = {
            "crumbs": self.trail(key, _("End grant")),
            "title": _("End the grant of %(consumer)s on %(key)s") % names,
            "danger": True,
            "effects": [
                {"level": "danger", "text": _("Its uses of this key are refused from now on.")},
                {"level": "ok", "text": _("The key, other grants and the consumer's tokens stay.")},
            ],
            "affected": [{**affected, "note": presentation.word_scopes(grant.scopes)}],
            "form": form,
            "submit_label": _("End grant"),
            "cancel_url": self.url_of(key),
        }
        return self.render("keys/confirm.html", context, status=status)


class EndConsumerPage(OperationPage):
    """Ends a consumer with its tokens and grants."""

    operation: ClassVar[str] = "consumer.end"
    section: ClassVar[str] = "consumers"

    def get(self, request: HttpRequest, consumer: str) -> HttpResponse:  # Django's signature
        """What it loses."""
        return self._answer(self._load(consumer), EndForm())

    def post(self, request: HttpRequest, consumer: str) -> HttpResponse:
        """End it at once."""
        return self._end(request, self._load(consumer), EndForm(request.POST))

    def _end(self, request: HttpRequest, found: Consumer, form: EndForm) -> HttpResponse:
        if not form.is_valid():
            return self._answer(found, form, status=422)
        reason = form.cleaned_data["reason"]
        done = self.attempt(form, lambda: grants.end_consumer(actor=self.actor, consumer_id=found.id, reason=reason))
        if done is None:
            return self._answer(found, form, status=self.status)
        messages.success(request, _("%(name)s has ended.") % {"name": found.name})
        return redirect(self._url(found))

    def _load(self, reference: str) -> Consumer:
        with binding.reading():
            return tenants.get_consumer(reference)

    def _url(self, consumer: Consumer) -> str:
        return reverse("tenants:consumer", args=[self.place.slug, consumer.slug])

    def _answer(self, consumer: Consumer, form: EndForm, *, status: int = 200) -> HttpResponse:
        back = reverse("tenants:consumers", args=[self.place.slug])
        context: dict[str, Any] = {
            "crumbs": [(_("Consumers"), back), (consumer.name, self._url(consumer)), (_("End"), "")],
            "title": _("End %(name)s") % {"name": consumer.name},
            "lede": _("This cannot be undone; register it anew if it comes back."),
            "danger": True,
            "effects": [
                {"level": "danger", "text": _("All its tokens are refused from now on.")},
                {"level": "danger", "text": _("All its grants end.")},
                {"level": "ok", "text": _("The keys and their credentials stay; the history too.")},
            ],
            "affected": _keys_of(consumer),
            "form": form,
            "submit_label": _("End consumer"),
            "cancel_url": self._url(consumer),
        }
        return self.render("keys/confirm.html", context, status=status)


def _keys_of(consumer: Consumer) -> list[dict[str, str]]:
    live = Grant.objects.filter(consumer_id=consumer.id, state=GrantState.ACTIVE, expires_at__gt=timezone.now())
    with binding.reading():
        rows = list(live.select_related("key__provider")[:50])
    return [
        {"name": row.key.name, "kind": row.key.provider.name, "note": presentation.word_scopes(row.scopes)}
        for row in rows
    ]
