"""The API against its own OpenAPI document: generated requests, good and bad, are answered as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from byok_portal.boundary.permissions import TOKEN_PERMISSIONS
from byok_portal.wsgi import application

if TYPE_CHECKING:
    from tests.world import World

CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def lived_in(world_setup: World) -> dict[str, Any]:
    """A tenant with a key, a grant and a token that may do everything, for requests that get past the door."""
    from keys.services import exposing  # noqa: PLC0415  # settings must be ready

    cast = world_setup.tenant("fuzzed")
    everything = tuple(sorted(permission.value for permission in TOKEN_PERMISSIONS))
    key, credential = world_setup.key(cast), world_setup.consumer(cast, scopes=everything)
    world_setup.grant(cast, key, credential)
    exposed = world_setup.key(cast)
    with world_setup.bound(cast):
        incident = exposing.quarantine(actor=cast.actor, key_id=exposed.id)
    with world_setup.inside(cast):
        task = incident.tasks.order_by("position")[0]
    return {
        "headers": credential.headers,
        "path": {
            "tenant": cast.slug,
            "key": key.slug,
            "consumer": credential.consumer.slug,
            "provider": "openbao",
            "incident": str(incident.id),
            "task": str(task.id),
        },
    }


schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", application)


@schema.exclude(path_regex="openapi|proxy").parametrize()
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_call_answers_as_its_document_says(case: schemathesis.Case[Any], lived_in: dict[str, Any]) -> None:
    for name, value in lived_in["path"].items():
        if name in case.path_parameters:
            case.path_parameters[name] = value
    case.call_and_validate(headers=lived_in["headers"], checks=CHECKS)
