"""A key whose age a test chooses, and the floor that a test sets and takes away again."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from audit.models import Entry
from byok_portal.boundary import binding
from byok_portal.boundary.identifiers import PLATFORM
from keys import rulebook, selectors, tasks
from keys.models import Key, KeyVersion
from keys.services import policies
from keys.states import ClockReason, KeyState
from tests.keys.test_draining import Rotating

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    import psycopg

    from keys.models import PlatformPolicy, PolicyEdition
    from tests.world import Cast, World

STRICT: Final[dict[str, Any]] = {"rotation_days": 90, "overdue": "suspend", "grace_days": 10}


class Ageing(Rotating):
    """A key in use, as old as a test wants."""

    def age(self, days: float, *, number: int = 1) -> None:
        """Pretend that a version became current so long ago."""
        since = timezone.now() - timedelta(days=days)
        with self.world.inside(self.cast):
            KeyVersion.objects.filter(key_id=self.key.id, number=number).update(activated_at=since)

    def ask(self, **values: Any) -> PolicyEdition:
        """Set the tenant's policy; what is no rule goes to the operation."""
        options = {name: values.pop(name) for name in ("starts_at", "note", "replaces") if name in values}
        with self.world.bound(self.cast):
            return policies.set_tenant(actor=self.cast.actor, rules=values, accept_suspensions=True, **options)

    def ask_key(self, **rules: Any) -> PolicyEdition:
        with self.world.bound(self.cast):
            return policies.set_key(actor=self.cast.actor, key_id=self.key.id, rules=rules, accept_suspensions=True)

    @property
    def now(self) -> Key:
        """The key as it is stored."""
        with self.world.inside(self.cast):
            return selectors.get_key(self.key.id)

    def actions(self, *wanted: str) -> list[str]:
        """The wanted facts on record, in their order."""
        return [entry.action for entry in entries(self.world, self.cast.id) if entry.action in wanted]

    def policy(self) -> Any:
        with self.world.inside(self.cast):
            return rulebook.policy_of(self.key)


def entries(world: World, tenant_id: UUID) -> list[Entry]:
    world.sequence()
    return list(Entry.objects.using("staff").filter(tenant_id=tenant_id).order_by("tseq"))


def set_floor(world: World, **values: Any) -> PlatformPolicy:
    """Staff set the platform's policy."""
    starts_at, actor = values.pop("starts_at", None), world.staff_actor()
    with binding.bind_tenant(PLATFORM):
        return policies.set_platform(actor=actor, rules=values, starts_at=starts_at)


@contextmanager
def floor_taken_away(admin: psycopg.Connection) -> Iterator[None]:
    """The floor holds for every tenant of this database: other tests must not meet it."""
    remove = "DELETE FROM keys_platformpolicy; UPDATE keys_appliedpolicy SET number = 0"
    admin.execute(remove)
    yield
    admin.execute(remove)


def stranger(world: World) -> Cast:
    return world.tenant("globex")


def suspend_by_clock(ageing: Ageing) -> None:
    ageing.age(101)
    ageing.ask(**STRICT)
    assert tasks.keep_time() >= 1
    assert (ageing.now.state, ageing.now.suspends_for) == (KeyState.SUSPENDED, ClockReason.OVERDUE)
