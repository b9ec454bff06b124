"""What a finished offboarding can be shown to have done, as one plain statement. Reads everything, changes nothing.

JSON values only: no e-mail address, no name of a person, no fingerprint. People are their id and their role.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from audit.services import documents
from byok_portal.errors import Conflict
from keys.models import Grant, Key, KeyVersion, TenantKey
from keys.redaction import scrub
from keys.states import DataKeyState
from tenants import selectors as tenants
from tenants.models import Consumer, Membership, Offboarding, OffboardingStep
from tenants.states import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

FORMAT: Final = "byok-portal/offboarding-certificate/v1"
TITLE: Final = "Certificate of offboarding"
LISTED_MAX: Final = 50_000
"""Steps, residuals and versions that one certificate lists."""

_ALL: Final = "Every step is listed, and every entry of the log about them is handed out with this."
_PART: Final = (
    "This end was too large for one document. At most 50000 steps, residuals and versions are listed, and of each step "
    "only the newest entry is handed out with this, of the last steps if need be. The counts are of all of them, and "
    "the log holds every entry."
)
_VERSION: Final = {
    "key": "key_id",
    "slug": "key__slug",
    "provider": "key__provider__slug",
    "number": "number",
    "state": "state",
    "reason": "end_reason",
    "ended": "ended_at",
    "upstream": "upstream_status",
    "upstream_checked": "upstream_checked_at",
    "upstream_note": "upstream_note",
}
_State = OffboardingStep.State


def statement_of(run: Offboarding) -> dict[str, Any]:
    """The statement of one run. Raises Conflict while it runs: nothing is certified that has not ended."""
    if run.state != Offboarding.State.DONE:
        message = "The offboarding is still running; its certificate comes with its end."
        raise Conflict(message, code="offboarding_runs")
    steps = list(OffboardingStep.objects.filter(offboarding_id=run.id).order_by("position"))
    versions = _versions(run, steps)
    statement = {
        "format": FORMAT,
        "tenant": _tenant(),
        "subject": _subject(run),
        "run": str(run.id),
        "reason": run.reason,
        "automatic": run.is_automatic,
        "started_by": _who(run.started_by_kind, run.started_by_id),
        "times": {
            "requested": _moment(run.requested_at),
            "refused_from": _moment(run.created_at),
            "planned": _moment(run.planned_at),
            "finished": _moment(run.finished_at),
        },
        "plan": {"digest": run.plan_digest, "counts": dict(run.plan)},
        "counts": _counts(steps),
        "steps": [_step(step) for step in steps[:LISTED_MAX]],
        "residuals": [_residual(step) for step in steps if step.state in (_State.RESIDUAL, _State.SETTLED)][
            :LISTED_MAX
        ],
        "versions": [_version(version) for version in versions[:LISTED_MAX]],
        "shred": _shred(run, steps),
        "evidence": _evidence(run, steps, versions=len(versions)),
    }
    # Labels and notes are people's own words, and nobody can erase anything from a document.
    scrubbed: dict[str, Any] = scrub(statement)
    return scrubbed


def events_of(run: Offboarding) -> list[UUID]:
    """The events that are handed out with the statement, each once: of the run and of its steps, in their order."""
    steps = OffboardingStep.objects.filter(offboarding_id=run.id).order_by("position")
    chosen, _total = _choose_events(run, list(steps.values_list("event_ids", flat=True)))
    return chosen


def _choose_events(run: Offboarding, of_steps: Sequence[Sequence[UUID]]) -> tuple[list[UUID], int]:
    """What fits into a document, and how many there are: an end must not fail because it was a large one."""
    every = list(dict.fromkeys([*run.event_ids, *(event for ids in of_steps for event in ids)]))
    if len(every) <= documents.EVENTS_MAX:
        return every, len(every)
    newest = list(dict.fromkeys([*run.event_ids, *(ids[-1] for ids in of_steps if ids)]))
    # The run's own and the last steps': they say what was destroyed, and that it is over.
    head, left_out = len(run.event_ids), max(0, len(newest) - documents.EVENTS_MAX)
    return newest[:head] + newest[head + left_out :], len(every)


def _evidence(run: Offboarding, steps: Sequence[OffboardingStep], *, versions: int) -> dict[str, Any]:
    """Whether anything was left out of a large document, and what."""
    chosen, total = _choose_events(run, [step.event_ids for step in steps])
    complete = len(chosen) == total and max(len(steps), versions) <= LISTED_MAX
    return {
        "complete": complete,
        "entries": total,
        "handed_out": len(chosen),
        "steps": len(steps),
        "versions": versions,
        "statement": _ALL if complete else _PART,
    }


def _tenant() -> dict[str, str]:
    tenant = tenants.get_tenant()
    return {"id": str(tenant.id), "slug": tenant.slug, "name": tenant.name, "state": tenant.state}


def _subject(run: Offboarding) -> dict[str, str]:
    kind = SubjectKind(run.subject_kind)
    known = {"kind": kind.value, "id": str(run.subject_id)}
    if kind is SubjectKind.OWNER:
        return known | _who("person", run.subject_id)
    if kind is SubjectKind.TENANT:
        return known | {"slug": tenants.get_tenant().slug}
    found = tenants.get_project(run.subject_id) if kind is SubjectKind.PROJECT else tenants.get_consumer(run.subject_id)
    return known | {"slug": found.slug, "name": found.name}


def _who(kind: str, identifier: UUID) -> dict[str, str]:
    """An actor without anything personal: a kind, an id, and for a member the role."""
    found = Membership.objects.filter(user_id=identifier).first() if kind == "person" else None
    return {"kind": kind, "id": str(identifier), "role": found.role if found is not None else ""}


def _counts(steps: Sequence[OffboardingStep]) -> dict[str, int]:
    states = Counter(step.state for step in steps)
    return {
        "steps": len(steps),
        "done": states[_State.DONE],
        "residual": states[_State.RESIDUAL],
        "settled_by_hand": states[_State.SETTLED],
    }


def _step(step: OffboardingStep) -> dict[str, Any]:
    return {
        "position": step.position,
        "kind": step.kind,
        "subject": str(step.subject_id),
        "label": step.label,
        "state": step.state,
        "attempts": step.attempts,
        "started": _moment(step.started_at),
        "finished": _moment(step.finished_at),
        "note": step.note,
        "events": [str(event) for event in step.event_ids],
    }


def _residual(step: OffboardingStep) -> dict[str, Any]:
    """What only people could do. A word that it was done by hand is that word; no provider was asked about it."""
    settled = step.state == _State.SETTLED
    return {
        "step": step.position,
        "label": step.label,
        "instruction": step.instruction,
        "settled_by_hand": settled,
        "settled": _moment(step.settled_at),
        "settled_by": _who("person", step.settled_by_id) if settled and step.settled_by_id else None,
    }


def _versions(run: Offboarding, steps: Iterable[OffboardingStep]) -> list[tuple[Any, ...]]:
    """Versions that the run ended, and those that it wants rotated, as `_VERSION` has their columns."""
    rows = KeyVersion.objects.order_by("key__slug", "number")
    if run.subject_kind == SubjectKind.PROJECT:
        rows = rows.filter(key__project_id=run.subject_id)
    elif run.subject_kind != SubjectKind.TENANT:
        rows = rows.filter(id__in=[step.subject_id for step in steps if step.kind == "flag_rotation"])
    # No rows of providers: their scopes and call patterns, read for each of ten thousand versions, took longest.
    return list(rows.values_list(*_VERSION.values()))


def _version(row: tuple[Any, ...]) -> dict[str, Any]:
    """`state` is ours, `upstream` what the provider answered when it was last asked: neither claims the other."""
    version = dict(zip(_VERSION, row, strict=True))
    moments = {name: _moment(version[name]) for name in ("ended", "upstream_checked")}
    return version | moments | {"key": str(version["key"])}


def _shred(run: Offboarding, steps: Iterable[OffboardingStep]) -> dict[str, Any] | None:
    """What was destroyed and what that is worth, also for backups; None where a run destroys nothing."""
    if run.subject_kind == SubjectKind.TENANT:
        data_keys = TenantKey.objects.filter(state=DataKeyState.SHREDDED).order_by("purpose", "version")
        said = next((step.note for step in steps if step.kind == "shred_keys"), "")
        return {
            "what": "data keys and ciphertext of the tenant",
            "statement": said,
            "wrappers": sorted({row.wrapper for row in data_keys}),
            "data_keys": [
                {"purpose": row.purpose, "version": row.version, "shredded": _moment(row.shredded_at)}
                for row in data_keys
            ],
            "remaining": {
                "live_keys": Key.objects.exclude(state__in=("revoked", "compromised")).count(),
                "live_grants": Grant.objects.filter(state="active").count(),
                "live_consumers": Consumer.objects.filter(state=Consumer.State.ACTIVE).count(),
            },
        }
    if run.subject_kind == SubjectKind.PROJECT:
        destroyed = [step for step in steps if step.kind == "destroy_version"]
        return {
            "what": "ciphertext of the project's key versions",
            "versions": len(destroyed),
            "statement": (
                "The ciphertext of each version was deleted here. The data key that sealed it goes on sealing other "
                "credentials of the tenant, so copies in backups stay readable with it until the backups' own end."
            ),
        }
    return None


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
