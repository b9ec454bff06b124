"""The registry of operations: everything that changes state is one declared function, called by every door.

The declaration authorises, opens the transaction, requires that an audit entry was appended in it, and records
denials. It must never be bypassed: doors do not write models.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar

from django.db import transaction

from byok_portal import errors
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.permissions import Permission

P = ParamSpec("P")
R = TypeVar("R")


class NothingRecordedError(RuntimeError):
    """An operation committed nothing to the audit log, or something it had not declared. Always a bug."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Says why an operation has no page or no API route."""

    reason: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the registry."""

    name: str
    permission: Permission
    events: frozenset[str]
    page: str | Absent
    api: str | Absent
    external: bool
    alias: str
    call: Callable[..., Any]


@dataclass(slots=True)
class _Run:
    operation: Operation
    recorded: list[str] = field(default_factory=list)


class DenialRecorder(Protocol):
    """Appends a denied attempt in its own transaction; installed by the audit app."""

    def __call__(self, *, actor: Actor, action: str, code: str) -> UUID: ...


REGISTRY: Final[dict[str, Operation]] = {}
_run: ContextVar[_Run | None] = ContextVar("byok_operation", default=None)
_receipts: ContextVar[list[UUID] | None] = ContextVar("byok_receipts", default=None)
_recorder: list[DenialRecorder] = []


def install_recorder(recorder: DenialRecorder) -> None:
    """Called once by the audit app, which sits above the boundary."""
    _recorder[:] = [recorder]


def operation(
    name: str,
    *,
    permission: Permission,
    events: tuple[str, ...],
    page: str | Absent,
    api: str | Absent,
    external: bool = False,
    alias: str = binding.DEFAULT,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a function as the operation `name` (`resource.verb`).

    `events`: the audit actions that it may append; each transaction must append at least one. `page`, `api`: URL names
    of its doors, or `Absent(reason)`. `external`: the function calls a provider and opens its transactions itself with
    `commit()`, so that no network call happens under a lock. Keyword-only, `actor` first.
    """

    def declare(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            if args:
                message = f"{name}: operations take keywords only"
                raise TypeError(message)
            actor: Actor = kwargs["actor"]  # type: ignore[assignment]
            started = _Run(row)
            with binding.use_alias(row.alias), _running(started):
                try:
                    _authorise(actor, row)
                    if row.external:
                        return function(*args, **kwargs)
                    with commit():
                        return function(*args, **kwargs)
                except (errors.Forbidden, errors.Refused, errors.UpstreamUnavailable) as error:
                    denied = error
                # Outside the rolled-back transaction, so that the denial stays.
                if not (started.recorded and isinstance(denied, errors.UpstreamUnavailable)):
                    _record_denial(actor, row, denied)
                raise denied

        row = Operation(name, permission, frozenset(events), page, api, external, alias, run)
        if name in REGISTRY:
            message = f"{name} is declared twice"
            raise ValueError(message)
        REGISTRY[name] = row
        return run

    return declare


def authorise(name: str, *, actor: Actor) -> None:
    """Check an operation's permission before its form is parsed. Raises Forbidden, recorded as a denial."""
    row = REGISTRY[name]
    with binding.use_alias(row.alias):
        try:
            _authorise(actor, row)
        except errors.Forbidden as error:
            _record_denial(actor, row, error)
            raise


@contextmanager
def commit() -> Iterator[None]:
    """One transaction of the running operation. Raises NothingRecordedError when nothing was appended in it."""
    run = _run.get()
    if run is None:
        message = "commit() is for operations only"
        raise NothingRecordedError(message)
    before = len(run.recorded)
    with _only_what_stays(), transaction.atomic(using=run.operation.alias):
        yield
        new = run.recorded[before:]
        if not new or not run.operation.events.issuperset(new):
            message = f"{run.operation.name} appended {new}, declared {sorted(run.operation.events)}"
            raise NothingRecordedError(message)


@contextmanager
def _only_what_stays() -> Iterator[None]:
    """Forget what was noted in the block when it fails: it was rolled back, and no answer may name it as its record."""
    run, collected = _run.get(), _receipts.get()
    noted = [(each, len(each)) for each in (run.recorded if run else None, collected) if each is not None]
    try:
        yield
    except BaseException:
        for each, before in noted:
            del each[before:]
        raise


@contextmanager
def receipts() -> Iterator[list[UUID]]:
    """Collects the audit ids of everything recorded in the block; a door answers with the last as `Audit-Id`."""
    collected: list[UUID] = []
    token = _receipts.set(collected)
    try:
        yield collected
    finally:
        _receipts.reset(token)


def note(action: str, event_id: UUID) -> None:
    """Called by the audit app for every appended event."""
    run, collected = _run.get(), _receipts.get()
    if run is not None:
        run.recorded.append(action)
    if collected is not None:
        collected.append(event_id)


@contextmanager
def _running(run: _Run) -> Iterator[None]:
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def _authorise(actor: Actor, row: Operation) -> None:
    tenant_id = binding.find_tenant()
    if tenant_id is None:
        raise binding.UnboundTenantError(row.name)
    if not actor.permits(row.permission, tenant_id):
        message = f"This needs the permission {row.permission.value}."
        raise errors.Forbidden(message)


def _record_denial(actor: Actor, row: Operation, error: errors.PortalError) -> None:
    tenant_id = binding.get_tenant()
    if actor.tenant_id not in (None, tenant_id) and tenant_id != PLATFORM:
        return  # a stranger's attempt must not write into this tenant's chain
    with _only_what_stays(), transaction.atomic(using=row.alias):
        _recorder[0](actor=actor, action=row.name, code=error.code)
