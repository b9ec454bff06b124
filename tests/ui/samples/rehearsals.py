"""Recertification and drills."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from keys.pages.campaign_forms import AnswerForm
from keys.recertification import Progress
from tests.ui.samples.shell import after, before, page

_CAMPAIGN: dict[str, Any] = {
    "name": "Yearly review",
    "url": "#",
    "status": "running",
    "status_label": "Open",
    "due_on": after(days=9).date(),
    "selection": "Keys of an environment: production",
    "consequence": "Tell people, refuse new grants, suspend the key",
    "progress": Progress(confirmed=12, change_needed=1, not_mine=1, waiting=17),
    "started_at": before(days=5),
}
_ITEM: dict[str, Any] = {
    "key": "prod-chat-gateway",
    "url": "#",
    "owner": "Tenant owner",
    "backup": "Backup owner",
    "status": "queued",
    "status_label": "No answer yet",
    "answered_at": None,
    "note": "",
    "due_on": before(days=1).date(),
    "is_late": True,
    "answer_url": "#",
}
_DONE = {"status": "attention", "status_label": "Change needed", "answered_at": before(hours=3), "note": "Needs less"}
_MINE: dict[str, Any] = {
    "key": "prod-chat-gateway",
    "provider": "OpenAI",
    "url": "#",
    "campaign": "Yearly review",
    "due_on": after(days=9).date(),
    "is_late": False,
    "status": "queued",
    "status_label": "No answer yet",
    "tick": "0198a5c0-0000-7000-8000-000000000000:abc",
    "last_at": before(days=300),
}
_KEY = SimpleNamespace(
    name="prod-chat-gateway",
    purpose="Answers customers",
    environment="production",
    owner="Tenant owner",
    backup_owner="Backup owner",
)
_RECERTIFY: dict[str, Any] = {
    "key": _KEY,
    "form": AnswerForm(),
    "is_mine": True,
    "asks": True,
    "digest": "abc",
    "scopes": [{"id": "chat", "name": "Chat", "can": "Send messages to models", "risk": 2}],
    "consumers": [
        {"name": "chat-service", "kind": "Service", "scopes": "chat", "delivery": "Broker", "last_at": before(hours=1)},
        {"name": "old-job", "kind": "Service", "scopes": "chat", "delivery": "Lease", "last_at": None},
    ],
    "items": [{"campaign": "Yearly review", "due_on": after(days=9).date(), "status": "queued", "status_label": "-"}],
    "due_at": after(days=30),
    "last": SimpleNamespace(created_at=before(days=300)),
    "changes": [{"label": "Hand it over", "url": "#"}],
    "cancel_url": "#",
}
_DRILL: dict[str, Any] = {
    "title": "Revocation drill",
    "url": "#",
    "key": "canary-1",
    "key_url": "#",
    "status": "done",
    "status_label": "Passed",
    "says": "",
    "slowest": 41,
    "at": before(hours=2),
    "by_schedule": True,
}
_FAILED = {"status": "failed", "status_label": "Failed", "says": "There was no canary key.", "slowest": None, "key": ""}
_RESULT: dict[str, Any] = {
    "place": "https://portal.example.com",
    "process": "9f1c2ab4",
    "before": 3,
    "overlap": 9,
    "failed": 0,
    "refused": 5,
    "allowed_after": 0,
    "unreachable": 0,
    "first_refused_ms": 41,
    "code": "key_revoked",
}
REHEARSAL_PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "campaigns": (
        "keys/campaigns.html",
        page(
            "Recertification",
            rows=[_CAMPAIGN, {**_CAMPAIGN, "status": "done", "status_label": "Closed"}],
            start_url="#",
            mine_url="#",
            mine=3,
            pager={"label": "Newest first"},
        ),
    ),
    "campaigns_none": ("keys/campaigns.html", page("Recertification", rows=[], start_url="#", mine_url="", mine=0)),
    "campaign": (
        "keys/campaign.html",
        page(
            "Recertification",
            campaign=_CAMPAIGN,
            note="After the audit",
            items=[_ITEM, {**_ITEM, **_DONE, "is_late": False, "answer_url": ""}],
            close_url="#",
            cancel_url="#",
        ),
    ),
    "my_keys": (
        "keys/my_keys.html",
        page("Recertification", form=None, rows=[_MINE, {**_MINE, "tick": "", "is_late": True}], has_unchanged=True),
    ),
    "my_keys_none": ("keys/my_keys.html", page("Recertification", form=None, rows=[], has_unchanged=False)),
    "recertify": ("keys/recertify.html", page("Keys", **_RECERTIFY)),
    "recertify_theirs": (
        "keys/recertify.html",
        page("Keys", **{**_RECERTIFY, "form": None, "is_mine": False, "changes": [], "last": None, "consumers": []}),
    ),
    "drills": (
        "keys/drills.html",
        page(
            "Drills",
            rows=[_DRILL, {**_DRILL, **_FAILED}],
            schedules=[{"kind": "Revocation", "every": "Every month", "next_on": after(days=12).date()}],
            canaries=[{"name": "canary-1", "url": "#", "provider": "OpenBao"}],
            start_url="#",
            schedule_url="#",
            pager={"label": "Newest first"},
        ),
    ),
    "drills_none": ("keys/drills.html", page("Drills", rows=[], schedules=[], canaries=[], start_url="")),
    "drill": (
        "keys/drill.html",
        page(
            "Drills",
            drill=_DRILL,
            facts=[("Target", "every process refuses within 1000 ms"), ("Begun", before(hours=2))],
            results=[_RESULT, {**_RESULT, "place": "worker", "process": "", "allowed_after": 2, "overlap": 0}],
            entries=[{"action": "key.revoked", "url": "#"}],
            is_running=False,
        ),
    ),
    "drill_running": (
        "keys/drill.html",
        page("Drills", drill={**_DRILL, **_FAILED}, facts=[], results=[], entries=[], is_running=True),
    ),
}
