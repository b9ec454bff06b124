from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from byok_portal.errors import Conflict, Forbidden, InvalidInput, NotFound
from keys.services import projects as keys
from tenants.services import consumers, projects

if TYPE_CHECKING:
    from tests.world import World


def test_a_project_is_made_and_changed_and_names_what_is_wrong(world: World) -> None:
    cast = world.tenant()
    day = timezone.now().date() + timedelta(days=20)
    with world.bound(cast):
        made = projects.create(actor=cast.actor, name="Winter trial", purpose="A trial", ends_on=day)
        assert (made.slug, made.state, made.ends_on) == ("winter-trial", "active", day)
        changed = projects.change(actor=cast.actor, project_id=made.id, name="Trial", purpose="Longer", ends_on=None)
        assert (changed.slug, changed.name, changed.ends_on) == ("winter-trial", "Trial", None)
        wrong: list[tuple[dict[str, Any], str, str]] = [
            ({"name": "Winter trial"}, "name_taken", "name"),
            ({"name": ""}, "required", "name"),
            ({"name": "Other", "ends_on": timezone.now().date()}, "end_date_in_past", "ends_on"),
        ]
        for values, code, field in wrong:
            with pytest.raises(InvalidInput) as problem:
                projects.create(actor=cast.actor, **{"purpose": "A trial", **values})
            assert (problem.value.code, problem.value.field) == (code, field)
        with pytest.raises(Forbidden):
            projects.create(actor=world.actor(cast, cast.auditor, "auditor"), name="Mine", purpose="No")


def test_keys_and_consumers_join_a_project_when_they_are_registered_or_later(world: World) -> None:
    cast, stranger = world.tenant(), world.tenant("globex")
    with world.bound(cast):
        made = projects.create(actor=cast.actor, name="Winter trial", purpose="A trial")
        robot = consumers.register(
            actor=cast.actor, name="Robot", kind="service", environment="production", project="winter-trial"
        )
        assert robot.project_id == made.id
    key = world.key(cast, project=str(made.id))
    assert key.project_id == made.id
    with world.bound(stranger):
        theirs = projects.create(actor=stranger.actor, name="Theirs", purpose="A trial")
    with world.bound(cast):
        for reference in (str(theirs.id), theirs.slug, "nothing"):
            with pytest.raises(InvalidInput) as foreign:
                keys.assign_key(actor=cast.actor, key_id=key.id, project=reference)
            assert (foreign.value.code, foreign.value.field) == ("unknown_project", "project")
        with pytest.raises(Conflict):
            keys.assign_key(actor=cast.actor, key_id=key.id, project=made.slug)
        assert keys.assign_key(actor=cast.actor, key_id=key.id, project="").project_id is None
        assert projects.assign_consumer(actor=cast.actor, consumer_id=robot.id, project="").project_id is None
        with pytest.raises(NotFound):
            projects.assign_consumer(actor=cast.actor, consumer_id=theirs.id, project="")
