"""The reader that delivers the log to a security system as OCSF events: at least once, in order, numbered from 1."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db import Error, connections, transaction

from audit.ocsf import Source, map_entry
from audit.readers.cursor import ALIAS, advance, ensure, lock, read_entries
from byok_portal.boundary import sessions
from byok_portal.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        with _sole_sender(self.name) as alone:
            return self._send(limit) if alone else 0

    def _send(self, limit: int) -> int:
        # Two transactions: none is open while the destination takes its time.
        with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
            place = lock(cursor, self.name)
            if place is None:
                return 0
            position, delivered = place
            entries = read_entries(cursor, position, limit=limit, tenant_id=self.tenant_id)
        if not entries:
            return 0
        lines = [self._line(entry, delivered + n) for n, entry in enumerate(entries, start=1)]
        self.destination.deliver(lines, delivered=delivered, stream=self.name)
        with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
            if lock(cursor, self.name) != place:
                message = "Another process delivered meanwhile: one process per destination."
                raise Conflict(message, code="siem_two_senders")
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


@contextmanager
def _sole_sender(name: str) -> Iterator[bool]:
    """Whether this session alone sends the stream, for the block. The lock ends with the session, crash or not."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    alone = sessions.take_lock(ALIAS, key)
    try:
        yield alone
    finally:
        # A session that broke has lost it already.
        if alone and connections[ALIAS].connection is not None:
            with suppress(Error), connections[ALIAS].cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [key])
