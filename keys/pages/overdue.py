"""What the page of a key says when its rotation is overdue: what follows, and the way out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.translation import gettext as _

from byok_portal.ui.wording import word_distance, word_moment
from keys import recertification, rulebook
from keys.policies import earliest
from keys.restrictions import has_come
from keys.states import ClockReason, KeyState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keys.models import Key


def list_notices(key: Key, remedy: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """One notice from the due date on; `remedy` is the action that ends it, if the person may take it."""
    now, suspends_at = timezone.now(), rulebook.suspends_at(key)
    is_age = key.suspends_for in ("", ClockReason.OVERDUE)
    is_suspended = key.state == KeyState.SUSPENDED or has_come(suspends_at, now)
    if not (has_come(key.rotation_due_at, now) or (key.suspends_for and is_age and is_suspended)):
        return []
    says = []
    if is_age and suspends_at is not None and is_suspended:
        says.append(_("Every use is refused since %(when)s.") % {"when": word_moment(suspends_at)})
    elif is_age and suspends_at is not None:
        says.append(_("It is suspended %(when)s.") % {"when": word_distance(suspends_at, now)})
    if has_come(rulebook.deadlines_of(key).blocks_grants_at, now):
        says.append(_("New grants are refused."))
    says.append(_("Another version ends this; its consumers and grants stay."))
    link = {"url": str(remedy["url"]), "action": str(remedy["label"])} if remedy else {}
    return [{"level": "bad", "title": _("Its rotation is overdue."), "text": " ".join(says), **link}]


def list_unconfirmed(key: Key, url: str) -> list[dict[str, str]]:
    """One notice from the day on which an owner should have confirmed the key; `url` for one who may still."""
    now = timezone.now()
    since = earliest(key.recertify_due_at, recertification.find_unconfirmed([key.id]).get(key.id))
    if not has_come(since, now):
        return []
    says = []
    if key.suspends_for == ClockReason.NOT_RECERTIFIED and key.suspends_at is not None:
        says.append(_("Uses are refused from %(when)s on.") % {"when": word_moment(key.suspends_at)})
    if has_come(recertification.find_block(key.id), now):
        says.append(_("New grants are refused."))
    says.append(_("Its owner or backup owner confirms it, and that ends this."))
    link = {"url": url, "action": _("Look and answer")} if url else {}
    return [{"level": "bad", "title": _("No owner has confirmed it."), "text": " ".join(says), **link}]
