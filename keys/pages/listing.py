"""The list of keys: newest first, with tabs for what needs somebody, and the numbers above it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db.models import Count, Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from audit.usage import count_uses
from byok_portal.boundary.keyset import take_page
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission
from keys import selectors
from keys.models import Key, KeyVersion
from keys.pages import actions, presentation
from keys.services.catalogue import entry_of
from keys.states import KeyState, VersionState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from audit.usage import TenantUsage

PAGE: Final = 50
TABS: Final = (
    ("", gettext_lazy("All")),
    ("attention", gettext_lazy("Needs attention")),
    ("rotating", gettext_lazy("Rotating")),
    ("ended", gettext_lazy("Ended")),
)
_LIVE: Final = Q(state__in=[KeyState.ACTIVE, KeyState.SUSPENDED])
_ENDED: Final = Q(state__in=selectors.ENDED_KEYS)
_MOST_LETTERS: Final = 80


def filter_tabs() -> dict[str, Q]:
    """What each tab shows. `soon` is no tab, but one of the numbers."""
    now = timezone.now()
    horizon = now + timedelta(days=presentation.SOON_DAYS)
    versions = KeyVersion.objects.filter(key_id=OuterRef("id"), tenant_id=OuterRef("tenant_id"))
    dying = Exists(versions.filter(state__in=selectors.CURRENT, expires_at__lt=horizon))
    soon = _LIVE & (Q(ends_on__lt=horizon.date()) | Q(dying))
    draining = Exists(versions.filter(state=VersionState.SUPERSEDED, drain_until__gt=now))
    waits = Q(state__in=[KeyState.PENDING, KeyState.SUSPENDED])
    overdue = _LIVE & Q(rotation_due_at__lte=now)
    return {"": Q(), "attention": waits | soon | overdue, "rotating": Q(draining), "ended": _ENDED, "soon": soon}


class ListPage(TenantPage):
    """All keys of the tenant."""

    permission: ClassVar[Permission] = Permission.KEY_READ
    section: ClassVar[str] = "keys"
    may_lag: ClassVar[bool] = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Filter by tab, provider and the text that is searched."""
        tabs, usage = filter_tabs(), count_uses()
        wanted = {name: request.GET.get(name, "").replace("\0", "") for name in ("tab", "provider", "q")}
        tab = wanted["tab"] if wanted["tab"] in dict(TABS) else ""
        counts = _count(tabs)
        found = _search(selectors.list_keys().filter(tabs[tab]), **wanted)
        page = take_page(found, request.GET, size=PAGE)
        context = {
            "crumbs": [(_("Keys"), "")],
            "stats": _stats(counts, usage),
            "tabs": [
                (label, f"?tab={name}" if name else "?", counts[name or "all"], name == tab) for name, label in TABS
            ],
            "rows": self._rows(page.rows, usage),
            "q": wanted["q"],
            "tab": tab,
            "provider": wanted["provider"],
            "providers": selectors.list_providers().filter(id__in=Key.objects.values("provider_id")),
            "pager": {"label": _("Newest first"), **page.urls},
            "is_filtered": any(wanted.values()) or counts["all"] > 0,
            "clear_url": reverse("keys:list", args=[self.place.slug]),
            "register_url": self._register_url(),
        }
        return self.render("keys/list.html", context)

    def _register_url(self) -> str:
        may = self.permits(Permission.KEY_REGISTER) and self.place.state == "active"
        return reverse("keys:register", args=[self.place.slug]) if may else ""

    def _rows(self, found: Sequence[Key], usage: TenantUsage) -> list[dict[str, Any]]:
        newest, draining = _load_versions([key.id for key in found])
        return [self._row(key, newest.get(key.id), draining.get(key.id), usage) for key in found]

    def _row(
        self, key: Key, newest: KeyVersion | None, draining: KeyVersion | None, usage: TenantUsage
    ) -> dict[str, Any]:
        status, label = presentation.state_of(key, newest, draining)
        uses = usage.of(key.id)
        slug = self.place.slug
        return {
            "key": presentation.key_of(key, newest, slug=slug),
            "status": status,
            "status_label": label,
            "risk": presentation.risk_of(entry_of(key.provider), key.scopes),
            "scopes_label": presentation.word_scopes(key.scopes),
            "uses": {
                "trend": "alarm" if uses.denied * 2 > uses.total else "",
                "points": uses.points if uses.total else [],
                "total": uses.total,
            },
            "due": presentation.due_of(key, newest, draining),
            "actions": actions.list_actions(key, draining, slug=slug, permits=self.permits),
        }


def _search(found: QuerySet[Key], *, q: str, provider: str, **_rest: str) -> QuerySet[Key]:
    if provider:
        found = found.filter(provider__slug=provider[:60])
    text = q.strip()[:_MOST_LETTERS]
    if not text:
        return found
    ending = text.removeprefix("…")
    versions = KeyVersion.objects.filter(key_id=OuterRef("id"), tenant_id=OuterRef("tenant_id"))
    named = Q(name__icontains=text) | Q(slug__icontains=text) | Q(purpose__icontains=text)
    return found.filter(named | Q(Exists(versions.filter(hint=ending))))


def _load_versions(key_ids: list[UUID]) -> tuple[dict[UUID, KeyVersion], dict[UUID, KeyVersion]]:
    """The newest version and the draining one of each key, in one query each."""
    versions = KeyVersion.objects.filter(key_id__in=key_ids)
    newest = versions.order_by("key_id", "-number").distinct("key_id")
    draining = versions.filter(state=VersionState.SUPERSEDED)
    return {v.key_id: v for v in newest}, {v.key_id: v for v in draining}


def _count(tabs: dict[str, Q]) -> dict[str, int]:
    numbers = {name: Count("id", filter=condition) for name, condition in tabs.items() if name}
    counted: dict[str, int] = Key.objects.aggregate(
        all=Count("id"),
        live=Count("id", filter=_LIVE),
        providers=Count("provider_id", filter=_LIVE, distinct=True),
        **numbers,
    )
    return counted


def _stats(counts: dict[str, int], usage: TenantUsage) -> dict[str, Any]:
    return {
        "live": counts["live"],
        "providers": counts["providers"],
        "expiring_soon": counts["soon"],
        "needs_attention": counts["attention"],
        "attention_url": "?tab=attention",
        "uses_30d": usage.whole.total,
        "denied_30d": usage.whole.denied,
        "points": usage.whole.points if usage.whole.total else [],
    }
