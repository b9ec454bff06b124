"""What keys and consumers are for, with an end: a project ends as a whole."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from tenants.base import TenantModel
from tenants.models.people import SLUG
from tenants.states import ProjectState


class Project(TenantModel):
    """A purpose that keys and consumers of one tenant share. From its end on none of them is served."""

    slug = models.CharField(max_length=60, validators=[SLUG])
    name = models.CharField(max_length=80)
    purpose = models.CharField(max_length=300)
    ends_on = models.DateField(null=True, blank=True, help_text="The last day; without one, people end it.")
    state = models.CharField(
        max_length=10,
        choices=[(state.value, state.value.capitalize()) for state in ProjectState],
        default=ProjectState.ACTIVE,
    )
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="tenants_project_slug"),
            models.CheckConstraint(
                condition=models.Q(state__in=[state.value for state in ProjectState]), name="tenants_project_state"
            ),
        ]
        indexes: ClassVar = [
            # What the clock asks for, over all tenants.
            models.Index(fields=["ends_on"], condition=models.Q(state="active"), name="tenants_project_ends"),
        ]

    def __str__(self) -> str:
        return self.name
