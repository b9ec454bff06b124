"""The record: an inbox that business transactions write, and the numbered log that only the sequencer writes.

Entries are never changed or removed; triggers and grants refuse it for every role, the owner included. Everything
that outsiders verify is in entries, tiles and checkpoints; every other table can be made again from them.
"""

from __future__ import annotations

from audit.models.documents import Document
from audit.models.log import (
    Checkpoint,
    DataKey,
    Edge,
    Entry,
    InboxEvent,
    LogState,
    Outcome,
    PrivateDetail,
    PrunedHead,
    TenantHead,
    Tile,
)
from audit.models.readers import Reader, SearchBlock, UsageDay, UsageVersion

__all__ = [
    "Checkpoint",
    "DataKey",
    "Document",
    "Edge",
    "Entry",
    "InboxEvent",
    "LogState",
    "Outcome",
    "PrivateDetail",
    "PrunedHead",
    "Reader",
    "SearchBlock",
    "TenantHead",
    "Tile",
    "UsageDay",
    "UsageVersion",
]
