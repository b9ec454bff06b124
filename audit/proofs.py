"""Proofs over published checkpoints: that an entry is in the signed tree, and that one tree extends another.

Runs inside a transaction of the caller. Formats: C2SP tlog-proof and tlog-checkpoint.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Final

from django.conf import settings

from audit import merkle, selectors, tree
from audit.models import Checkpoint, Entry, PrivateDetail
from audit.notes import parse_verifiers
from audit.tlog_proof import Proof
from byok_portal.boundary import binding
from byok_portal.errors import IntegrityError, InvalidInput, NotFound

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet

PATIENCE_MS: Final = 60_000
"""An event without a number after this long is no longer waiting (its UUIDv7 says when it was made)."""


def find_checkpoint() -> Checkpoint | None:
    """The newest published checkpoint; None while nothing was signed."""
    return list_published().first()


def list_published() -> QuerySet[Checkpoint]:
    """Checkpoints of the log whose keys are configured, newest first: one opened anew keeps those of its old name."""
    found = Checkpoint.objects.order_by("-size")
    names = _origins(settings.LOG_VKEY)
    return found.filter(origin__in=names) if names else found


@functools.lru_cache(maxsize=4)
def _origins(keys: str) -> tuple[str, ...]:
    return tuple({key.name for key in parse_verifiers(keys)}) if keys.strip() else ()


def get_checkpoint() -> Checkpoint:
    """The newest published checkpoint. Raises NotFound while nothing was signed."""
    found = find_checkpoint()
    if found is None:
        message = "No checkpoint is published yet."
        raise NotFound(message)
    return found


def find_receipt(event_id: UUID) -> Entry | None:
    """The entry of an `Audit-Id`; None while it waits for its number. Raises NotFound for an unknown id.

    Raises IntegrityError for an event that was committed and never numbered: somebody removed it from the inbox.
    """
    tenant_id = binding.get_tenant()
    entry = Entry.objects.filter(tenant_id=tenant_id, event_id=event_id).first()
    if entry is not None:
        return entry
    # Written in the transaction of the event; the inbox itself is nobody's to read.
    if not PrivateDetail.objects.filter(tenant_id=tenant_id, event_id=event_id).exists():
        raise selectors.make_missing()
    if time.time() * 1000 - (event_id.int >> 80) > PATIENCE_MS:
        message = "This event was committed, but it is not in the log: it was removed before it got its number."
        raise IntegrityError(message, code="entry_missing")
    return None


def find_proof(entry: Entry) -> Proof | None:
    """Proof that the entry is in the newest signed tree; None until a checkpoint covers it."""
    checkpoint = find_checkpoint()
    return prove(entry.idx, checkpoint) if checkpoint is not None and entry.idx < checkpoint.size else None


def prove(index: int, checkpoint: Checkpoint) -> Proof:
    """The proof of one position under this checkpoint."""
    hashes = merkle.inclusion_proof(index, checkpoint.size, tree.reader(binding.get_alias()))
    return Proof(index, tuple(hashes), checkpoint.note)


def prove_extension(old: int, new: int) -> list[bytes]:
    """Hashes that show the tree of `new` leaves to extend that of `old`. Raises InvalidInput outside the signed log."""
    newest = get_checkpoint().size
    if not 0 <= old <= new <= newest:
        message = f"from and to are tree sizes with 0 <= from <= to <= {newest}."
        raise InvalidInput(message, code="out_of_range", field="from" if old > new or old < 0 else "to")
    if old in {0, new}:
        return []
    return merkle.consistency_proof(old, new, tree.reader(binding.get_alias()))
