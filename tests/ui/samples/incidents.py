"""Incidents: the list, one at work, and the report."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from django import forms

from tests.ui.samples.shell import before, page


class _NoteForm(forms.Form):
    note = forms.CharField(label="Note", widget=forms.Textarea)


_HEADING: dict[str, Any] = {
    "title": "Suspected exposure of prod-chat-gateway",
    "key": "prod-chat-gateway",
    "status": "attention",
    "status_label": "New",
    "exposure": "attention",
    "exposure_label": "Suspected",
}
_ROW = {**_HEADING, "url": "#", "since": before(days=2), "opened_at": before(minutes=3), "waiting": 4}
_TASK: dict[str, Any] = {
    "text": "Make sure that version 3 is dead at OpenAI",
    "hint": "Done by itself when the provider confirms it.",
    "status": "attention",
    "status_label": "Open",
    "settled_at": None,
    "settled_by": "",
    "url": "?task",
}
_DONE = {"status": "active", "status_label": "Done", "settled_at": before(minutes=1), "settled_by": "Worker", "url": ""}
_CONSUMER = SimpleNamespace(name="report-service", environment="production", get_kind_display="Service")
_GRANT = SimpleNamespace(consumer=_CONSUMER, scopes=["models:read"], deliveries=["lease"], networks=["203.0.113.0/24"])
_USE = SimpleNamespace(
    name="report-service",
    version=3,
    allowed=12,
    denied=1,
    leases=2,
    codes={"scope_not_granted": 1},
    first=(before(days=1), ""),
    last=(before(minutes=9), ""),
    addresses={"203.0.113.7"},
)
_RADIUS = SimpleNamespace(uses=[_USE], is_complete=False, allowed=12, denied=1, leases=2)
_STEP: dict[str, Any] = {
    "time": before(minutes=3),
    "text": "Put in quarantine",
    "note": "Odd calls at night",
    "actor_label": "Tenant owner",
    "outcome": "allowed",
    "outcome_label": "Allowed",
    "url": "#",
}
_INCIDENT: dict[str, Any] = {
    **_HEADING,
    "key_url": "#",
    "summary": "Odd calls at night",
    "actions": [
        {"label": "False alarm", "icon": "check", "url": "#", "danger": False},
        {"label": "Confirmed: revoke for good", "icon": "flame", "url": "#", "danger": True},
    ],
    "move_url": "#",
    "report_url": "#",
    "tasks": [_TASK, {**_TASK, **_DONE}],
    "consumers": [_GRANT],
    "radius": _RADIUS,
    "related": [
        {"name": "old-gateway", "url": "#", "environment": "Staging", "state": "Active", "why": "the same credential"}
    ],
    "timeline": [_STEP, {**_STEP, "note": ""}],
    "log_hidden": False,
    "note_form": _NoteForm(),
    "note_url": "?note",
    "since_url": "#",
    "facts": [("Key", "prod-chat-gateway"), ("Opened", before(minutes=3))],
}
_BARE: dict[str, Any] = {
    "radius": None,
    "consumers": [],
    "related": [],
    "timeline": [],
    "log_hidden": True,
    "note_form": None,
    "actions": [],
}
_PERSON = {"kind": "person", "id": "0198a5c0-0000-7000-8000-000000000000", "role": "owner"}
_STATEMENT: dict[str, Any] = {
    "made_at": "2026-11-23T10:00:00Z",
    "tenant": {"name": "Acme"},
    "incident": {
        "id": "0198a5c0-0000-7000-8000-000000000001",
        "state": "closed",
        "exposure": "confirmed",
        "reason": "leak_report",
        "is_false_alarm": False,
        "suspected_since": "2026-11-22T10:00:00Z",
        "opened_at": "2026-11-23T09:00:00Z",
        "opened_by": _PERSON,
        "closed_at": "2026-11-23T09:50:00Z",
        "declared_in": ["0198a5c0-0000-7000-8000-000000000003"],
    },
    "key": {
        "name": "prod-chat-gateway",
        "provider": "openai",
        "environment": "production",
        "state": "compromised",
        "owner": _PERSON,
        "backup_owner": None,
    },
    "versions": [
        {
            "number": 3,
            "state": "compromised",
            "ended_at": "2026-11-23T09:00:00Z",
            "upstream_status": "revoked_confirmed",
        }
    ],
    "blast_radius": {
        "since": "2026-11-22T10:00:00Z",
        "scopes": ["models:read"],
        "consumers": [
            {
                "name": "report-service",
                "kind": "service",
                "environment": "production",
                "scopes": ["models:read"],
                "deliveries": ["lease"],
                "networks": [],
            }
        ],
        "uses": {
            "allowed": 12,
            "denied": 1,
            "leases": 2,
            "is_complete": True,
            "by_consumer": [
                {
                    "name": "report-service",
                    "version": 0,
                    "allowed": 12,
                    "denied": 1,
                    "first": {"at": "2026-11-22T11:00:00Z"},
                    "last": {"at": "2026-11-23T08:00:00Z"},
                }
            ],
        },
        "related_keys": [{"name": "old-gateway", "environment": "staging", "same_credential": True}],
    },
    "tasks": [
        {"kind": "tell", "about": "", "state": "done", "settled_at": "2026-11-23T09:40:00Z", "settled_by": _PERSON}
    ],
    "timeline": [
        {
            "number": 71,
            "at": "2026-11-23T09:00:00Z",
            "action": "key.compromised",
            "outcome": "allowed",
            "actor": {"kind": "worker", "id": "0198a5c0-0000-7000-8000-000000000002"},
        }
    ],
}
INCIDENT_PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "incidents": (
        "keys/incidents.html",
        page("Incidents", tabs=[("At work", "?", 1, True)], rows=[_ROW], pager={"label": "Newest first"}),
    ),
    "incidents_none": (
        "keys/incidents.html",
        page("Incidents", tabs=[("At work", "?", 0, True)], rows=[], all_url="?show=all"),
    ),
    "incident": ("keys/incident.html", page("Incident", **_INCIDENT)),
    "incident_bare": ("keys/incident.html", page("Incident", **{**_INCIDENT, **_BARE})),
    "incident_report": (
        "keys/incident_report.html",
        page("Report", title="Exposure of prod-chat-gateway", statement=_STATEMENT, json_url="#"),
    ),
}
