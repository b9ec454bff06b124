"""What exists: providers, keys, their versions and sealed material, scopes, proofs, grants, and tenants' data keys.

Plaintext is in none of them. Ciphertext is in `Material` alone, a table that the staff role has no right on.
"""

from __future__ import annotations

from keys.models.findings import Acceptance
from keys.models.grants import Grant, RateWindow
from keys.models.handovers import HandOver
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
from keys.models.policies import AppliedPolicy, PlatformPolicy, PolicyEdition

__all__ = [
    "Acceptance",
    "AppliedPolicy",
    "Exposure",
    "Grant",
    "HandOver",
    "Key",
    "KeyVersion",
    "Material",
    "PlatformPolicy",
    "PolicyEdition",
    "Proof",
    "Provider",
    "RateWindow",
    "TenantKey",
    "UpstreamStatus",
]
