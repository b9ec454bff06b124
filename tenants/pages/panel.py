"""What the pages of a consumer and an offboarding show of keys; the keys app, above, installs the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Residue:
    """A key whose credential needs people at its provider."""

    key: str
    provider: str
    url: str


class KeyPanel(Protocol):
    """Questions about keys of the bound tenant; `slug` is the tenant's, for addresses."""

    def count_grants(self, consumer_ids: Collection[UUID]) -> dict[UUID, int]:
        """Live grants per consumer."""

    def list_grants(self, consumer_id: UUID, *, slug: str, may_end: bool) -> list[dict[str, Any]]:
        """Rows of tenants/consumer.html."""

    def find_call(self, consumer_id: UUID) -> tuple[str, str] | None:
        """Key slug and scope of a use that a grant allows now, or None."""

    def find_residues(self, version_ids: Collection[UUID], *, slug: str) -> dict[UUID, Residue]:
        """The keys of these versions."""


_installed: Final[list[KeyPanel]] = []


def install(panel: KeyPanel) -> None:
    """Called once by the keys app."""
    _installed[:] = [panel]


def get() -> KeyPanel:
    """The installed panel."""
    return _installed[0]
