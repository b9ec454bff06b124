"""The choice of provider, preset, scopes and custody as the registration form draws it. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from byok_portal.ui.options import list_options
from keys.services.catalogue import entry_of
from keys.states import Custody

if TYPE_CHECKING:
    from collections.abc import Collection

    from keys.catalogue import ProviderEntry
    from keys.catalogue.entries import ScopeEntry
    from keys.models import Provider

_LEVELS: Final = (
    (gettext_lazy("No access"), gettext_lazy("Pick at least one scope.")),
    (gettext_lazy("Low exposure"), gettext_lazy("A thief could learn little and change nothing.")),
    (gettext_lazy("Medium exposure"), gettext_lazy("A thief could read stored data.")),
    (gettext_lazy("High exposure"), gettext_lazy("A thief could change what your services rely on.")),
    (gettext_lazy("Critical exposure"), gettext_lazy("A thief could take over the account or destroy data.")),
)
_CUSTODIES: Final = (
    (
        Custody.SEALED.value,
        gettext_lazy("Sealed here"),
        gettext_lazy("Encrypted under a key of your tenant; opened per use."),
    ),
    (
        Custody.REFERENCED.value,
        gettext_lazy("Referenced"),
        gettext_lazy("Stays in your own secrets manager and is fetched per use."),
    ),
    (
        Custody.VERIFIER.value,
        gettext_lazy("Verifier only"),
        gettext_lazy("Only a keyed hash is kept; you present the secret."),
    ),
)
_LATER: Final = gettext_lazy("This installation offers sealed custody only.")


def find_obstacle(provider: Provider) -> str:
    """Why no key of this provider can be registered, or nothing."""
    if not provider.is_enabled:
        return _("Switched off by the platform.")
    if entry_of(provider).adapter == "none":
        return _("Control of its keys cannot be proven yet, so none can be registered.")
    return ""


def rotation_note(entry: ProviderEntry) -> str:
    """What a revoke does at this provider, in a sentence."""
    first, stop, _rest = entry.revoke_note.partition(". ")
    return first + stop.strip()


def entry_context(entry: ProviderEntry) -> dict[str, Any]:
    """The provider, as the form's head shows it."""
    shapes = ", ".join(dict.fromkeys(shape.label for shape in entry.shapes if shape.mode != "admin"))
    hint = _("Expected: %(shapes)s. It is never shown again.") % {"shapes": shapes}
    return {
        "name": entry.name,
        "slug": entry.slug,
        "abbreviation": entry.abbreviation,
        "tile": entry.tile,
        "endpoint_kind": entry.endpoint.kind,
        "rotation_note": entry.summary,
        "secret_hint": hint if shapes else _("It is never shown again."),
        "guide": list(entry.rotation_steps),
    }


def first_scopes(entry: ProviderEntry) -> list[str]:
    """What is ticked at first: the suggested preset, else the smallest scopes."""
    suggested = next((preset for preset in entry.presets if preset.suggested), None)
    return list(suggested.scopes) if suggested else [scope.id for scope in entry.scopes if scope.minimum]


def preset_scopes(entry: ProviderEntry, preset_id: str) -> list[str]:
    """The scopes of a preset, for browsers without JavaScript; an unknown preset has none."""
    return next((list(preset.scopes) for preset in entry.presets if preset.id == preset_id), [])


def list_custodies() -> list[dict[str, Any]]:
    """Where the material may live; only what this installation can do is enabled."""
    off = dict.fromkeys((Custody.REFERENCED.value, Custody.VERIFIER.value), _LATER)
    return list_options(_CUSTODIES, chosen={Custody.SEALED.value}, disabled=off)


def scope_context(entry: ProviderEntry, chosen: Collection[str]) -> dict[str, Any]:
    """Presets, grouped scopes and the summary of what is ticked."""
    groups = [
        {
            "name": group.name,
            "icon": group.icon,
            "scopes": [scope_of(scope, chosen) for scope in entry.scopes if scope.group == group.id],
        }
        for group in entry.groups
    ]
    levels = [{"n": n, "label": label, "text": text} for n, (label, text) in enumerate(_LEVELS)]
    return {
        "groups": [group for group in groups if group["scopes"]],
        "presets": _presets(entry, set(chosen)),
        "levels": levels,
        "summary": _summary(entry, chosen, levels),
    }


def scope_of(scope: ScopeEntry, chosen: Collection[str]) -> dict[str, Any]:
    """One line of the picker."""
    return {
        "id": scope.id,
        "slug": scope.id.replace(":", "-").replace(".", "-").replace("/", "-"),
        "name": scope.name,
        "can": scope.can,
        "consequence": scope.consequence,
        "risk": {"n": scope.risk},
        "checked": scope.id in chosen,
    }


def _presets(entry: ProviderEntry, chosen: set[str]) -> list[dict[str, Any]]:
    ordered = sorted(entry.presets, key=lambda preset: not preset.suggested)
    return [
        {
            "id": preset.id,
            "name": preset.name,
            "description": preset.description,
            "scopes": " ".join(preset.scopes),
            "risk": {"n": max((s.risk for s in map(entry.scope, preset.scopes) if s), default=0)},
            "checked": set(preset.scopes) == chosen,
            "suggested": preset.suggested,
        }
        for preset in ordered
    ]


def _summary(entry: ProviderEntry, chosen: Collection[str], levels: list[dict[str, Any]]) -> dict[str, Any]:
    ticked = sorted((scope for scope in entry.scopes if scope.id in chosen), key=lambda scope: -scope.risk)
    level = levels[ticked[0].risk if ticked else 0]
    can = [{"text": scope.can, "n": scope.risk} for scope in ticked]
    return {**level, "granted": len(ticked), "total": len(entry.scopes), "can": can}
