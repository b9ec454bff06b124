"""Which changes of a key its page offers: those that the state allows and the person may make. The services decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from byok_portal.boundary.permissions import Permission
from keys.restrictions import has_come
from keys.states import ClockReason, KeyState

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.models import Key, KeyVersion


class Offer(NamedTuple):
    """One change: its page, its word and in which states of the key it makes sense."""

    name: str
    label: Any
    icon: str
    permission: Permission
    states: frozenset[KeyState]
    danger: bool = False


_P = Permission
_LIVE: Final = frozenset({KeyState.ACTIVE, KeyState.SUSPENDED})
_OPEN: Final = _LIVE | {KeyState.PENDING}
OFFERS: Final = (
    Offer("activate", _("Activate"), "check", _P.KEY_ACTIVATE, frozenset({KeyState.PENDING})),
    Offer("rotate", _("Rotate"), "rotate-cw", _P.KEY_ROTATE, frozenset({KeyState.ACTIVE})),
    Offer("resume", _("Resume"), "play", _P.KEY_RESUME, frozenset({KeyState.SUSPENDED})),
    Offer("prove", _("Prove again"), "refresh-cw", _P.KEY_PROVE, _OPEN),
    Offer("suspend", _("Suspend"), "pause", _P.KEY_SUSPEND, frozenset({KeyState.ACTIVE})),
    Offer("hand-over", _("Hand over"), "users", _P.KEY_HAND_OVER, _OPEN),
    Offer("recertify", _("Confirm"), "clipboard-check", _P.KEY_CONFIRM, _LIVE),
    Offer("canary", _("Canary flag"), "siren", _P.DRILL_RUN, _LIVE),
    Offer("key-project", _("Set project"), "folder", _P.PROJECT_EDIT, _OPEN),
    Offer("withdraw", _("Withdraw"), "undo-2", _P.KEY_WITHDRAW, frozenset({KeyState.PENDING}), danger=True),
    Offer("revoke", _("Revoke"), "ban", _P.KEY_REVOKE, _OPEN, danger=True),
    Offer(
        "compromise",
        _("Report an exposure"),
        "flame",
        _P.KEY_COMPROMISE,
        _OPEN | {KeyState.REVOKED},
        danger=True,
    ),
    Offer("quarantine", _("Quarantine"), "flame", _P.KEY_SUSPEND, _LIVE, danger=True),
)
_PRIMARY: Final = ("activate", "rotate", "resume")
_NOT_IN_QUARANTINE: Final = ("resume", "quarantine")
_EXPOSURE: Final = ("compromise", "quarantine")


def list_actions(
    key: Key,
    draining: KeyVersion | None,
    *,
    slug: str,
    permits: Callable[[Permission], bool],
    quarantined: bool = False,
) -> list[dict[str, Any]]:
    """The menu of a key. Out of a quarantine leads a rotation, or the end of its incident, and no resuming."""
    found = [
        {
            "name": offer.name,
            "label": offer.label,
            "icon": offer.icon,
            "danger": offer.danger,
            "url": reverse(f"keys:{offer.name}", args=[slug, key.slug]),
        }
        for offer in OFFERS
        if (key.state in offer.states or (offer.name == "rotate" and (waits_for_rotation(key) or quarantined)))
        and not (quarantined and offer.name in _NOT_IN_QUARANTINE)
        and permits(offer.permission)
        and not (offer.name == "rotate" and draining)
    ]
    if draining is not None and permits(Permission.KEY_ROTATE):
        found[:0] = _list_drain_actions(key, draining, slug=slug)
    return found


def waits_for_rotation(key: Key) -> bool:
    """Whether a suspended key may be rotated all the same: it is overdue."""
    is_overdue = key.suspends_for == ClockReason.OVERDUE or has_come(key.rotation_due_at, timezone.now())
    return key.state == KeyState.SUSPENDED and is_overdue


def _list_drain_actions(key: Key, draining: KeyVersion, *, slug: str) -> list[dict[str, Any]]:
    now = timezone.now()
    is_set = draining.dark_until is not None and draining.dark_until > now
    offers = [
        ("finish", "finish-rotation", _("Finish rotation"), "check"),
        ("end-brownout", "end-brownout", _("End the brownout"), "play")
        if is_set
        else ("brownout", "brownout", _("Rehearse the end"), "pause"),
    ]
    if draining.drain_until is not None and draining.drain_until > now and key.state == KeyState.ACTIVE:
        offers.append(("roll-back", "roll-back", _("Roll back"), "undo-2"))
    return [
        {
            "name": name,
            "label": label,
            "icon": icon,
            "danger": False,
            "url": reverse(f"keys:{page}", args=[slug, key.slug, draining.number]),
        }
        for name, page, label, icon in offers
    ]


def split_primary(found: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The change that the page puts forward, and the rest for its menu."""
    primary = next((each for each in found if each["name"] in (*_PRIMARY, "finish")), None)
    return primary, [each for each in found if each is not primary]


def split_exposure(found: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """What reports an exposure stands beside the menu, a click away; the strongest that the person may."""
    chosen = next((each for each in found if each["name"] in _EXPOSURE), None)
    return chosen, [each for each in found if each["name"] not in _EXPOSURE]
