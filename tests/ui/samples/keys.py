from __future__ import annotations

from datetime import date
from typing import Any

from tests.ui.samples.forms import ConfirmForm, GrantForm, RegisterForm, RotateForm, submit
from tests.ui.samples.key_list import ACTIONS, LIST, OPENAI
from tests.ui.samples.shell import SECRET, after, before, option, page, risk

SCOPES = [
    (
        "chat.write",
        "Chat and responses",
        "Send prompts and read the replies.",
        "A thief spends your budget.",
        1,
        True,
    ),
    ("embeddings.write", "Embeddings", "Turn text into vectors.", "A thief spends your budget.", 1, True),
    ("models.read", "List models", "See which models may be called.", "", 1, False),
    (
        "files.read",
        "Read files",
        "Download any file in the project.",
        "A thief reads uploads of other keys.",
        2,
        False,
    ),
    (
        "fine_tuning.write",
        "Fine-tune",
        "Change models that serve customers.",
        "A thief alters your product.",
        3,
        False,
    ),
    (
        "keys.admin",
        "Manage keys",
        "Mint new keys with any scope.",
        "A thief takes over the account.",
        4,
        True,
    ),
]


def _scopes() -> list[dict[str, Any]]:
    names = ("id", "name", "can", "consequence", "n", "checked")
    each: list[dict[str, Any]] = [dict(zip(names, scope, strict=True)) for scope in SCOPES]
    return [scope | {"slug": scope["id"].replace(".", "-"), "risk": risk(scope["n"])} for scope in each]


ENTRY = OPENAI | {
    "slug": "openai",
    "endpoint_kind": "fixed",
    "rotation_note": "Rotates and revokes through the API",
    "secret_hint": "A project key starts with sk-proj-. It is never shown again.",
}
PROVIDERS = [
    OPENAI
    | {"slug": "openai", "summary": "Models and embeddings", "url": "?provider=openai"}
    | {"rotation_note": "Rotates and revokes through the API."},
    {"slug": "anthropic", "name": "Anthropic", "abbreviation": "An", "tile": "anthropic", "url": "#"}
    | {"summary": "Claude models", "rotation_note": "Can be disabled by API; new keys are made by hand."},
    {"slug": "github", "name": "GitHub", "abbreviation": "Gh", "tile": "github", "url": "#"}
    | {"summary": "Repositories", "rotation_note": "Fine-grained tokens are rotated by hand."},
    {"slug": "openbao", "name": "OpenBao", "abbreviation": "Ob", "tile": "openbao", "url": "#"}
    | {"summary": "Secrets engine", "rotation_note": "Renews and revokes itself."},
    {"slug": "stripe", "name": "Stripe", "abbreviation": "St", "tile": "stripe", "url": ""}
    | {
        "summary": "Payments",
        "disabled_reason": "Switched off by the operator: no safe way to prove control.",
    },
]
LEVELS = [
    {"n": 0, "label": "No access", "text": "Pick at least one scope."},
    {"n": 1, "label": "Low exposure", "text": "If this key leaks, someone could spend your budget."},
    {"n": 2, "label": "Medium exposure", "text": "If this key leaks, someone could read stored data."},
    {"n": 3, "label": "High exposure", "text": "If this key leaks, someone could change your models."},
    {"n": 4, "label": "Critical exposure", "text": "If this key leaks, someone could take over the account."},
]
PRESETS = [
    {
        "id": "inference",
        "name": "Inference only",
        "description": "Call models. No stored data.",
        "risk": risk(1),
    }
    | {"scopes": "chat.write embeddings.write models.read", "suggested": True, "checked": False},
    {"id": "retrieval", "name": "Retrieval app", "description": "Inference plus files.", "risk": risk(2)}
    | {"scopes": "chat.write embeddings.write files.read", "suggested": False, "checked": False},
    {"id": "training", "name": "Training", "description": "Upload data and run jobs.", "risk": risk(3)}
    | {"scopes": "files.read fine_tuning.write", "suggested": False, "checked": False},
]
CUSTODIES = [
    option("sealed", "Sealed here", "Encrypted under a key of your tenant; opened per use.", checked=True),
    option("referenced", "Referenced", "Stays in your own secrets manager.", reason="Arrives in a later release."),
    option("verifier", "Verifier only", "Only a keyed hash is kept.", reason="OpenAI keys must be presented."),
]


def register(form: RegisterForm) -> dict[str, Any]:
    can = [{"text": scope["can"], "n": scope["n"]} for scope in _scopes() if scope["checked"]]
    return page(
        "Keys",
        "Register",
        entry=ENTRY,
        form=form,
        parameter_fields=[form["param_project"]],
        custodies=CUSTODIES,
        presets=PRESETS,
        levels=LEVELS,
        groups=[
            {"name": "Inference", "icon": "message-square", "scopes": _scopes()[:3]},
            {"name": "Stored data and account", "icon": "database", "scopes": _scopes()[3:]},
        ],
        summary=LEVELS[4] | {"granted": 3, "total": 6, "can": can},
        change_url="#",
        cancel_url="#",
    )


KEY = {"name": "prod-chat-gateway", "slug": "prod-chat-gateway", "url": "#", "hint": "…9F3A"} | {
    "environment": "Production",
    "provider": OPENAI,
}
DETAIL: dict[str, Any] = page(
    "Keys",
    "prod-chat-gateway",
    key=KEY,
    status="active",
    status_label="Active",
    risk=risk(3),
    primary={"label": "Rotate", "url": "#", "icon": "rotate-cw"},
    actions=ACTIONS,
    notices=[{"level": "warn", "title": "The key can do more than you chose.", "text": "Tighten it at OpenAI."}],
    due={"css": "soon", "label": "Ends in 4 days", "sub": "27 Nov 2026", "percent": 94},
    proof={
        "state": "ok",
        "title": "Called the provider with the key and read back the account",
        "account": "proj_7Yk2 · org-acme-robotics",
        "method": "Authenticated read",
        "at": before(days=3),
        "expires_at": after(days=87),
        "evidence": [
            ("Endpoint", "GET /v1/models"),
            ("Answer", "200, 41 models"),
            ("Proof id", "0192f3c1-77aa"),
        ],
        "prove_url": "#",
        "comparison": [
            {"state": "present", "name": "Chat and responses", "id": "chat.write", "risk": risk(1)}
            | {"text": "Chosen and present."},
            {"state": "missing", "name": "Embeddings", "id": "embeddings.write", "risk": risk(1)}
            | {"text": "Chosen, but the provider did not give it. Calls will fail there."},
            {"state": "excess", "name": "Fine-tune", "id": "fine_tuning.write", "risk": risk(3)}
            | {"text": "Not chosen, yet the key can do it. Refused here; a thief could use it directly."},
        ],
    },
    versions=[
        {"number": 2, "status": "active", "status_label": "Active", "ending": "…9F3A", "is_current": True}
        | {"made_current_at": before(days=3), "upstream_status": "valid", "upstream_label": "Valid"}
        | {"upstream_checked_at": before(hours=2)},
        {"number": 1, "status": "revoked", "status_label": "Revoked", "ending": "…t0Pz", "is_current": False}
        | {"made_current_at": before(days=90), "drains_until": before(days=2), "upstream_status": "revoked"}
        | {"upstream_label": "Confirmed dead", "upstream_checked_at": before(days=1)}
        | {"ended_label": "Revoked here 21 Nov 2026; upstream: confirmed dead 22 Nov 2026"},
    ],
    scopes=[scope | {"calls": ["POST /v1/chat/completions", "POST /v1/responses"]} for scope in _scopes()[:2]],
    grants=[
        {"consumer": "support-agent", "kind": "Agent", "url": "#", "scopes_label": "1 of 2 scopes"}
        | {"delivery": "Broker", "status": "active", "status_label": "Active", "expires_at": after(days=12)}
        | {"networks": "10.20.0.0/16", "end_url": "#"},
        {"consumer": "batch-vendor", "kind": "Vendor", "url": "#", "scopes_label": "2 of 2 scopes"}
        | {"delivery": "Lease", "status": "expired", "status_label": "Expired", "expires_at": before(days=1)},
    ],
    grant_url="#",
    uses=[
        {
            "at": before(minutes=4),
            "outcome": "allowed",
            "outcome_label": "Allowed",
            "consumer": "support-agent",
        }
        | {"scope": "chat.write", "delivery": "broker", "network": "10.20.4.7", "url": "#"},
        {"at": before(hours=5), "outcome": "denied", "outcome_label": "Denied", "consumer": "batch-vendor"}
        | {
            "code": "scope_not_granted",
            "scope": "files.read",
            "delivery": "lease",
            "network": "",
            "url": "#",
        },
    ],
    uses_url="#",
    facts=[
        ("Owner", "Tenant owner"),
        ("Backup owner", "Platform lead"),
        ("Purpose", "Answers support chats"),
        ("Endpoint", "https://api.openai.com"),
        ("Custody", "Sealed here"),
        ("End date", date(2026, 11, 27)),
        ("Registered", "25 Aug 2026"),
    ],
)
REVOKE: dict[str, Any] = page(
    "Keys",
    "prod-chat-gateway",
    "Revoke",
    title="Revoke prod-chat-gateway",
    lede="Every version ends now. This cannot be undone.",
    danger=True,
    effects=[
        {"text": "Uses that start after this answer are refused, on every process.", "level": "danger"},
        {"text": "OpenAI is asked to delete the key; the page tells whether it confirmed.", "level": ""},
        {"text": "The audit history stays.", "level": "ok"},
    ],
    affected=[
        {"name": "support-agent", "kind": "Agent", "note": "last used 4 minutes ago"},
        {"name": "batch-vendor", "kind": "Vendor", "note": ""},
    ],
    form=submit(ConfirmForm, {"confirm_name": "prod-chat"}),
    submit_label="Revoke key",
    cancel_url="#",
)
KEY_PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "keys": ("keys/list.html", LIST),
    "keys_no_result": ("keys/list.html", LIST | {"rows": [], "is_filtered": True, "q": "zzz"}),
    "keys_first": ("keys/list.html", LIST | {"rows": [], "notices": []}),
    "providers": ("keys/choose_provider.html", page("Keys", "Register", providers=PROVIDERS)),
    "register": ("keys/register.html", register(RegisterForm())),
    "register_wrong": (
        "keys/register.html",
        register(submit(RegisterForm, {"secret": SECRET, "name": "Bad Name"})),
    ),
    "key": ("keys/detail.html", DETAIL),
    "key_new": (
        "keys/detail.html",
        DETAIL | {"proof": {"state": "none", "prove_url": "#"}, "grants": [], "uses": []},
    ),
    "rotate_offer": (
        "keys/rotate.html",
        page("Keys", "Rotate", key=KEY, entry=ENTRY, form=submit(RotateForm, {}), cancel_url="#")
        | {"current": {"number": 2, "ending": "…9F3A", "grants": 1}, "guide": ["Paste it here."], "drains": []}
        | {"offer": {"url": "#", "obstacle": "The token's policies do not let it have a successor made."}},
    ),
    "rotate": (
        "keys/rotate.html",
        page(
            "Keys",
            "Rotate",
            key=KEY,
            entry=ENTRY,
            form=submit(RotateForm, {"secret": SECRET}),
            cancel_url="#",
        )
        | {"current": {"number": 2, "ending": "…9F3A", "grants": 3}}
        | {
            "guide": [
                "Open the project's API keys page.",
                "Create a key with the same scopes.",
                "Paste it here.",
            ]
        }
        | {"guide_url": "https://platform.openai.com/"}
        | {
            "drains": [
                option("0", "Not at all", "The old version ends the moment the new one is current."),
                option("24", "24 hours", "Consumers holding a lease finish in peace.", checked=True),
                option("168", "7 days", "For batch jobs.", reason="The tenant's policy allows 72 hours."),
            ]
        },
    ),
    "confirm_revoke": ("keys/confirm.html", REVOKE),
    "confirm_plain": (
        "keys/confirm.html",
        page("Keys", title="Prove control", effects=[], submit_label="Prove now"),
    ),
    "grant": (
        "keys/grant.html",
        page("Keys", "Grant", key=KEY, form=GrantForm(), scopes=_scopes()[:3], cancel_url="#", consumer_url="#")
        | {
            "deliveries": [
                option(
                    "decision",
                    "Decision",
                    "Only yes or no; the consumer has the secret already.",
                    checked=True,
                ),
                option("lease", "Lease", "Short-lived plaintext."),
                option("broker", "Broker", "The portal makes the call; the secret never leaves."),
            ]
        },
    ),
}
