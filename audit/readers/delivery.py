"""The reader that delivers the log to a security system as OCSF events: at least once, in order, numbered from 1."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db import connections, transaction

from audit.ocsf import Source, map_entry
from audit.readers.cursor import ALIAS, advance, ensure, lock, read_entries

if TYPE_CHECKING:
    from uuid import UUID

    from audit.models import Entry
    from audit.readers.destinations import Destination

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Delivery:
    """One stream of events to one destination: all tenants' or one tenant's, with numbers of its own."""

    name: str
    destination: Destination
    tenant_id: UUID | None = None

    def run_once(self, *, limit: int = BATCH) -> int:
        """Deliver the next events, then note it. Returns how many; 0 at the end or while another process delivers.

        A crash between the two delivers the same events under the same numbers again. Raises what the destination
        raises; nothing is noted then.
        """
        with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
            place = lock(cursor, self.name)
            if place is None:
                return 0
            position, delivered = place
            entries = read_entries(cursor, position, limit=limit, tenant_id=self.tenant_id)
            if entries:
                lines = [self._line(entry, delivered + n) for n, entry in enumerate(entries, start=1)]
                self.destination.deliver(lines, delivered=delivered, stream=self.name)
                advance(cursor, self.name, position=entries[-1].idx + 1, delivered=delivered + len(entries))
        return len(entries)

    def _line(self, entry: Entry, sequence: int) -> bytes:
        source = Source(
            tenant_id=entry.tenant_id, idx=entry.idx, tseq=entry.tseq, sequence=sequence, log_name=self.name
        )
        event = map_entry(entry.body, source)
        return json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def open_delivery(text: str, destination: Destination, *, tenant_id: UUID | None = None) -> Delivery:
    """The delivery to the destination that is written `text`, going on where it stood."""
    place = hashlib.sha256(text.encode()).hexdigest()[:16]
    delivery = Delivery(f"siem:{tenant_id or 'all'}:{place}", destination, tenant_id)
    ensure(delivery.name)
    return delivery
