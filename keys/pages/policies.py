"""The policy of a tenant and of one key: what each layer asks, what is in force, who set it when, and the form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from audit.labels import find_labels
from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage, TenantPage
from byok_portal.boundary.permissions import Permission
from keys import rulebook, selectors
from keys.pages.changes import KeyPage
from keys.pages.policy_form import LABELS, PolicyForm, word_in_force, word_rules
from keys.policies import Policy, in_force
from keys.services import policies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from keys.models import Key, PolicyEdition
    from keys.policies import Edition
    from keys.rulebook import Book

HISTORY: Final = 50


class PolicyPage(TenantPage):
    """What the platform and the tenant ask, and what is in force."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "policy"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Three columns, and the history of the tenant's own."""
        may_set = self.permits(Permission.POLICY_SET) and self.place.state == "active"
        context = {
            "crumbs": [(_("Policy"), "")],
            "title": _("Policy"),
            "lede": _("What holds for every key. A tenant may be stricter than the platform, a key than its tenant."),
            "set_url": reverse("keys:policy-set", args=[self.place.slug]) if may_set else "",
            **describe(None),
        }
        return self.render("keys/policy.html", context)


class KeyPolicyPage(TenantPage):
    """The same of one key, with its own column."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "keys"

    def get(self, request: HttpRequest, key: str) -> HttpResponse:  # Django's signature
        """Raises NotFound alike for a missing key and another tenant's."""
        found, slug = selectors.get_key(key), self.place.slug
        is_open = found.state not in selectors.ENDED_KEYS and self.place.state == "active"
        may_set = self.permits(Permission.POLICY_SET) and is_open
        detail = reverse("keys:detail", args=[slug, found.slug])
        context = {
            "crumbs": [(_("Keys"), reverse("keys:list", args=[slug])), (found.name, detail), (_("Policy"), "")],
            "title": _("Policy of %(name)s") % {"name": found.name},
            "lede": _("The strictest of the three holds for this key."),
            "set_url": reverse("keys:key-policy-set", args=[slug, found.slug]) if may_set else "",
            **describe(found),
        }
        return self.render("keys/policy.html", context)


class SetPolicyPage(OperationPage):
    """Sets the tenant's."""

    operation: ClassVar[str] = "policy.set"
    section: ClassVar[str] = "policy"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The form with what the newest edition says."""
        with binding.reading():
            form = _form_of(rulebook.read_book().tenant)
        return self._answer(form)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Set it, or show the form again with what was wrong."""
        form = PolicyForm(request.POST)
        if not form.is_valid():
            return self._answer(form, status=422)
        call = {**form.values, **form.checks, "actor": self.actor}
        if self.attempt(form, lambda: policies.set_tenant(**call)) is None:
            return self._answer(form, status=self.status)
        messages.success(request, _("The policy is set."))
        return redirect(self._url)

    @property
    def _url(self) -> str:
        return reverse("keys:policy", args=[self.place.slug])

    def _answer(self, form: PolicyForm, *, status: int = 200) -> HttpResponse:
        with binding.reading():
            floor = rulebook.read_book().floor(at=timezone.now())
        context = {
            "crumbs": [(_("Policy"), self._url), (_("Change"), "")],
            "title": _("Change the policy"),
            "effects": _list_effects(floor),
            "form": form,
            "submit_label": _("Set policy"),
            "cancel_url": self._url,
        }
        return self.render("keys/confirm.html", context, status=status)


class SetKeyPolicyPage(KeyPage):
    """Sets one key's."""

    operation: ClassVar[str] = "policy.set_key"

    def get(self, request: HttpRequest, key: str) -> HttpResponse:  # Django's signature
        """The form with what the newest edition says."""
        found = self.load(key)
        with binding.reading():
            form = _form_of(rulebook.read_book([found.id]).layers(found.id)[2])
        return self._answer(found, form)

    def post(self, request: HttpRequest, key: str) -> HttpResponse:
        """Set it, or show the form again with what was wrong."""
        found, form = self.load(key), PolicyForm(request.POST)
        if not form.is_valid():
            return self._answer(found, form, status=422)
        call = {**form.values, **form.checks, "actor": self.actor, "key_id": found.id}
        if self.attempt(form, lambda: policies.set_key(**call)) is None:
            return self._answer(found, form, status=self.status)
        messages.success(request, _("The policy of %(name)s is set.") % {"name": found.name})
        return redirect(reverse("keys:key-policy", args=[self.place.slug, found.slug]))

    def _answer(self, key: Key, form: PolicyForm, *, status: int = 200) -> HttpResponse:
        with binding.reading():
            floor = rulebook.read_book().floor(key.id, at=timezone.now())
        context = {
            "crumbs": self.trail(key, _("Change the policy")),
            "title": _("Change the policy of %(name)s") % {"name": key.name},
            "effects": _list_effects(floor),
            "form": form,
            "submit_label": _("Set policy"),
            "cancel_url": reverse("keys:key-policy", args=[self.place.slug, key.slug]),
        }
        return self.render("keys/confirm.html", context, status=status)


def describe(key: Key | None) -> dict[str, Any]:
    """The columns of `keys/policy.html`, and the history of the last of the layers."""
    book, now = rulebook.read_book([key.id] if key else ()), timezone.now()
    key_id = key.id if key else None
    names = [_("Platform"), _("Tenant"), _("Key")][: 3 if key else 2]
    layers = [in_force(layer, now) for layer in book.layers(key_id)][: len(names)]
    columns = [*map(word_rules, layers), word_in_force(book.policy(key_id))]
    own = book.layers(key_id)[2 if key else 1]
    history = list(rulebook.list_editions(key_id)[:HISTORY])
    return {
        "columns": [*names, _("In force")],
        "rows": [
            {"label": label, "values": [each.get(name, "") for each in columns]} for name, label in LABELS.items()
        ],
        "scheduled": _list_scheduled(book, key_id, names, now),
        "history": _list_history(history, own, now),
    }


def _list_scheduled(book: Book, key_id: UUID | None, names: Sequence[str], now: datetime) -> list[dict[str, Any]]:
    """Editions that will begin and that nothing newer has called off."""
    return [
        {"layer": name, "starts_at": edition.starts_at, "rules": _list_words(edition.policy)}
        for name, layer in zip(names, book.layers(key_id), strict=False)
        for edition in layer
        if edition.starts_at > now and not _is_called_off(edition, layer)
    ]


def _is_called_off(edition: Edition, layer: Sequence[Edition]) -> bool:
    return any(each.number > edition.number and each.starts_at <= edition.starts_at for each in layer)


def _list_history(rows: Sequence[PolicyEdition], own: Sequence[Edition], now: datetime) -> list[dict[str, Any]]:
    people = find_labels((kind, row.set_by_id) for row in rows for kind in ("person", "consumer"))
    begun = [edition.number for edition in own if edition.starts_at <= now]
    return [
        {
            "number": row.number,
            "starts_at": row.starts_at,
            "set_at": row.created_at,
            "who": people.get(("person", row.set_by_id)) or people.get(("consumer", row.set_by_id)) or "",
            "note": row.note,
            "rules": _list_words(edition.policy),
            **_standing(edition, own, max(begun, default=0), now),
        }
        for row in rows
        for edition in [rulebook.edition_of(row)]
    ]


def _standing(edition: Edition, own: Sequence[Edition], current: int, now: datetime) -> dict[str, str]:
    if edition.number == current:
        return {"status": "active", "status_label": _("In force")}
    if edition.starts_at > now and not _is_called_off(edition, own):
        return {"status": "waiting", "status_label": _("Scheduled")}
    return {"status": "revoked", "status_label": _("Replaced")}


def _list_words(policy: Policy) -> list[tuple[str, str]]:
    return [(str(LABELS[name]), words) for name, words in word_rules(policy).items()]


def _form_of(own: Sequence[Edition]) -> PolicyForm:
    newest = rulebook.newest_of(own)
    return PolicyForm(policy=newest.policy, number=newest.number) if newest else PolicyForm()


def _list_effects(floor: Policy) -> list[dict[str, str]]:
    above = [f"{label}: {words}" for label, words in _list_words(floor)]
    effects = [
        ("", _("Age counts from the day a version became current; a drain or a roll back does not reset it.")),
        ("danger", _("Keys that are older than this allows are overdue from its start on.")),
    ]
    if above:
        text = _("Above it stands, and it can only be stricter: %(rules)s.") % {"rules": "; ".join(above)}
        effects.insert(0, ("", text))
    return [{"level": level, "text": text} for level, text in effects]
