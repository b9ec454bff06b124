"""Findings and jobs."""

from __future__ import annotations

from typing import Any

from tests.ui.samples.shell import after, before, page

_ROW: dict[str, Any] = {
    "title": "No backup owner",
    "text": "Nobody follows when the owner leaves.",
    "key": "prod-chat-gateway",
    "key_url": "#",
    "owner": "Tenant owner",
    "status": "failed",
    "severity": "High",
    "remedy_label": "Name a backup owner",
    "remedy_url": "#",
    "accept_url": "#",
    "accepted_until": None,
    "reason": "",
}
_JOB: dict[str, Any] = {
    "label": "Revoke a credential at its provider, and look again",
    "status": "attention",
    "status_label": "Given up",
    "attempts": 12,
    "max_attempts": 12,
    "done_steps": 0,
    "total_steps": 0,
    "error": "upstream_not_confirmed",
    "created_at": before(days=1),
    "next_at": None,
    "finished_at": before(minutes=3),
    "retry_url": "#",
}
_RUNNING: dict[str, Any] = {"status": "running", "status_label": "Running", "done_steps": 3, "total_steps": 12}
_AGAIN: dict[str, Any] = {"status": "queued", "status_label": "Trying again", "next_at": after(minutes=4)}
POSTURE_PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "findings": (
        "keys/findings.html",
        page(
            "Findings",
            rows=[_ROW, {**_ROW, "status": "unknown", "severity": "Low", "remedy_url": "", "accept_url": ""}],
            accepted=[{**_ROW, "accepted_until": after(days=7), "reason": "Backup joins on Monday"}],
        ),
    ),
    "findings_none": ("keys/findings.html", page("Findings", rows=[], accepted=[])),
    "jobs": (
        "tenants/jobs.html",
        page(
            "Jobs",
            tabs=[("All", "?", 3, True), ("Given up", "?state=dead", 1, False)],
            rows=[
                _JOB,
                {**_JOB, **_RUNNING, "error": "", "finished_at": None, "retry_url": ""},
                {**_JOB, **_AGAIN, "attempts": 2, "finished_at": None, "retry_url": ""},
            ],
            pager={"label": "Newest first"},
        ),
    ),
    "jobs_none": ("tenants/jobs.html", page("Jobs", tabs=[("All", "?", 0, True)], rows=[])),
}
