"""What every model of keys shares: closed lists of words as columns."""

from __future__ import annotations

from typing import Any

from django.db import models

from keys.states import IncidentState, RevocationReason


def choices_of(words: Any) -> list[tuple[str, str]]:
    """The choices of a closed list of words, as people read them."""
    return [(word.value, word.value.replace("_", " ").capitalize()) for word in words]


REVOCATION_REASONS = choices_of(RevocationReason)
INCIDENT_STATES = choices_of(IncidentState)
"""Named for the OpenAPI document."""


def state_check(words: Any, name: str) -> models.CheckConstraint:
    """The column `state` holds a word of the list, whoever writes it."""
    return models.CheckConstraint(condition=models.Q(state__in=[word.value for word in words]), name=name)
