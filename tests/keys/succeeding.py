"""A key whose OpenBao token may have its own successor made, and what is alive of it there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from audit.models import Entry
from byok_portal.boundary import jobs
from byok_portal.boundary.models import Job, JobState
from keys import selectors
from keys.models import KeyVersion, Succession
from keys.services import assisted, custody

if TYPE_CHECKING:
    from byok_portal.boundary.secrets import Secret
    from byok_portal.quickstart.openbao_admin import BaoToken
    from keys.models import Key
    from tests.world import Cast, World


class Succeeding:
    """One active key, ready for assisted rotations."""

    def __init__(self, world: World, token: BaoToken | None = None) -> None:
        self.world = world
        self.cast: Cast = world.tenant()
        self.token = token or world.bao_robot()
        self.key: Key = world.key(self.cast, token=self.token)

    def rotate(self, *, hours: int = 24, **more: Any) -> KeyVersion:
        with self.world.bound(self.cast):
            return assisted.rotate(actor=self.cast.actor, key_id=self.key.id, drain_hours=hours, **more)

    def states(self) -> dict[int, str]:
        with self.world.inside(self.cast):
            return dict(KeyVersion.objects.filter(key_id=self.key.id).values_list("number", "state"))

    def version(self, number: int) -> KeyVersion:
        with self.world.inside(self.cast):
            return selectors.list_versions(self.key.id).get(number=number)

    def attempts(self) -> list[tuple[str, str]]:
        with self.world.inside(self.cast):
            return list(Succession.objects.order_by("created_at").values_list("state", "code"))

    def secret(self, number: int) -> Secret:
        with self.world.inside(self.cast):
            return custody.open_version(selectors.list_versions(self.key.id).get(number=number))

    def alive(self) -> list[dict[str, Any]]:
        """What the portal had made for this key and still lives at OpenBao."""
        tokens = self.world.bao.list_tokens()
        return [each for each in tokens if (each["meta"] or {}).get("byok_key") == str(self.key.id)]

    def work(self) -> None:
        """What a worker does with everything that is due."""
        with self.world.inside(self.cast):
            waiting = Job.objects.filter(tenant_id=self.cast.id).exclude(state=JobState.DONE)
            ids = list(waiting.values_list("id", flat=True))
        for job_id in ids:
            jobs.run(str(self.cast.id), str(job_id))

    def told(self, *wanted: str) -> list[dict[str, Any]]:
        """The bodies of these entries, oldest first."""
        self.world.sequence()
        with self.world.inside(self.cast):
            leaves = Entry.objects.order_by("tseq").values_list("leaf", flat=True)
            bodies = [json.loads(leaf)["body"] for leaf in leaves]
        return [body for body in bodies if body["action"] in wanted]
