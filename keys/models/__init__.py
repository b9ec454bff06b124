"""What exists: providers, keys, their versions and sealed material, scopes, proofs, grants, and tenants' data keys.

Plaintext is in none of them. Ciphertext is in `Material` alone, a table that the staff role has no right on.
"""

from __future__ import annotations

from keys.models.campaigns import Campaign, CampaignItem, Confirmation
from keys.models.drills import Drill, DrillSchedule
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
from keys.models.incidents import Incident, IncidentTask
from keys.models.policies import AppliedPolicy, PlatformPolicy, PolicyEdition
from keys.models.successions import Succession

__all__ = [
    "Acceptance",
    "AppliedPolicy",
    "Campaign",
    "CampaignItem",
    "Confirmation",
    "Drill",
    "DrillSchedule",
    "Exposure",
    "Grant",
    "HandOver",
    "Incident",
    "IncidentTask",
    "Key",
    "KeyVersion",
    "Material",
    "PlatformPolicy",
    "PolicyEdition",
    "Proof",
    "Provider",
    "RateWindow",
    "Succession",
    "TenantKey",
    "UpstreamStatus",
]
