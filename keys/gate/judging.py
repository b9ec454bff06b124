"""From what was asked and what the database knows to an answer and its record. Pure but for its caches and the clock.

The caches hold unwrapped data keys and parsed provider entries, each under the very bytes that were read with the
context: whether they may be used is read anew for every use.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from audit.services.recording import Event, Target
from byok_portal.boundary.actors import Actor, ActorKind, Origin
from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Forbidden, NotFound, PortalError, Unauthenticated, Unavailable
from keys import context, use_answers
from keys.decision import Code, Decision, RateFacts, decide
from keys.gate.records import Record, record_of_use, unwrap_audit_key
from keys.gate.replies import PROBLEM, Reply, Writer
from keys.services import custody
from keys.services.catalogue import parse_document
from keys.services.uses import lease_end
from keys.states import Delivery
from keys.use_events import choose_scope, describe, find_word, offered_word, private_of

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.secrets import Secret
    from keys.catalogue import ProviderEntry
    from keys.facts import UseRequest
    from keys.gate.asking import Asked
    from keys.gate.remembering import Facts

_MINUTE: Final = timedelta(minutes=1)
_PERMITTED: Final = Permission.KEY_USE


class PassOn:
    """Said of a request that the web must answer: nothing was recorded of it."""


PASS_ON: Final = PassOn()


@dataclass(frozen=True, slots=True)
class Permit:
    """An allowed brokered call, on record as intended: everything that is needed to make it."""

    tenant_id: UUID
    key_id: UUID
    audit_id: UUID
    consumer_id: UUID
    actor: Actor
    plaintext: Secret
    entry: ProviderEntry
    endpoint: str
    parameters: dict[str, str]
    allow_private: bool
    audit_key: custody.AuditKey | None


@dataclass(slots=True)
class Case:
    """One use between being read and being recorded."""

    asked: Asked
    facts: Facts
    row: dict[str, Any]
    loaded: context.Loaded
    request: UseRequest
    decision: Decision

    @property
    def is_counted(self) -> bool:
        """Whether the rate decides too: only uses that everything before it allows are counted."""
        counted = self.decision.allowed or self.decision.code == Code.DELIVERY_NOT_PERMITTED
        return counted and self.loaded.rate_per_minute is not None and self.loaded.grant_id is not None


Answer = Reply | Permit | PassOn


@dataclass(slots=True)
class Draft:
    """A use decided and recorded on facts of before: nothing, until the database says that they are those of now."""

    case: Case
    facts: Facts
    record: Record
    made_at: datetime
    answer: Answer | None = None


class Judge:
    """Holds the caches; one per process."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._entries: dict[str, ProviderEntry] = {}
        self._data_key = functools.lru_cache(maxsize=4096)(custody.data_key_of)
        self._audit_key = functools.lru_cache(maxsize=4096)(unwrap_audit_key)

    @property
    def known_entries(self) -> list[str]:
        """Digests of the provider entries that need not be read again."""
        return list(self._entries)

    def open_case(
        self, asked: Asked, facts: Facts | None, now: datetime
    ) -> Case | tuple[Reply, Record | None] | PassOn:
        """Who asks, and the first decision; an answer where it is clear before one."""
        # Alarms, and a policy that no clock knows yet, need more rights than the gate has. A canary's refusals too are
        # the web's to give: a drill looks for each process that answered before to refuse.
        if facts is not None and facts.loaded is None:
            return PASS_ON
        if facts is None or not facts.row["token_live"]:
            return self._refused(asked, Unauthenticated("The token is not known, has expired or was revoked."))
        row, loaded, reference = facts.row, facts.loaded, asked.place.tenant
        if reference != row["tenant_slug"] and parse_id(reference) != row["tenant_id"]:
            return self._refused(asked, NotFound())
        if loaded is None or row["audit_key"] is None:  # the tenant's first event: its data key is the web's to make
            return PASS_ON
        if _PERMITTED not in facts.permissions:
            return self._forbid(asked, facts)
        request = asked.use if asked.call is None else self._brokered(asked, row, loaded)
        return Case(asked, facts, row, loaded, request, decide(loaded.context, request, now))

    def count(self, case: Case, used: int, now: datetime) -> None:
        """Decide again with the rate: `used` in this minute, with this one."""
        minute = now.replace(second=0, microsecond=0)
        rate = RateFacts(limit=case.loaded.rate_per_minute or 0, used=used - 1, resets_at=minute + _MINUTE)
        case.decision = decide(replace(case.loaded.context, rate=rate), case.request, now)

    def close_case(self, case: Case) -> tuple[Answer, Record]:
        """The answer and its record. Raises PortalError when what is stored does not open."""
        record = self._record_case(case)
        return self._answer(case, record.event_id), record

    def draft(self, asked: Asked, facts: Facts | None, now: datetime) -> Draft | None:
        """What the answer will be if the facts are still these; None for all that must be read first."""
        if facts is None:
            return None
        try:
            case = self.open_case(asked, facts, now)
            if not isinstance(case, Case) or case.is_counted:
                return None
            draft = Draft(case, facts, self._record_case(case), now)
            if asked.use.delivery != Delivery.DECISION:  # may fail, and then it is an error and not on record
                self.finish_draft(draft)
        except PortalError:
            return None
        return draft

    def finish_draft(self, draft: Draft) -> Answer:
        """The answer of a draft that held."""
        if draft.answer is None:
            draft.answer = self._answer(draft.case, draft.record.event_id)
        return draft.answer

    def _record_case(self, case: Case) -> Record:
        asked, decision, loaded, row = case.asked, case.decision, case.loaded, case.row
        call = {"method": asked.call.method, "path": asked.call.path[:300]} if asked.call is not None else None
        event = describe(
            loaded,
            case.request,
            decision,
            tenant_id=row["tenant_id"],
            scope=self._scope_word(case),
            call=call,
        )
        private = private_of(case.request, decision, call)
        key = self.audit_key_of(row)
        return record_of_use(asked, case.facts, event, private, allowed=decision.allowed, key=key)

    def audit_key_of(self, row: dict[str, Any]) -> custody.AuditKey | None:
        """The tenant's audit data key; None when it is shredded, or without a key file."""
        version, wrapper, kek_ref, wrapped, kcv = row["audit_key"]
        if wrapped is None:
            return None
        try:
            return self._audit_key(row["tenant_id"], int.from_bytes(version, "big"), wrapper, kek_ref, wrapped, kcv)
        except Unavailable:
            return None  # what happened is recorded all the same, without personal data

    def entry_of(self, row: dict[str, Any]) -> ProviderEntry | None:
        """The provider's parsed entry, by the digest that was read with the context."""
        digest, document = row["provider_digest"], row["provider_document"]
        if digest is None:
            return None
        if document is not None:
            self._entries[digest] = parse_document(digest, document)
        return self._entries.get(digest)

    def _answer(self, case: Case, audit_id: UUID) -> Answer:
        asked, decision = case.asked, case.decision
        if not decision.allowed:
            return self._writer.document(
                decision.status,
                use_answers.denied(decision, audit_id=audit_id, instance=str(asked.request_id)),
                request_id=asked.request_id,
                kind=PROBLEM,
                audit_id=audit_id,
                allow=asked.methods,
                more=use_answers.denial_headers(decision),
                code=decision.code.value,
            )
        if asked.call is not None:
            return self._permit(case, audit_id)
        leased = asked.use.delivery == Delivery.LEASE and decision.version is not None
        plaintext = self._open(case, decision.version or 0) if leased else None
        body = use_answers.allowed(
            decision,
            audit_id=audit_id,
            key_id=case.loaded.key_id,
            plaintext=plaintext,
            lease_expires_at=lease_end(case.loaded, decision.version or 0) if leased else None,
        )
        return self._writer.document(decision.status, body, request_id=asked.request_id, audit_id=audit_id)

    def _permit(self, case: Case, audit_id: UUID) -> Permit:
        row, entry = case.row, self.entry_of(case.row)
        if entry is None or case.loaded.key_id is None:
            raise Unavailable("The provider of this key is not known.")
        return Permit(
            tenant_id=row["tenant_id"],
            key_id=case.loaded.key_id,
            audit_id=audit_id,
            consumer_id=row["consumer_id"],
            actor=_actor_of(case.asked, case.facts),
            plaintext=self._open(case, case.decision.version or 0),
            entry=entry,
            endpoint=row["endpoint"],
            parameters=row["parameters"],
            allow_private=row["allow_private"],
            audit_key=self.audit_key_of(row),
        )

    def _open(self, case: Case, number: int) -> Secret:
        key_id, sealed = case.loaded.key_id, case.facts.sealed(number)
        if sealed is None or key_id is None:
            raise Unavailable("The credential was destroyed.", code="material_destroyed")
        return custody.open_of(case.row["tenant_id"], sealed, key_id=key_id, number=number, find=self._data_key)

    def _brokered(self, asked: Asked, row: dict[str, Any], loaded: context.Loaded) -> UseRequest:
        entry, call = self.entry_of(row), asked.call
        if entry is None or call is None or loaded.grant_id is None:
            return asked.use
        scope = choose_scope(loaded, entry, row["parameters"], method=call.method, path=call.path, query=call.query)
        return replace(asked.use, scope=scope)

    def _scope_word(self, case: Case) -> str:
        word = find_word(case.loaded, case.request.scope)
        return word if word is not None else offered_word(case.request.scope, self.entry_of(case.row))

    def _refused(self, asked: Asked, error: PortalError) -> tuple[Reply, None]:
        reply = self._writer.problem(error, request_id=asked.request_id, allow=asked.methods, is_use=asked.call is None)
        return reply, None

    def _forbid(self, asked: Asked, facts: Facts) -> tuple[Reply, Record]:
        error, row = Forbidden(f"This needs the permission {_PERMITTED.value}."), facts.row
        event = Event(
            "key.use" if asked.call is None else "key.proxy", Target("tenant", row["tenant_id"]), {"code": error.code}
        )
        record = record_of_use(asked, facts, event, {}, allowed=False, key=self.audit_key_of(row))
        reply = self._writer.problem(error, request_id=asked.request_id, audit_id=record.event_id, allow=asked.methods)
        return reply, record


def _actor_of(asked: Asked, facts: Facts) -> Actor:
    """Who acts in what follows the use, whose own event has the request's id already."""
    origin = Origin(asked.use.address or "", asked.user_agent, str(asked.request_id))
    row = facts.row
    return Actor(
        ActorKind.CONSUMER,
        row["consumer_id"],
        row["tenant_id"],
        facts.permissions,
        row["consumer_slug"],
        origin,
    )


def clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
