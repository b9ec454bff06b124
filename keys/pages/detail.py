"""One key: proof, versions, scopes, grants and recent uses. Shows facts; every change has its own page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from audit.pages.presentation import uses_of
from audit.selectors import list_uses
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission
from keys import rulebook, selectors, usage
from keys.models import Exposure
from keys.pages import actions, assisted, overdue, presentation
from keys.pages.draining import list_standings
from keys.pages.evidence import word_evidence, word_method
from keys.services import response
from keys.services.catalogue import entry_of
from keys.states import ClockReason, Custody, GrantState, KeyState

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from keys.catalogue import ProviderEntry
    from keys.models import Grant, Incident, Key, KeyVersion, Proof

USES: Final = 10
MOST: Final = 100
_CUSTODY: Final = {
    Custody.SEALED: "Sealed here",
    Custody.REFERENCED: "Referenced",
    Custody.VERIFIER: "Verifier only",
}


class DetailPage(TenantPage):
    """One key."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "keys"

    def get(self, request: HttpRequest, key: str) -> HttpResponse:  # Django's signature
        """Raises NotFound alike for a missing key and another tenant's."""
        found = selectors.get_key(key)
        entry, slug = entry_of(found.provider), self.place.slug
        versions = list(selectors.list_versions(found.id)[:MOST])
        # A successor that came to nothing is newer than the current version.
        newest = selectors.find_current(found.id) or (versions[0] if versions else None)
        draining = selectors.find_draining(found.id)
        status, label = presentation.state_of(found, newest, draining)
        proof = selectors.find_proof(found.id)
        incident, quarantined = response.find_open(found.id), response.is_quarantined(found.id)
        offers = actions.list_actions(found, draining, slug=slug, permits=self.permits, quarantined=quarantined)
        expose, offers = actions.split_exposure(offers)
        primary, rest = actions.split_primary(offers)
        context = {
            "crumbs": [(_("Keys"), reverse("keys:list", args=[slug])), (found.name, "")],
            "key": presentation.key_of(found, newest, slug=slug),
            "status": status,
            "status_label": label,
            "risk": presentation.risk_of(entry, found.scopes),
            "primary": primary,
            "actions": rest,
            "expose": expose,
            "notices": [
                *self._incident(incident),
                *self._overdue(found, draining),
                *self._unconfirmed(found),
                *_notices(found, proof),
            ],
            "due": presentation.due_of(found, newest, draining),
            "policy_url": reverse("keys:key-policy", args=[slug, found.slug]),
            "proof": self._proof(found, proof, entry),
            "drain": _drain(draining) if draining is not None and found.state not in selectors.ENDED_KEYS else None,
            "versions": [presentation.version_of(version, entry.name) for version in versions],
            "scopes": _scopes(found, entry),
            "grants": self._grants(found),
            "grant_url": self._grant_url(found),
            **self._uses(found),
            "facts": _facts(found, newest),
        }
        return self.render("keys/detail.html", context)

    def _incident(self, incident: Incident | None) -> list[dict[str, str]]:
        """The incident that is at work, and where it is answered."""
        if incident is None:
            return []
        words = _("Declared compromised."), _("Strangers may know this credential.")
        title = words[incident.exposure == Exposure.SUSPECTED]
        url = reverse("keys:incident", args=[self.place.slug, incident.id])
        text = _("An incident is at work: what it touches, and what is left to do.")
        return [{"level": "bad", "title": title, "text": text, "url": url, "action": _("Open the incident")}]

    def _overdue(self, key: Key, draining: KeyVersion | None) -> list[dict[str, str]]:
        """What follows from being overdue, with the one click that remedies it."""
        if key.state in selectors.ENDED_KEYS:
            return []
        offers = actions.list_actions(key, draining, slug=self.place.slug, permits=self.permits)
        remedy = next((each for each in offers if each["name"] in ("rotate", "finish")), None)
        return overdue.list_notices(key, remedy)

    def _unconfirmed(self, key: Key) -> list[dict[str, str]]:
        """What follows from no owner having confirmed it, with the answer for whoever may give it."""
        if key.state in selectors.ENDED_KEYS:
            return []
        mine = self.permits(Permission.KEY_CONFIRM) and self.actor.id in (key.owner_id, key.backup_owner_id)
        url = reverse("keys:recertify", args=[self.place.slug, key.slug])
        return overdue.list_unconfirmed(key, url if mine else "")

    def _proof(self, key: Key, proof: Proof | None, entry: ProviderEntry) -> dict[str, Any]:
        may_prove = key.state not in selectors.ENDED_KEYS and self.permits(Permission.KEY_PROVE)
        prove_url = reverse("keys:prove", args=[self.place.slug, key.slug]) if may_prove else ""
        if proof is None:
            return {"state": "none", "prove_url": prove_url}
        expires_at = rulebook.proof_ends_at(proof, rulebook.policy_of(key))
        is_over = expires_at <= timezone.now()
        return {
            "state": "bad" if is_over else "warn" if proof.excess else "ok",
            "title": _("This proof has expired.") if is_over else _("The provider was asked with this credential."),
            "account": proof.account_label or proof.account_id,
            "method": word_method(proof.method, entry.name),
            "at": proof.created_at,
            "expires_at": expires_at,
            "challenge": proof.challenge,
            "evidence": word_evidence(proof.evidence),
            "prove_url": prove_url,
            "comparison": presentation.comparison_of(proof, key.scopes, entry),
        }

    def _grants(self, key: Key) -> list[dict[str, Any]]:
        return [self._grant(key, grant) for grant in selectors.list_grants(key.id)[:MOST]]

    def _grant(self, key: Key, grant: Grant) -> dict[str, Any]:
        status, label = presentation.grant_state(grant)
        may_end = grant.state == GrantState.ACTIVE and self.permits(Permission.GRANT_END)
        slug = self.place.slug
        return {
            "consumer": grant.consumer.name,
            "kind": grant.consumer.get_kind_display(),
            "url": reverse("tenants:consumer", args=[slug, grant.consumer.slug]),
            "scopes_label": _("%(granted)s of %(all)s")
            % {
                "granted": len(grant.scopes),
                "all": presentation.word_scopes(key.scopes) if len(key.scopes) > 1 else _("1 scope"),
            },
            "delivery": presentation.word_deliveries(grant.deliveries),
            "status": status,
            "status_label": label,
            "expires_at": grant.expires_at,
            "networks": ", ".join(grant.networks),
            "end_url": reverse("keys:grant-end", args=[slug, key.slug, grant.id]) if may_end else "",
        }

    def _grant_url(self, key: Key) -> str:
        may = self.permits(Permission.GRANT_CREATE) and key.state not in selectors.ENDED_KEYS
        return reverse("keys:grant", args=[self.place.slug, key.slug]) if may else ""

    def _uses(self, key: Key) -> dict[str, Any]:
        """Uses come from the audit log, so seeing them needs the right to read it."""
        if not self.permits(Permission.AUDIT_READ):
            return {"uses": [], "uses_hidden": True}
        log = reverse("audit:list", args=[self.place.slug])
        uses = uses_of(list_uses(key.id, USES), slug=self.place.slug)
        return {"uses": uses, "uses_url": f"{log}?action=key.used&key={key.id}"}


def _drain(version: KeyVersion) -> dict[str, Any]:
    """The rotation that is under way: where each consumer is, and whom a brownout has named."""
    now = timezone.now()
    is_dark = version.dark_from is not None and version.dark_until is not None and version.dark_until > now
    return {
        "number": version.number,
        "until": version.drain_until,
        "users": list_standings(version),
        "dark_from": version.dark_from,
        "dark_until": version.dark_until,
        "is_dark": is_dark,
        "refused": usage.list_refused(version),
    }


def _notices(key: Key, proof: Proof | None) -> list[dict[str, str]]:
    notices = []
    if key.state == KeyState.PENDING:
        text = _("An owner or approver activates it after looking at the proof.")
        notices.append({"level": "info", "title": _("Nothing can use this key yet."), "text": text})
    if key.is_canary:
        text = _("Nobody has a reason to use it: any use outside a drill calls its owners and the tenant's.")
        notices.append({"level": "info", "title": _("This is a canary key."), "text": text})
    by_clock = (ClockReason.OVERDUE, ClockReason.NOT_RECERTIFIED)
    if key.state == KeyState.SUSPENDED and key.suspends_for not in by_clock:
        notices.append(
            {
                "level": "warn",
                "title": _("Suspended."),
                "text": _("Every use is refused until it is resumed."),
            }
        )
    if proof is not None and proof.excess and key.state not in selectors.ENDED_KEYS:
        text = _(
            "Calls beyond its scopes are refused here; a thief could make them directly. Tighten it at the provider."
        )
        notices.append({"level": "warn", "title": _("The credential can do more than was chosen."), "text": text})
    if key.state == KeyState.COMPROMISED:
        text = _("Make sure that it is dead at the provider, and look for uses that you do not know.")
        notices.append({"level": "bad", "title": _("This key was exposed."), "text": text})
    return notices


def _scopes(key: Key, entry: ProviderEntry) -> list[dict[str, Any]]:
    return [
        {
            "id": scope.id,
            "name": scope.name,
            "can": scope.can,
            "risk": scope.risk,
            "calls": [_fill(call, key.parameters) for call in scope.calls],
        }
        for scope in map(entry.scope, key.scopes)
        if scope is not None
    ]


def _fill(call: str, parameters: dict[str, str]) -> str:
    """A call pattern with this key's own values, for reading only: what its query may not hold is left out."""
    call = call.partition("?!")[0].replace("{path...}", "…")
    for name, value in parameters.items():
        call = call.replace(f"{{{name}}}", value)
    return call


def _facts(key: Key, newest: KeyVersion | None) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [
        (_("Owner"), str(key.owner)),
        (_("Backup owner"), str(key.backup_owner or _("Nobody: name one"))),
        (_("Purpose"), key.purpose),
        (_("Project"), str(key.project or "")),
        (_("Justification"), key.justification),
        (_("Endpoint"), key.endpoint),
        *_parameters(key),
        (_("Rotation"), assisted.word_way(key)),
        (_("Custody"), _CUSTODY[Custody(key.custody)]),
        (_("End date"), key.ends_on),
        (_("Credential ends"), newest.expires_at if newest else None),
        (_("Registered"), key.created_at),
        (_("Ended"), key.ended_at),
    ]
    return [(label, value) for label, value in facts if value not in (None, "")]


def _parameters(key: Key) -> list[tuple[str, str]]:
    labels = {parameter.name: parameter.label for parameter in entry_of(key.provider).parameters}
    return [(labels.get(name, name), value) for name, value in key.parameters.items()]
