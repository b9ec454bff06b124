"""What every key-wrapper offers, and the register of those configured. Must never hold a data key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from byok_portal.errors import Unavailable

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.secrets import Secret


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A wrapped data key, and which key-encryption key wrapped it."""

    kek_ref: str
    blob: bytes


class BackupShred(StrEnum):
    """When copies of a wrapped data key in backups stop being of use."""

    NOW = "now"
    AT_BACKUP_HORIZON = "at_backup_horizon"


@dataclass(frozen=True, slots=True)
class ShredStatement:
    """What shredding really did. The offboarding certificate prints `statement` word for word."""

    wrapper: str
    kek_destroyed: bool
    backups: BackupShred
    statement: str


class Wrapper(Protocol):
    """Wraps a tenant's data keys with a key-encryption key that the database never holds.

    `aad` comes from `envelope.dek_aad`. `unwrap` raises IntegrityError when anything differs from `wrap`.
    """

    @property
    def name(self) -> str:
        """The word stored in `tenant_key.wrapper`."""

    def wrap(self, dek: Secret, *, tenant_id: UUID, aad: bytes) -> Wrapped:
        """Wrap 32 bytes of data key for one tenant."""

    def unwrap(self, wrapped: Wrapped, *, tenant_id: UUID, aad: bytes) -> Secret:
        """Return the data key. Raises IntegrityError for another tenant, version, purpose or blob."""

    def shred(self, *, tenant_id: UUID, kek_ref: str) -> ShredStatement:
        """Destroy what can be destroyed of the tenant's key-encryption key; say truthfully what that was."""


class WrapperRegister:
    """The wrappers of this process, by name. Composition fills it; key services ask it."""

    def __init__(self) -> None:
        self._wrappers: dict[str, Wrapper] = {}

    def add(self, wrapper: Wrapper) -> None:
        """Add or replace the wrapper of that name."""
        self._wrappers[wrapper.name] = wrapper

    def get(self, name: str) -> Wrapper:
        """Return the wrapper that a stored data key names. Raises Unavailable; there is no fallback."""
        try:
            return self._wrappers[name]
        except KeyError:
            message = f"the key wrapper {name!r} is not configured"
            raise Unavailable(message) from None


register = WrapperRegister()
