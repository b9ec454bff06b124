from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime.now(tz=UTC)
SECRET = "sk-canary-that-must-never-be-rendered"


def before(**span: float) -> datetime:
    return NOW - timedelta(**span)


def after(**span: float) -> datetime:
    return NOW + timedelta(**span)


def shell(current: str) -> dict[str, Any]:
    entries = [
        ("Keys", "key-round", 31, False),
        ("Consumers", "boxes", 0, False),
        ("Audit log", "scroll-text", 0, False),
        ("Members", "users", 0, False),
        ("Offboarding", "door-open", 1, True),
    ]
    return {
        "home_url": "/t/acme/keys/",
        "choose_url": "/t/",
        "tenant": {"name": "Acme Robotics", "sub": "Active", "url": "/t/acme/"},
        "tenants": [
            {"name": "Acme Robotics", "sub": "Owner", "url": "/t/acme/", "current": True},
            {"name": "Globex Clinics", "sub": "Auditor", "url": "/t/globex/", "current": False},
        ],
        "nav": [
            {
                "label": label,
                "icon": icon,
                "url": "#",
                "current": label == current,
                "count": count,
                "alert": alert,
            }
            for label, icon, count, alert in entries
        ],
        "me": {"name": "Tenant owner", "sub": "owner@acme.example"},
    }


def page(section: str, *crumbs: str, **context: object) -> dict[str, Any]:
    trail = [(section, "#"), *((crumb, "#") for crumb in crumbs)]
    return {
        "shell": shell(section),
        "crumbs": trail,
        "tenant": {"name": "Acme Robotics", "slug": "acme"},
        **context,
    }


def risk(n: int) -> dict[str, Any]:
    level = ("none", "low", "medium", "high", "critical")[n]
    return {"n": n, "level": level, "label": level.capitalize()}


def option(value: str, label: str, description: str, *, checked: bool = False, reason: str = "") -> dict[str, Any]:
    return {
        "value": value,
        "label": label,
        "description": description,
        "checked": checked,
        "disabled_reason": reason,
    }


PAGER = {"label": "Most urgent first · 7 of 31", "newer_url": "?before=a", "older_url": "?after=b"}
