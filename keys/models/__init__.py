"""What exists: providers, keys, their versions and sealed material, scopes, proofs, grants, and tenants' data keys.

Plaintext is in none of them. Ciphertext is in `Material` alone, a table that the staff role has no right on.
"""

from __future__ import annotations

from keys.models.grants import Grant, RateWindow
from keys.models.identity import (
    Exposure,
    Key,
    KeyVersion,
    Material,
    Proof,
    Provider,
    TenantKey,
    UpstreamStatus,
)

__all__ = [
    "Exposure",
    "Grant",
    "Key",
    "KeyVersion",
    "Material",
    "Proof",
    "Provider",
    "RateWindow",
    "TenantKey",
    "UpstreamStatus",
]
