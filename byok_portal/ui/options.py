"""Radio cards as `ui/options.html` draws them, from (value, label, description) rows. Holds no choices itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def list_options(
    rows: Iterable[tuple[Any, ...]], *, chosen: Collection[str], disabled: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """One dict per card; `disabled` says for each value that cannot be chosen why."""
    reasons = disabled or {}
    return [
        {
            "value": value,
            "label": label,
            "description": description,
            "checked": value in chosen,
            "disabled_reason": reasons.get(value, ""),
        }
        for value, label, description in rows
    ]
