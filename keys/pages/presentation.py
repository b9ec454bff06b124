"""Keys, versions and grants in the words of the pages. Reads nothing and decides nothing.

What happened here and what happened at the provider are always told apart: a local end never claims an upstream one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from byok_portal.ui.wording import word_distance, word_moment
from keys.models import UpstreamStatus
from keys.restrictions import has_come
from keys.selectors import end_of
from keys.services.catalogue import entry_of
from keys.states import GrantState, KeyState, VersionState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from keys.catalogue import ProviderEntry
    from keys.models import Grant, Key, KeyVersion, Proof, Provider

SOON_DAYS: Final = 30
ENDED: Final = (KeyState.REVOKED, KeyState.COMPROMISED)
_KEY_WORDS: Final = {
    KeyState.PENDING: gettext_lazy("Waiting for activation"),
    KeyState.ACTIVE: gettext_lazy("Active"),
    KeyState.SUSPENDED: gettext_lazy("Suspended"),
    KeyState.REVOKED: gettext_lazy("Revoked"),
    KeyState.COMPROMISED: gettext_lazy("Compromised"),
}


def provider_of(provider: Provider) -> dict[str, str]:
    """The provider's tile."""
    entry = entry_of(provider)
    return {"name": entry.name, "abbreviation": entry.abbreviation, "tile": entry.tile, "slug": entry.slug}


def key_of(key: Key, newest: KeyVersion | None, *, slug: str) -> dict[str, Any]:
    """The key's name, address and tile."""
    return {
        "name": key.name,
        "slug": key.slug,
        "url": reverse("keys:detail", args=[slug, key.slug]),
        "provider": provider_of(key.provider),
        "hint": ending_of(newest),
        "environment": key.environment.capitalize(),
    }


def ending_of(version: KeyVersion | None) -> str:
    """The last four characters, if the version has any to show."""
    return f"…{version.hint}" if version is not None and version.hint else ""


def state_of(key: Key, current: KeyVersion | None, draining: KeyVersion | None) -> tuple[str, str]:
    """Css name and word. The clock counts here as it does in a decision, whether or not a job has run."""
    now = timezone.now()
    if key.state not in ENDED and ends_at(key, current) <= now:
        return "expired", _("Expired")
    if key.state == KeyState.ACTIVE and has_come(key.suspends_at, now):
        return "suspended", str(_KEY_WORDS[KeyState.SUSPENDED])
    if key.state == KeyState.ACTIVE and _is_draining(draining, now):
        return "rotating", _("Rotating")
    css = "verified" if key.state == KeyState.PENDING else str(key.state)
    return css, str(_KEY_WORDS[KeyState(key.state)])


def ends_at(key: Key, current: KeyVersion | None) -> datetime:
    """When the key or its credential ends, whichever comes first."""
    end = end_of(key.ends_on)
    return min(end, current.expires_at) if current is not None and current.expires_at else end


def due_of(key: Key, current: KeyVersion | None, draining: KeyVersion | None) -> dict[str, Any]:
    """What comes next: the end of a drain, the next rotation, or the end of the key or of its credential."""
    now = timezone.now()
    if key.state in ENDED:
        return {
            "css": "off",
            "label": _("Ended"),
            "sub": word_distance(key.ended_at or now, now),
            "percent": 0,
        }
    if draining is not None and draining.drain_until and draining.drain_until > now:
        since = current.activated_at if current is not None and current.activated_at else draining.created_at
        until = _("old one ends %(when)s") % {"when": word_distance(draining.drain_until, now)}
        percent = _elapsed(since, draining.drain_until, now)
        return {"css": "busy", "label": _("Two versions live"), "sub": until, "percent": percent}
    end = ends_at(key, current)
    if key.rotation_due_at is not None and key.rotation_due_at < end:
        return _rotation_due(key.rotation_due_at, current, now)
    of_credential = current is not None and current.expires_at == end
    label = _("Ended %(when)s") if end <= now else _("Ends %(when)s")
    css = "overdue" if end <= now else "soon" if (end - now).days < SOON_DAYS else "fresh"
    since = current.created_at if of_credential and current is not None else key.created_at
    return {
        "css": css,
        "label": label % {"when": word_distance(end if of_credential else key.ends_on, now)},
        "sub": _("credential's own end") if of_credential else _("end date of the key"),
        "percent": _elapsed(since, end, now),
    }


def _rotation_due(due: datetime, current: KeyVersion | None, now: datetime) -> dict[str, Any]:
    since = current.activated_at if current is not None and current.activated_at else now
    is_over = due <= now
    label = _("Overdue since %(when)s") if is_over else _("Rotate %(when)s")
    return {
        "css": "overdue" if is_over else "soon" if (due - now).days < SOON_DAYS else "fresh",
        "label": label % {"when": word_distance(due, now)},
        "sub": _("rotation due by its policy"),
        "percent": _elapsed(since, due, now),
    }


def risk_of(entry: ProviderEntry, scopes: Iterable[str]) -> int:
    """The highest risk of these scopes, 0 to 4."""
    return max((scope.risk for scope in map(entry.scope, scopes) if scope), default=0)


def word_scopes(scopes: Iterable[str]) -> str:
    """One scope by name, more by number."""
    names = list(scopes)
    return names[0] if len(names) == 1 else ngettext("%(n)d scope", "%(n)d scopes", len(names)) % {"n": len(names)}


def word_deliveries(deliveries: Iterable[str]) -> str:
    """Deliveries as a list of words."""
    return ", ".join(deliveries).capitalize()


def grant_state(grant: Grant) -> tuple[str, str]:
    """Css name and word; a grant whose time is over has expired, whatever its row says."""
    if grant.state == GrantState.ACTIVE and grant.expires_at <= timezone.now():
        return "expired", _("Expired")
    return str(grant.state), str(grant.get_state_display())


def version_of(version: KeyVersion, provider: str) -> dict[str, Any]:
    """One row of the versions table."""
    is_current = version.state in {VersionState.ACTIVE, VersionState.SUSPENDED}
    upstream = _upstream_state(version)
    return {
        "number": version.number,
        "status": "draining" if version.state == VersionState.SUPERSEDED else version.state,
        "status_label": _("Draining") if version.state == VersionState.SUPERSEDED else version.get_state_display(),
        "ending": ending_of(version),
        "is_current": is_current,
        "made_current_at": version.activated_at,
        "drains_until": version.drain_until if version.state == VersionState.SUPERSEDED else None,
        "upstream_status": upstream[0],
        "upstream_label": upstream[1],
        "upstream_checked_at": version.upstream_checked_at,
        "ended_label": word_end(version, provider),
    }


def _upstream_state(version: KeyVersion) -> tuple[str, str]:
    """Css name and word. After an end here, the last good probe is no answer to whether it is dead there."""
    if version.upstream_status == UpstreamStatus.REVOKED_CONFIRMED:
        return "revoked", str(version.get_upstream_status_display())
    if version.ended_at is not None:
        return ("attention", _("Left to people")) if version.upstream_note else ("waiting", _("Not confirmed"))
    return version.upstream_status, str(version.get_upstream_status_display())


def word_end(version: KeyVersion, provider: str) -> str:
    """How a version ended here, and what is known of it at the provider."""
    if version.ended_at is None:
        return ""
    word = {
        VersionState.COMPROMISED: _("Compromised"),
        VersionState.DESTROYED: _("Destroyed"),
        VersionState.EXPIRED: _("Expired"),
    }.get(VersionState(version.state), _("Revoked"))
    here = _("%(word)s here at %(at)s") % {"word": word, "at": word_moment(version.ended_at)}
    return f"{here}; {_word_upstream(version, provider)}"


def _word_upstream(version: KeyVersion, provider: str) -> str:
    if version.upstream_status == UpstreamStatus.REVOKED_CONFIRMED and version.upstream_checked_at:
        when = {"provider": provider, "at": word_moment(version.upstream_checked_at)}
        return _("at %(provider)s: confirmed dead at %(at)s") % when
    if version.upstream_note:
        note = {"provider": provider, "note": version.upstream_note}
        return _("not possible at %(provider)s: %(note)s") % note
    if version.state == VersionState.DESTROYED:
        return _("at %(provider)s: nobody was asked to end it") % {"provider": provider}
    return _("at %(provider)s: waiting for confirmation") % {"provider": provider}


def comparison_of(proof: Proof, chosen: Iterable[str], entry: ProviderEntry) -> list[dict[str, Any]]:
    """Chosen scopes against what the provider reports, the excess after them."""
    lines = [_chosen(proof, scope_id, entry) for scope_id in chosen]
    for excess in proof.excess:
        scope = entry.scope(excess.get("scope") or "")
        lines.append(
            {
                "state": "excess",
                "name": scope.name if scope else _("Beyond the catalogue"),
                "id": scope.id if scope else "",
                "risk": excess["risk"],
                "text": _("%(says)s. Refused here; a thief could use it directly.")
                % {"says": excess["says"].rstrip(".")},
            }
        )
    return lines


def _chosen(proof: Proof, scope_id: str, entry: ProviderEntry) -> dict[str, Any]:
    scope = entry.scope(scope_id)
    if proof.effective_scopes is None:
        state, text = "unknown", _("Chosen. The provider cannot tell whether the credential has it.")
    elif scope_id in proof.missing:
        state, text = "missing", _("Chosen, but the provider did not give it. Calls will fail there.")
    else:
        state, text = "present", _("Chosen and present.")
    name, risk = (scope.name, scope.risk) if scope else (scope_id, 0)
    return {"state": state, "name": name, "id": scope_id, "risk": risk, "text": text}


def _is_draining(draining: KeyVersion | None, now: datetime) -> bool:
    return draining is not None and draining.drain_until is not None and draining.drain_until > now


def _elapsed(since: datetime, until: datetime, now: datetime) -> int:
    whole = (until - since).total_seconds()
    return round(min(100.0, max(0.0, 100 * (now - since).total_seconds() / whole))) if whole > 0 else 100
