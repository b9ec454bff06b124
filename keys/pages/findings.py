"""What is found about a tenant's keys, with the change that mends each, and accepting one for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission
from byok_portal.ui.wording import word_distance
from keys import posture
from keys.findings import Kind, Remedy, Severity
from keys.pages.changes import ChangePage
from keys.pages.forms import AcceptForm, NoteForm
from keys.services import findings
from tenants.pages.forms import EmptyForm

if TYPE_CHECKING:
    from django.forms import Form
    from django.http import HttpRequest, HttpResponse, QueryDict

    from keys.models import Key

_WORDS: Final[dict[Kind, tuple[Any, Any]]] = {
    Kind.SHARED_SECRET: (
        gettext_lazy("Another tenant has the same credential"),
        gettext_lazy("Whoever has it acts as the same account. Rotate, and find out how it got there."),
    ),
    Kind.NO_BACKUP_OWNER: (
        gettext_lazy("No backup owner"),
        gettext_lazy("Nobody follows when the owner leaves."),
    ),
    Kind.OVERDUE: (gettext_lazy("Rotation is overdue"), gettext_lazy("Due %(since)s, by policy.")),
    Kind.ROTATION_WANTED: (
        gettext_lazy("Somebody who could have seen the credential has left"),
        gettext_lazy("They left %(since)s. Rotate it."),
    ),
    Kind.PROOF_EXPIRED: (gettext_lazy("Control was not proven again"), gettext_lazy("The proof ended %(since)s.")),
    Kind.EXCESS_PRIVILEGE: (
        gettext_lazy("The credential can do more than was chosen"),
        gettext_lazy("Rights beyond the chosen scopes: %(rights)s. Rotate to a credential with fewer."),
    ),
    Kind.DORMANT: (
        gettext_lazy("Dormant"),
        gettext_lazy("Not used in the last %(days)s days; last use: %(since)s."),
    ),
    Kind.UNUSED_SCOPES: (
        gettext_lazy("Granted scopes that nobody uses"),
        gettext_lazy("%(scopes)s: not used in the last %(days)s days by the consumers that hold them."),
    ),
    Kind.SEVERAL_CONSUMERS: (
        gettext_lazy("Shared by several consumers"),
        gettext_lazy("%(consumers)s consumers hold it: a leak cannot be told apart, and a revocation stops all."),
    ),
    Kind.NOT_RECERTIFIED: (
        gettext_lazy("No owner has confirmed it"),
        gettext_lazy("Purpose, scopes and consumers were to be confirmed %(since)s."),
    ),
    Kind.LIVE_OUTSIDE_PRODUCTION: (
        gettext_lazy("A live credential outside production"),
        gettext_lazy("Its last proof shows the form of a live one. Rotate to a test-mode credential."),
    ),
    Kind.DRILL_OVERDUE: (
        gettext_lazy("A scheduled drill was not run"),
        gettext_lazy("The %(kind)s drill was due %(since)s."),
    ),
    Kind.DRILL_FAILED: (
        gettext_lazy("The last drill failed"),
        gettext_lazy("The %(kind)s drill failed %(since)s: %(code)s."),
    ),
    Kind.END_PASSED: (
        gettext_lazy("What it was for has ended"),
        gettext_lazy("The %(what)s ended %(since)s and the key still works. End it, or move the last day."),
    ),
}
_SEVERITIES: Final = {
    Severity.CRITICAL: ("failed", gettext_lazy("Critical")),
    Severity.HIGH: ("failed", gettext_lazy("High")),
    Severity.MEDIUM: ("attention", gettext_lazy("Medium")),
    Severity.LOW: ("unknown", gettext_lazy("Low")),
}
_REMEDIES: Final[dict[Remedy, tuple[Any, str, Permission]]] = {
    Remedy.HAND_OVER: (gettext_lazy("Name a backup owner"), "keys:hand-over", Permission.KEY_HAND_OVER),
    Remedy.ROTATE: (gettext_lazy("Rotate"), "keys:rotate", Permission.KEY_ROTATE),
    Remedy.PROVE: (gettext_lazy("Prove again"), "keys:prove", Permission.KEY_PROVE),
    Remedy.REVOKE: (gettext_lazy("Revoke"), "keys:revoke", Permission.KEY_REVOKE),
    Remedy.RIGHT_SIZE: (gettext_lazy("Right-size"), "keys:right-size", Permission.GRANT_END),
    Remedy.SPLIT: (gettext_lazy("See its grants"), "keys:detail", Permission.KEY_READ),
    Remedy.CONFIRM: (gettext_lazy("Confirm"), "keys:recertify", Permission.KEY_CONFIRM),
    Remedy.DRILL: (gettext_lazy("See the drills"), "keys:drills", Permission.KEY_READ),
}


class ListPage(TenantPage):
    """Every finding, the worst first; accepted ones after the others."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "findings"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """What is found now; nothing is stored, so it is never old."""
        rows = [*map(self._drill_row, posture.list_drill_findings()), *map(self._row, posture.list_found())]
        context = {
            "crumbs": [(_("Findings"), "")],
            "rows": [row for row in rows if not row["accepted_until"]],
            "accepted": [row for row in rows if row["accepted_until"]],
        }
        return self.render("keys/findings.html", context)

    def _drill_row(self, found: posture.DrillFound) -> dict[str, Any]:
        """Of no key, so the place of the key is the place where it is mended."""
        finding, url = found.finding, reverse("keys:drills", args=[self.place.slug])
        title, text = word(finding.kind, finding.evidence)
        css, severity = _SEVERITIES[finding.severity]
        shown = {"title": title, "text": text, "status": css, "severity": severity, "reason": ""}
        act = {"remedy_label": _REMEDIES[finding.remedy][0], "remedy_url": url, "accept_url": ""}
        about = {"key": _("Drills"), "key_url": url, "owner": _("Owners of the tenant"), "accepted_until": None}
        return {**shown, **act, **about}

    def _row(self, found: posture.Found) -> dict[str, Any]:
        finding, key, slug = found.finding, found.key, self.place.slug
        title, text = word(finding.kind, finding.evidence)
        label, page, permission = _REMEDIES[finding.remedy]
        css, severity = _SEVERITIES[finding.severity]
        may_accept = found.accepted is None and self.permits(Permission.FINDING_ACCEPT)
        return {
            "title": title,
            "text": text,
            "key": key.name,
            "key_url": reverse("keys:detail", args=[slug, key.slug]),
            "owner": str(key.owner),
            "status": css,
            "severity": severity,
            "remedy_label": label,
            "remedy_url": reverse(page, args=[slug, key.slug]) if self.permits(permission) else "",
            "accept_url": reverse("keys:finding-accept", args=[slug, key.slug, finding.kind]) if may_accept else "",
            "accepted_until": found.accepted.expires_at if found.accepted else None,
            "reason": found.accepted.reason if found.accepted else "",
        }


class AcceptPage(ChangePage):
    """Leaves a finding as it is for a while."""

    operation: ClassVar[str] = "finding.accept"
    verb: ClassVar[Any] = gettext_lazy("Accept a finding about")
    crumb: ClassVar[Any] = gettext_lazy("Accept a finding")
    button: ClassVar[Any] = gettext_lazy("Accept for a while")
    done: ClassVar[Any] = gettext_lazy("Accepted. It comes back when the time is over, if it still holds.")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The kind stands in the address."""
        self.kind = kwargs.pop("kind", "")
        return super().dispatch(request, *args, **kwargs)

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:  # the base's signature
        return AcceptForm(data)

    def call(self, key: Key, form: Form) -> object:
        return findings.accept(actor=self.actor, key_id=key.id, kind=self.kind, **form.cleaned_data)

    def effects(self, key: Key) -> list[tuple[str, str]]:  # the base's signature
        known = self.kind in [kind.value for kind in Kind]
        name = word(Kind(self.kind), {})[0] if known else self.kind
        return [
            ("", _("Left as it is: %(finding)s.") % {"finding": name}),
            ("ok", _("It stays on the page, under the accepted ones, with your reason and its end.")),
        ]


class RightSizePage(ChangePage):
    """Takes unused scopes from the grants of a key."""

    operation: ClassVar[str] = "key.right_size"
    verb: ClassVar[Any] = gettext_lazy("Right-size the grants of")
    crumb: ClassVar[Any] = gettext_lazy("Right-size the grants")
    button: ClassVar[Any] = gettext_lazy("Take the unused scopes away")
    done: ClassVar[Any] = gettext_lazy("The grants of %(name)s are right-sized.")

    def form_for(self, key: Key, data: QueryDict | None = None) -> Form:  # the base's signature
        return NoteForm(data)

    def call(self, key: Key, form: Form) -> object:
        return findings.right_size(actor=self.actor, key_id=key.id, note=form.cleaned_data["note"])

    def effects(self, key: Key) -> list[tuple[str, str]]:
        unused, window = posture.list_unused(key.id)
        if not unused:
            return [("ok", _("Every granted scope was used in the last %(days)s days.") % {"days": window})]
        lines = [
            _("%(consumer)s loses %(scopes)s.") % {"consumer": found.grant.consumer, "scopes": ", ".join(found.scopes)}
            for found in unused
        ]
        return [
            *(("danger", line) for line in lines),
            ("", _("Not used in the last %(days)s days. A grant that keeps no scope ends.") % {"days": window}),
            ("ok", _("Granting again brings a scope back.")),
        ]

    def more(self, key: Key) -> dict[str, Any]:
        """Where nothing is unused there is nothing to send."""
        return {} if posture.list_unused(key.id)[0] else {"form": EmptyForm(), "submit_label": ""}


def word(kind: Kind, evidence: dict[str, object]) -> tuple[str, str]:
    """Title and sentence of a finding."""
    title, text = _WORDS[kind]
    since = evidence.get("since")
    shown = {**evidence, "since": word_distance(since, timezone.now()) if since else _("never")}  # type: ignore[arg-type]
    return str(title), str(text) % shown if evidence else ""
