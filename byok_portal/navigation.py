"""The shell around a tenant's pages: where the person is, where they can go. A context processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.boundary import binding
from byok_portal.boundary.permissions import ROLE_PERMISSIONS, Permission
from keys.selectors import count_open_incidents
from tenants.pages.inbox import MOST, word_count
from tenants.services import notices

if TYPE_CHECKING:
    from django.http import HttpRequest

    from byok_portal.boundary.directory import Place

_ITEMS: Final = (
    ("keys", gettext_lazy("Keys"), "key-round", "keys:list", Permission.KEY_READ),
    ("findings", gettext_lazy("Findings"), "search-check", "keys:findings", Permission.KEY_READ),
    ("incidents", gettext_lazy("Incidents"), "flame", "keys:incidents", Permission.KEY_READ),
    ("inbox", gettext_lazy("Inbox"), "inbox", "tenants:inbox", Permission.NOTICE_READ),
    ("consumers", gettext_lazy("Consumers"), "plug", "tenants:consumers", Permission.CONSUMER_READ),
    ("projects", gettext_lazy("Projects"), "folder", "keys:projects", Permission.PROJECT_READ),
    ("audit", gettext_lazy("Audit log"), "scroll-text", "audit:list", Permission.AUDIT_READ),
    ("campaigns", gettext_lazy("Recertification"), "clipboard-check", "keys:campaigns", Permission.KEY_READ),
    ("drills", gettext_lazy("Drills"), "siren", "keys:drills", Permission.KEY_READ),
    ("policy", gettext_lazy("Policy"), "scale", "keys:policy", Permission.KEY_READ),
    ("jobs", gettext_lazy("Jobs"), "list-checks", "tenants:jobs", Permission.JOB_READ),
    ("members", gettext_lazy("Members"), "users", "tenants:members", Permission.MEMBER_READ),
)
_ENDING: Final = frozenset({"offboarding", "offboarded"})


def shell(request: HttpRequest) -> dict[str, Any]:
    """`shell` for pages inside a tenant; nothing elsewhere."""
    place: Place | None = getattr(request, "byok_place", None)
    if place is None:
        return {}
    places: list[Place] = getattr(request, "byok_places", [])
    return {
        "shell": {
            "home_url": reverse("keys:list", args=[place.slug]),
            "tenant": _tenant(place),
            "tenants": [{**_tenant(each), "current": each.tenant_id == place.tenant_id} for each in places],
            "choose_url": reverse("tenants:choose") if len(places) > 1 else "",
            "nav": list(_nav(place, getattr(request, "byok_section", ""), counts=_counts(request, place))),
            "me": {"name": str(request.user), "sub": place.role.value.capitalize()},
        }
    }


def _tenant(place: Place) -> dict[str, str]:
    url = reverse("keys:list", args=[place.slug])
    return {"name": place.name, "sub": place.state.capitalize(), "url": url}


def _counts(request: HttpRequest, place: Place) -> dict[str, str]:
    """For the badges. Empty where no page of the tenant is being rendered, such as an error page."""
    if binding.find_tenant() != place.tenant_id or not connections[binding.get_alias()].in_atomic_block:
        return {}
    user_id: Any = request.user.pk
    return {
        "inbox": word_count(notices.count_unread(user_id, at_most=MOST)),
        "incidents": word_count(count_open_incidents(at_most=MOST)),
    }


def _nav(place: Place, section: str, *, counts: dict[str, str]) -> Any:
    items: list[tuple[str, Any, str, str, Permission]] = list(_ITEMS)
    if place.state in _ENDING:
        items.append(("offboarding", _("Offboarding"), "door-open", "tenants:offboarding", Permission.TENANT_READ))
    for name, label, icon, url_name, permission in items:
        if permission in ROLE_PERMISSIONS[place.role]:
            url = reverse(url_name, args=[place.slug])
            count = counts.get(name, "")
            badge = {"count": count, "alert": bool(count)}
            yield {"label": label, "icon": icon, "url": url, "current": name == section, **badge}
