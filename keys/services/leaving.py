"""The end of a consumer: at once and in one commit, with a run that keeps what its end asks of people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from audit.services.recording import Target, append
from byok_portal.boundary.operations import operation
from byok_portal.boundary.permissions import Permission
from byok_portal.errors import Conflict, NotFound
from keys import endings
from keys.models import Grant
from keys.services import runs
from keys.states import GrantState, RevocationReason
from tenants import rules
from tenants.models import Consumer
from tenants.services.consumers import end_access
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from uuid import UUID

    from byok_portal.boundary.actors import Actor


@operation(
    "consumer.end",
    permission=Permission.CONSUMER_END,
    events=("consumer.ended",),
    page="keys:consumer-end",
    api="api:consumer-end",
)
def end_consumer(
    *,
    actor: Actor,
    consumer_id: UUID,
    reason: str,
    note: str = "",
    confirmation: str | None = None,
    digest: str | None = None,
) -> Consumer:
    """End a consumer: its tokens and its grants on every key, at once. A run keeps what its end asks of people.

    Whoever was shown the plan repeats its slug and its digest. Raises InvalidInput, NotFound, Conflict when it has
    ended or the plan has changed.
    """
    why = rules.require_choice(reason, [word.value for word in RevocationReason], field="reason")
    text = rules.require_text(note, field="note", maximum=500, required=False)
    consumer = Consumer.objects.lock().filter(id=consumer_id).first()
    if consumer is None:
        raise NotFound
    if consumer.state == Consumer.State.ENDED:
        raise Conflict("The consumer has ended already.", code="consumer_ended")
    if confirmation is not None:
        runs.require_confirmation(confirmation, consumer.slug, what="consumer's slug")
    runs.refuse_changed(SubjectKind.CONSUMER, consumer.id, digest)
    run = runs.open_run(actor, SubjectKind.CONSUMER, consumer.id, reason=why, note=text, digest=digest)
    counts = endings.count(SubjectKind.CONSUMER, consumer.id)
    flagged = runs.add_flags(run)
    tokens = end_access(consumer)
    ended = Grant.objects.filter(consumer_id=consumer.id, state=GrantState.ACTIVE).update(
        state=GrantState.REVOKED, ended_at=timezone.now(), end_reason=why
    )
    detail = {"reason": why, "tokens": tokens, "grants": ended, "flagged": flagged, "run": str(run.id)}
    event = append(
        actor=actor,
        action="consumer.ended",
        target=Target("consumer", consumer.id),
        detail=detail,
        private={"note": text},
    )
    label = f"End the access of {consumer.name}"
    said = f"{tokens} tokens and {ended} grants ended."
    runs.add_settled(
        run,
        [{"kind": "end_consumer", "subject_id": consumer.id, "label": label, "note": said, "event_ids": [event]}],
    )
    runs.finish_planning(run, [event], counts)
    return consumer
