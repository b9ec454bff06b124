from __future__ import annotations

from math import sin
from typing import Any

from tests.ui.samples.shell import PAGER, page, risk

OPENAI = {"name": "OpenAI", "abbreviation": "OA", "tile": "openai"}
ROWS = [
    (
        "payments-capture",
        "Stripe",
        "St",
        "stripe",
        "…71cd",
        "Production",
        "active",
        "Active",
        3,
        "5 scopes",
        "",
        88400,
        "overdue",
        "3 days overdue",
        "was due 20 Nov",
        100,
    ),
    (
        "prod-chat-gateway",
        "OpenAI",
        "OA",
        "openai",
        "…9F3A",
        "Production",
        "active",
        "Active",
        1,
        "3 scopes",
        "",
        612300,
        "soon",
        "Ends in 4 days",
        "27 Nov",
        94,
    ),
    (
        "ci-release-bot",
        "GitHub",
        "Gh",
        "github",
        "…c20e",
        "CI",
        "suspended",
        "Suspended",
        4,
        "11 scopes, 8 unused",
        "",
        4120,
        "soon",
        "Proof ends in 9 days",
        "2 Dec",
        88,
    ),
    (
        "claude-support-agent",
        "Anthropic",
        "An",
        "anthropic",
        "…hT5w",
        "Production",
        "rotating",
        "Rotating",
        1,
        "2 scopes",
        "",
        301000,
        "busy",
        "Two versions live",
        "old one ends in 18 h",
        62,
    ),
    (
        "warehouse-loader",
        "Snowflake",
        "Sn",
        "snowflake",
        "…0b9d",
        "Production",
        "active",
        "Active",
        2,
        "4 scopes",
        "",
        142000,
        "fresh",
        "Ends in 29 days",
        "22 Dec",
        52,
    ),
    (
        "leaked-in-repo",
        "AWS",
        "Aw",
        "aws",
        "…XK7Q",
        "Staging",
        "compromised",
        "Compromised",
        3,
        "3 scopes",
        "alarm",
        7904,
        "overdue",
        "Destroy now",
        "reported 2 h ago",
        100,
    ),
    (
        "old-batch",
        "OpenBao",
        "Ob",
        "openbao",
        "…Lm2c",
        "Production",
        "revoked",
        "Revoked",
        1,
        "1 scope",
        "",
        0,
        "off",
        "Ended",
        "6 Jan",
        0,
    ),
]
ACTIONS = [
    {"label": "Rotate", "url": "#", "icon": "rotate-cw", "danger": False},
    {"label": "Suspend", "url": "#", "icon": "pause", "danger": False},
    {"label": "Revoke", "url": "#", "icon": "ban", "danger": True},
    {"label": "Report as compromised", "url": "#", "icon": "flame", "danger": True},
]


def _points(seed: int) -> list[int]:
    return [60 + day * (seed % 3) + int(25 * sin(day * 0.9 + seed)) + (day * seed * 37) % 23 for day in range(30)]


def _row(at: int, cells: tuple[Any, ...]) -> dict[str, Any]:
    (
        name,
        provider,
        abbreviation,
        tile,
        hint,
        environment,
        status,
        label,
        level,
        scopes,
        trend,
        total,
        *due,
    ) = cells
    return {
        "key": {"name": name, "slug": name, "url": "#", "hint": hint, "environment": environment}
        | {"provider": {"name": provider, "abbreviation": abbreviation, "tile": tile}},
        "status": status,
        "status_label": label,
        "risk": risk(level),
        "scopes_label": scopes,
        "uses": {"trend": trend, "points": _points(at + 3) if total else [], "total": total},
        "due": dict(zip(("css", "label", "sub", "percent"), due, strict=True)),
        "actions": ACTIONS,
    }


LIST: dict[str, Any] = page(
    "Keys",
    stats={"live": 28, "providers": 7, "expiring_soon": 4, "needs_attention": 5, "uses_30d": 1240000}
    | {"denied_30d": 372, "points": _points(11)},
    tabs=[
        ("All", "#", 31, True),
        ("Needs attention", "#", 5, False),
        ("Rotating", "#", 1, False),
        ("Revoked", "#", 3, False),
    ],
    rows=[_row(at, cells) for at, cells in enumerate(ROWS)],
    q="",
    provider="",
    providers=[{"slug": "openai", "name": "OpenAI"}, {"slug": "anthropic", "name": "Anthropic"}],
    pager=PAGER,
    register_url="#",
    export_url="#",
    clear_url="#",
    notices=[
        {"level": "bad", "title": "payments-capture is 3 days past its end date."}
        | {"text": "It can write live charges.", "url": "#", "action": "Rotate now"}
    ],
)
