"""Keys that nobody has a reason to use: is a use of one a drill's own, and whom an alarm calls. Reads only."""

from __future__ import annotations

import hashlib
import os
import socket
from typing import TYPE_CHECKING, Final

from keys.models import Drill, Key
from keys.states import KeyState

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.db.models import QuerySet

    Hook = Callable[[UUID, UUID, UUID], None]

PROCESS_HEADER: Final = "Byok-Process"
_hooks: Final[list[Hook]] = []


def on_use(hook: Hook) -> None:
    """Have somebody called at each use of a canary outside a drill, with the key, the consumer and the audit entry.

    In the transaction of the use. Called once per hook when the app is ready.
    """
    if hook not in _hooks:
        _hooks.append(hook)


def announce(*, key_id: UUID, consumer_id: UUID, audit_id: UUID) -> bool:
    """Call everybody unless the use is a running drill's own. Answers whether it was an alarm."""
    if is_drill(key_id, consumer_id):
        return False
    for hook in _hooks:
        hook(key_id, consumer_id, audit_id)
    return True


def is_drill(key_id: UUID, consumer_id: UUID) -> bool:
    """Whether the consumer is the one that a running drill has made for this key."""
    return Drill.objects.filter(key_id=key_id, consumer_id=consumer_id, finished_at=None).exists()


def list_canaries() -> QuerySet[Key]:
    """Live canary keys of the bound tenant, the oldest first."""
    live = Key.objects.filter(is_canary=True, state__in=[KeyState.ACTIVE, KeyState.SUSPENDED])
    return live.select_related("provider").order_by("created_at", "id")


def name_process() -> str:
    """What tells this process apart from its siblings; says nothing else of it."""
    return hashlib.sha256(f"{socket.gethostname()}:{os.getpid()}".encode()).hexdigest()[:8]
