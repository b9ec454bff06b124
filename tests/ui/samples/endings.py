"""Projects, plans of an end, and what a project holds."""

from __future__ import annotations

from typing import Any

from django import forms

from tests.ui.samples.forms import submit
from tests.ui.samples.shell import PAGER, after, before, page


class StartForm(forms.Form):
    """As keys/pages/endings.py asks."""

    reason = forms.ChoiceField(choices=[("", "Choose a reason"), ("dormant", "Dormant")])
    note = forms.CharField(required=False)
    confirmation = forms.CharField(label="Type winter-trial")
    digest = forms.CharField(widget=forms.HiddenInput)


_USE: dict[str, Any] = {
    "name": "Report service",
    "week": 70,
    "month": 310,
    "per_day": 10.3,
    "last_at": before(minutes=4),
}
_UNUSED: dict[str, Any] = {"name": "Old importer", "week": 0, "month": 0, "per_day": 0.0, "last_at": None}
_RUN: dict[str, Any] = {
    "name": "Winter trial",
    "kind": "Project",
    "url": "#",
    "status": "running",
    "status_label": "Running",
    "at": before(minutes=2),
}
_PLAN: dict[str, Any] = {
    "counts": [("Keys that end", 12), ("Grants that end", 30)],
    "consumers": [_USE, _UNUSED],
    "keys": [{**_USE, "name": "nightly-reports"}],
    "upstream": [
        {"provider": "OpenBao", "credentials": 11, "possible": True, "instruction": ""},
        {"provider": "OpenAI", "credentials": 1, "possible": False, "instruction": "Delete the key in the dashboard."},
    ],
    "rotations": ["shared-gateway (3)"],
    "tokens": [],
    "permanent": ["Revoked keys never become active again."],
    "no_return": "The start: from then on keys and consumers of the project are refused, for good.",
    "breaks": 1,
    "hands_over": False,
}
_START: dict[str, Any] = {
    "title": "End Winter trial",
    "plan": _PLAN,
    "submit_label": "End Winter trial",
    "cancel_url": "#",
}
_LEAVER: dict[str, Any] = {
    "counts": [("Keys that end", 2)],
    "consumers": [],
    "upstream": [],
    "rotations": [],
    "tokens": ["…Ab12 of Report service"],
    "breaks": 0,
    "hands_over": True,
}
_PROJECT: dict[str, Any] = {
    "name": "Winter trial",
    "purpose": "Trying the new forecast",
    "url": "#",
    "status": "active",
    "status_label": "Active",
    "keys": 12,
    "consumers": 2,
    "ends_on": "2026-12-31",
}
_CONTRACT: dict[str, Any] = {"ends_on": None, "agreed": False, "plan_url": "#", "agree_url": "#"}
_THING: dict[str, Any] = {"name": "nightly-reports", "url": "#", "sub": "OpenBao"}
ENDING_PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "projects": (
        "keys/projects.html",
        page("Projects", rows=[_PROJECT], pager=PAGER, create_url="#", contract=_CONTRACT, runs=[_RUN]),
    ),
    "projects_none": (
        "keys/projects.html",
        page("Projects", rows=[], contract={**_CONTRACT, "agreed": True, "agree_url": ""}, runs=[]),
    ),
    "project": (
        "keys/project.html",
        page("Projects", "Winter trial", project=_PROJECT, status="active", status_label="Active", runs=[])
        | {"actions": [{"label": "End project", "url": "#", "icon": "ban", "danger": True}]}
        | {"keys": [{**_THING, "status": "active", "status_label": "Active"}], "consumers": []}
        | {"facts": [("Slug", "winter-trial"), ("Last day", after(days=20))]},
    ),
    "plan": ("keys/plan.html", page("Projects", "End", form=StartForm()) | _START),
    "plan_wrong": ("keys/plan.html", page("Projects", "End", form=submit(StartForm, {"digest": "0"})) | _START),
    "plan_leaver": (
        "keys/plan.html",
        page("Members", "Remove", form=StartForm()) | _START | {"plan": {**_PLAN, **_LEAVER}},
    ),
    "plan_tenant": ("keys/plan.html", page("Projects", "End", form=None, lede="3 consumers") | _START),
}
