"""Introspection in the gate: is a credential that was presented a live key of the asking consumer's tenant?

Must never keep or show the credential: only its keyed fingerprint leaves this module.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from audit.models import Outcome
from audit.services.recording import Event, Target
from byok_portal.boundary.actors import Actor, ActorKind, Once, Origin
from byok_portal.boundary.permissions import TOKEN_PERMISSIONS, Permission
from byok_portal.boundary.problems import is_database_away
from byok_portal.errors import Forbidden, PortalError, Unauthenticated, Unavailable
from keys import use_answers
from keys.fingerprints import tenant_fingerprint
from keys.gate import arrays
from keys.gate.batches import TaskLane
from keys.gate.judging import PASS_ON, PassOn, clock
from keys.gate.lanes import recorded
from keys.gate.links import unreachable
from keys.gate.records import record_of, unwrap_audit_key
from keys.gate.statements import ASKERS, CREDENTIALS, RECORD
from keys.liveness import CredentialFacts, is_live
from keys.selectors import end_of
from keys.services import custody

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from byok_portal.boundary.secrets import Secret
    from keys.gate.links import Database, Link
    from keys.gate.records import Record
    from keys.gate.replies import Reply, Writer

_PERMITTED: Final = Permission.CREDENTIAL_INTROSPECT


@dataclass(slots=True)
class Presented:
    """One request. `digest` is of the asking consumer's bearer token, `plaintext` the credential it was shown."""

    digest: bytes
    plaintext: Secret
    address: str
    user_agent: str
    request_id: UUID


@dataclass(slots=True)
class _Asker:
    tenant_id: UUID
    actor: Actor
    audit_key: custody.AuditKey | None
    fingerprints: list[bytes]


@dataclass(frozen=True, slots=True)
class _Found:
    number: int
    key_id: UUID
    scopes: list[str]
    environment: str
    facts: CredentialFacts


class IntrospectLane(TaskLane["Presented", "Reply | PassOn"]):
    """One batch at a time: who asks, what was found, one record."""

    def __init__(self, database: Database, writer: Writer) -> None:
        super().__init__()
        self._database, self._writer = database, writer
        self._pepper = functools.lru_cache(maxsize=1024)(custody.unwrap_pepper)
        self._audit_key = functools.lru_cache(maxsize=1024)(unwrap_audit_key)

    async def work(self, items: Sequence[Presented]) -> Sequence[Reply | PassOn | Exception]:
        """As `batches.TaskLane`."""
        link = await self._database.get()
        try:
            return await self._work(link, items)
        except psycopg.Error as error:
            if is_database_away(error):
                raise unreachable() from None
            raise

    async def _work(self, link: Link, items: Sequence[Presented]) -> Sequence[Reply | PassOn | Exception]:
        rows = await link.run(ASKERS, (arrays.byteas([item.digest for item in items]),))
        found = {row[0]: row[1:] for row in (rows.load(place) for place in range(rows.count))}
        answers: list[Reply | PassOn | Exception] = [PASS_ON] * len(items)
        records: list[Record] = []
        askers: dict[int, _Asker] = {}
        for place, item in enumerate(items):
            try:
                asker = self._open(item, found.get(place + 1))
            except Forbidden as error:
                reply, record = self._forbid(item, error, found[place + 1])
                answers[place] = reply
                records.append(record)
            except PortalError as error:
                answers[place] = self._writer.problem(error, request_id=item.request_id)
            else:
                askers.update({place: asker} if asker is not None else {})
        known = await self._look_up(link, askers) if askers else {}
        now = clock()
        for place, asker in askers.items():
            if place not in known or known[place] is not None:
                answers[place], record = self._close(items[place], asker, known.get(place), now)
                records.append(record)
        if records:
            await link.run(RECORD, recorded(records))
        return answers

    def _open(self, item: Presented, row: tuple[Any, ...] | None) -> _Asker | None:
        """The asker; None for one whom the web must answer, such as a tenant without any fingerprint yet."""
        if row is None or not row[4]:
            raise Unauthenticated("The token is not known, has expired or was revoked.")
        tenant_id, _, _, _, _, audit_key, pepper, providers = row
        actor = _actor_of(item, row)
        if _PERMITTED not in actor.permissions:
            raise Forbidden(f"This needs the permission {_PERMITTED.value}.")
        if audit_key is None or pepper is None or pepper[3] is None:
            return None
        version, wrapper, kek_ref, wrapped, kcv = pepper
        secret = self._pepper(
            tenant_id, int.from_bytes(version, "big"), wrapper.decode(), kek_ref.decode(), wrapped, kcv
        )
        digests = [tenant_fingerprint(item.plaintext, pepper=secret, provider=slug) for slug in providers]
        return _Asker(tenant_id, actor, self._key_of(tenant_id, audit_key), digests)

    async def _look_up(self, link: Link, askers: dict[int, _Asker]) -> dict[int, _Found | None]:
        """What was found for each; None where a policy must be read that the gate does not read."""
        asked = [(place, asker.tenant_id, digest) for place, asker in askers.items() for digest in asker.fingerprints]
        if not asked:
            return {}
        values = (
            arrays.integers(tuple(place for place, _, _ in asked)),
            arrays.uuids([tenant_id for _, tenant_id, _ in asked]),
            arrays.byteas([digest for _, _, digest in asked]),
        )
        rows = await link.run(CREDENTIALS, values)
        loaded = [rows.load(place) for place in range(rows.count)]
        return {row[0]: None if row[-1] else _found_of(row) for row in loaded}  # the newest is the last

    def _close(self, item: Presented, asker: _Asker, found: _Found | None, now: datetime) -> tuple[Reply, Record]:
        active = found is not None and is_live(found.facts, now)
        target = Target("key", found.key_id) if found is not None else Target("tenant", asker.tenant_id)
        detail = {"active": active, "version": found.number if found is not None else 0}
        event = Event("credential.introspected", target, detail)
        outcome = Outcome.ALLOWED if active else Outcome.DENIED
        record = record_of(asker.actor, event, outcome, {}, asker.tenant_id, asker.audit_key)
        body = use_answers.introspected()
        if found is not None and active:
            body = use_answers.introspected(
                key_id=found.key_id,
                scopes=found.scopes,
                environment=found.environment,
                ends_at=found.facts.ends_at,
            )
        reply = self._writer.document(200, body, request_id=item.request_id, audit_id=record.event_id)
        return reply, record

    def _forbid(self, item: Presented, error: Forbidden, row: tuple[Any, ...]) -> tuple[Reply, Record]:
        event = Event("credential.introspect", Target("tenant", row[0]), {"code": error.code})
        key = self._key_of(row[0], row[5]) if row[5] is not None else None
        record = record_of(_actor_of(item, row), event, Outcome.DENIED, {}, row[0], key)
        return self._writer.problem(error, request_id=item.request_id, audit_id=record.event_id), record

    def _key_of(self, tenant_id: UUID, stored: Sequence[bytes | None]) -> custody.AuditKey | None:
        version, wrapper, kek_ref, wrapped, kcv = stored
        if wrapped is None or version is None or wrapper is None or kek_ref is None or kcv is None:
            return None
        try:
            return self._audit_key(tenant_id, int.from_bytes(version, "big"), wrapper, kek_ref, wrapped, kcv)
        except Unavailable:
            return None


def _actor_of(item: Presented, row: tuple[Any, ...]) -> Actor:
    tenant_id, scopes, consumer_id, slug = row[:4]
    origin = Origin(item.address, item.user_agent, str(item.request_id), Once(), item.request_id)
    permissions = frozenset(Permission(scope) for scope in scopes) & TOKEN_PERMISSIONS
    return Actor(ActorKind.CONSUMER, consumer_id, tenant_id, permissions, slug, origin)


def _found_of(row: tuple[Any, ...]) -> _Found:
    _, number, key_id, scopes, environment, ends_on, *rest = row
    tenant, tenant_over, project, project_over, key, suspends_at, version, expires, drains, dark, light, _ = rest
    facts = CredentialFacts(
        tenant_state=tenant,
        tenant_is_over=tenant_over,
        project_state=project,
        project_is_over=project_over,
        key_state=key,
        suspends_at=suspends_at,
        key_ends_at=end_of(ends_on),
        version_state=version,
        expires_at=expires,
        drain_until=drains,
        dark_from=dark,
        dark_until=light,
    )
    return _Found(number, key_id, scopes, environment, facts)
