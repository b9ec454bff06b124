"""Recertification as the people who answer for keys see it: what they are asked, and one key with its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.pages import OperationPage
from byok_portal.boundary.permissions import Permission
from keys import recertification, selectors
from keys.pages import presentation
from keys.pages.campaign_forms import AnswerForm
from keys.pages.campaigns import ANSWERS
from keys.pages.changes import KeyPage
from keys.services import confirming
from keys.services.catalogue import entry_of
from keys.states import GrantState, ItemState

if TYPE_CHECKING:
    from uuid import UUID

    from django.forms import Form
    from django.http import HttpRequest, HttpResponse

    from keys.models import CampaignItem, Key

ITEMS: Final = 200
_CHANGES: Final = (
    ("right-size", gettext_lazy("Take unused scopes away"), Permission.GRANT_END),
    ("hand-over", gettext_lazy("Hand it over"), Permission.KEY_HAND_OVER),
    ("rotate", gettext_lazy("Rotate it"), Permission.KEY_ROTATE),
    ("revoke", gettext_lazy("Revoke it"), Permission.KEY_REVOKE),
)


class MinePage(OperationPage):
    """What the person is asked. Keys that are as they were last time can be confirmed together."""

    operation: ClassVar[str] = "key.recertify_unchanged"
    section: ClassVar[str] = "campaigns"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The nearest date first."""
        return self._answer(forms.Form())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Confirm the ticked ones, all or none."""
        form = forms.Form(request.POST)
        form.is_valid()
        done = self.attempt(form, lambda: confirming.confirm_unchanged(actor=self.actor, seen=_read_ticks(request)))
        if done is None:
            return self._answer(form, status=self.status)
        messages.success(request, ngettext("%(n)d key is confirmed.", "%(n)d keys are confirmed.", done) % {"n": done})
        return redirect(reverse("keys:my-keys", args=[self.place.slug]))

    def _answer(self, form: Form, *, status: int = 200) -> HttpResponse:
        slug = self.place.slug
        with binding.reading():
            asked: dict[UUID, list[CampaignItem]] = {}
            for item in recertification.list_asked(self.actor.id)[:ITEMS]:
                asked.setdefault(item.key_id, []).append(item)
            rows = [self._row(items) for items in asked.values()]
        context = {
            "crumbs": [(_("Recertification"), reverse("keys:campaigns", args=[slug])), (_("Yours to confirm"), "")],
            "form": form,
            "rows": rows,
            "has_unchanged": any(row["tick"] for row in rows),
        }
        return self.render("keys/my_keys.html", context, status=status)

    def _row(self, items: list[CampaignItem]) -> dict[str, Any]:
        """One key, whoever asks: an answer is given to all of them."""
        item, slug = items[0], self.place.slug
        key = item.key
        css, label = ANSWERS[ItemState(item.state)]
        digest = recertification.digest_of(recertification.facts_of(key))
        last = recertification.find_confirmation(key.id)
        is_same = last is not None and last.digest == digest
        return {
            "key": key.name,
            "provider": key.provider.name,
            "url": reverse("keys:recertify", args=[slug, key.slug]),
            "campaign": ", ".join(each.campaign.name for each in items),
            "due_on": item.due_on,
            "is_late": item.due_at <= timezone.now(),
            "status": css,
            "status_label": label,
            "tick": f"{key.id}:{digest}" if is_same else "",
            "last_at": last.created_at if last else None,
        }


class RecertifyPage(KeyPage):
    """One key with what is to be confirmed, and the answer."""

    operation: ClassVar[str] = "key.recertify"

    def get(self, request: HttpRequest, key: str) -> HttpResponse:  # Django's signature
        """Purpose, scopes and consumers with their last use."""
        return self._answer(self.load(key), AnswerForm())

    def post(self, request: HttpRequest, key: str) -> HttpResponse:
        """Take the answer. One that asks for a change leads on to the changes."""
        found, form = self.load(key), AnswerForm(request.POST)
        if not form.is_valid():
            return self._answer(found, form, status=422)
        seen, said = request.POST.get("seen", ""), form.cleaned_data
        if self.attempt(form, lambda: confirming.answer(actor=self.actor, key_id=found.id, seen=seen, **said)) is None:
            return self._answer(found, form, status=self.status)
        if said["answer"] == ItemState.CONFIRMED:
            messages.success(request, _("%(name)s is confirmed.") % {"name": found.name})
            return redirect(reverse("keys:my-keys", args=[self.place.slug]))
        messages.success(request, _("Noted. What you can do about it stands below."))
        return redirect(reverse("keys:recertify", args=[self.place.slug, found.slug]))

    def _answer(self, key: Key, form: Form, *, status: int = 200) -> HttpResponse:
        with binding.reading():
            facts = recertification.facts_of(key)
            items = list(recertification.open_items(key.id).select_related("campaign"))
            last = recertification.find_confirmation(key.id)
            is_mine = self.actor.id in (key.owner_id, key.backup_owner_id)
            asks = bool(items) or key.recertify_due_at is not None
            context = {
                "crumbs": self.trail(key, _("Confirm")),
                "key": key,
                "form": form if is_mine and asks and key.state not in selectors.ENDED_KEYS else None,
                "is_mine": is_mine,
                "asks": asks,
                "digest": recertification.digest_of(facts),
                "scopes": _scopes(key),
                "consumers": self._consumers(key),
                "items": [_asked(item) for item in items],
                "due_at": key.recertify_due_at,
                "last": last,
                "changes": self._changes(key, items),
                "cancel_url": self.url_of(key),
            }
        return self.render("keys/recertify.html", context, status=status)

    def _changes(self, key: Key, items: list[CampaignItem]) -> list[dict[str, Any]]:
        """What leads to another state of affairs, once the owner has said that this one is wrong."""
        if not any(item.state in (ItemState.CHANGE_NEEDED, ItemState.NOT_MINE) for item in items):
            return []
        return [
            {"label": label, "url": reverse(f"keys:{name}", args=[self.place.slug, key.slug])}
            for name, label, permission in _CHANGES
            if self.permits(permission)
        ]

    def _consumers(self, key: Key) -> list[dict[str, Any]]:
        used = recertification.last_uses(key.id)
        live = selectors.list_grants(key.id).filter(state=GrantState.ACTIVE, expires_at__gt=timezone.now())
        return [
            {
                "name": grant.consumer.name,
                "kind": grant.consumer.get_kind_display(),
                "scopes": ", ".join(grant.scopes),
                "delivery": presentation.word_deliveries(grant.deliveries),
                "last_at": used.get(grant.consumer_id),
            }
            for grant in live[:ITEMS]
        ]


def _scopes(key: Key) -> list[dict[str, Any]]:
    found = map(entry_of(key.provider).scope, key.scopes)
    return [{"id": scope.id, "name": scope.name, "can": scope.can, "risk": scope.risk} for scope in found if scope]


def _asked(item: CampaignItem) -> dict[str, Any]:
    css, label = ANSWERS[ItemState(item.state)]
    return {"campaign": item.campaign.name, "due_on": item.due_on, "status": css, "status_label": label}


def _read_ticks(request: HttpRequest) -> dict[UUID, str]:
    """`<key>:<digest>` of each ticked box; what is no id names no key."""
    pairs = (text.partition(":") for text in request.POST.getlist("key")[: confirming.MOST + 1])
    return {key_id: digest for text, _colon, digest in pairs if (key_id := parse_id(text)) is not None}
