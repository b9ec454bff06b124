"""What a probe found, in words: every fact has a label, every value a form that people read. Decides nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.ui.wording import word_moment

if TYPE_CHECKING:
    from collections.abc import Mapping

_LABELS: Final = {
    "accessor": gettext_lazy("Token accessor"),
    "account": gettext_lazy("Account"),
    "bot_id": gettext_lazy("Bot"),
    "bound_cidrs": gettext_lazy("Only from networks"),
    "capabilities": gettext_lazy("Rights on its paths"),
    "cluster_id": gettext_lazy("Cluster id"),
    "cluster_name": gettext_lazy("Cluster"),
    "country": gettext_lazy("Country"),
    "display_name": gettext_lazy("Signed in as"),
    "entity_id": gettext_lazy("Identity"),
    "error": gettext_lazy("Error that it named"),
    "expire_time": gettext_lazy("Expires"),
    "explicit_max_ttl": gettext_lazy("Longest life"),
    "identity_policies": gettext_lazy("Policies of the identity"),
    "issue_time": gettext_lazy("Issued"),
    "last_cluster_id": gettext_lazy("Cluster of the last answer"),
    "login": gettext_lazy("Login"),
    "num_uses": gettext_lazy("Uses left"),
    "organization": gettext_lazy("Organisation"),
    "orphan": gettext_lazy("Lives on without its parent"),
    "path": gettext_lazy("Made by"),
    "period": gettext_lazy("Renewal period"),
    "policies": gettext_lazy("Policies"),
    "project": gettext_lazy("Project"),
    "renewable": gettext_lazy("Renewable"),
    "status": gettext_lazy("HTTP status"),
    "team": gettext_lazy("Workspace"),
    "token_id": gettext_lazy("Token id"),
    "token_name": gettext_lazy("Token name"),
    "ttl": gettext_lazy("Life left when asked"),
    "type": gettext_lazy("Kind of token"),
    "upstream_scopes": gettext_lazy("Scopes at the provider"),
    "version": gettext_lazy("Server version"),
}
_SECONDS: Final = {"explicit_max_ttl", "period", "ttl"}
_TIMES: Final = {"expire_time", "issue_time"}
_NONE: Final = {
    "bound_cidrs": gettext_lazy("Any network"),
    "explicit_max_ttl": gettext_lazy("No limit of its own"),
    "num_uses": gettext_lazy("No limit"),
}
"""What nothing means, where it means something; otherwise an empty fact is left out."""
_DAY: Final = 86_400
_HOUR: Final = 3_600


def word_method(method: str, provider: str) -> str:
    """How control was proven; the part before the colon only repeats the provider."""
    if method.rpartition(":")[2] == "live-probe":
        return _("Live, read-only question to %(provider)s") % {"provider": provider}
    return method.rpartition(":")[2].replace("-", " ").replace("_", " ").capitalize()


def word_evidence(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, value) of every fact that says something."""
    rows = [(str(_LABELS.get(name, _label(name))), _value(name, value)) for name, value in evidence.items()]
    return [(label, value) for label, value in rows if value]


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _value(name: str, value: Any) -> str:
    if value in (None, "", [], {}, 0) and not isinstance(value, bool):
        return str(_NONE.get(name, ""))
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_value('', inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name in _TIMES:
        return _moment(str(value))
    return _duration(value) if name in _SECONDS and isinstance(value, int) else str(value)


def _moment(text: str) -> str:
    try:
        return word_moment(datetime.fromisoformat(text))
    except ValueError:
        return text


def _duration(seconds: int) -> str:
    if seconds >= 2 * _DAY:
        return _("%(n)d days") % {"n": seconds // _DAY}
    return _("%(n)d hours") % {"n": seconds // _HOUR} if seconds >= 2 * _HOUR else _("%(n)d seconds") % {"n": seconds}
