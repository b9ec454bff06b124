from __future__ import annotations

from typing import Any

from tests.ui.samples.forms import ConsumerForm, InviteForm, PasswordForm, submit
from tests.ui.samples.shell import PAGER, after, before, option, page

TOKEN = "byok_live_4mT0examplenotarealtoken0000x7Kq2a"
CURL = f"""curl -sS -X POST http://localhost:8000/api/v1/tenants/acme/keys/prod-chat-gateway/use/ \\
  -H "Authorization: Bearer {TOKEN}" \\
  -H "Content-Type: application/json" \\
  -d '{{"scope": "chat.write", "purpose": "support chat"}}'"""
CONSUMERS = [
    {"name": "support-agent", "url": "#", "kind": "agent", "kind_label": "Agent", "status": "active"}
    | {
        "status_label": "Active",
        "owner": "Tenant owner",
        "tokens": 1,
        "grants": 2,
        "last_used_at": before(minutes=4),
    },
    {"name": "checkout-api", "url": "#", "kind": "service", "kind_label": "Service", "status": "active"}
    | {
        "status_label": "Active",
        "owner": "Platform lead",
        "tokens": 2,
        "grants": 1,
        "last_used_at": before(days=3),
    },
    {"name": "batch-vendor", "url": "#", "kind": "vendor", "kind_label": "Vendor", "status": "expired"}
    | {"status_label": "Expired", "owner": "Tenant owner", "tokens": 0, "grants": 0, "last_used_at": None},
]
CONSUMER: dict[str, Any] = page(
    "Consumers",
    "support-agent",
    consumer={"name": "support-agent", "slug": "support-agent", "kind": "agent", "kind_label": "Agent"},
    status="active",
    status_label="Active",
    issue_url="#",
    actions=[{"label": "End consumer", "url": "#", "icon": "ban", "danger": True}],
    tokens=[
        {"label": "production", "prefix": "byok_live_4mT0", "status": "active", "status_label": "Active"}
        | {"scopes_label": "use", "expires_at": after(days=30), "last_used_at": before(minutes=4)}
        | {"rotate_url": "#", "end_url": "#"},
        {
            "label": "production, old",
            "prefix": "byok_live_9aPq",
            "status": "draining",
            "status_label": "Draining",
        }
        | {"expires_at": after(hours=20), "last_used_at": before(days=1), "end_url": "#"},
    ],
    grants=[
        {"key": "prod-chat-gateway", "url": "#", "scopes_label": "1 of 2 scopes", "delivery": "Broker"}
        | {"status": "active", "status_label": "Active", "expires_at": after(days=12), "end_url": "#"}
    ],
    facts=[("Owner", "Tenant owner"), ("Purpose", "Answers support chats"), ("Networks", "10.20.0.0/16")],
)
MEMBERS: dict[str, Any] = page(
    "Members",
    invite_url="#",
    members=[
        {"name": "Tenant owner", "email": "owner@acme.example", "role_label": "Owner", "status": "active"}
        | {"status_label": "Active", "last_seen_at": before(minutes=1), "is_self": True},
        {"name": "", "email": "auditor@acme.example", "role_label": "Auditor", "status": "suspended"}
        | {"status_label": "Suspended", "last_seen_at": None, "role_url": "#", "end_url": "#"},
    ],
    invitations=[
        {"email": "platform@acme.example", "role_label": "Manager", "invited_at": before(days=1)}
        | {"expires_at": after(days=6), "end_url": "#"}
    ],
)
INBOX: dict[str, Any] = page(
    "Inbox",
    tabs=[("Unread", "?", "2", True), ("All", "?show=all", "", False)],
    rows=[
        {"id": "0198a5c0-0000-7000-8000-000000000001", "subject": "Billing export ends on 2026-11-30", "url": "#"}
        | {"text": "It is refused after that day.", "severity": "Needs attention", "css": "pending"}
        | {"at": before(hours=2), "read_at": None, "mailed": "mailed as well"},
        {"id": "0198a5c0-0000-7000-8000-000000000002", "subject": "The credential expired", "url": "#"}
        | {"text": "Rotate the key.", "severity": "Urgent", "css": "compromised"}
        | {"at": before(days=2), "read_at": before(days=1)},
    ],
    has_unread=True,
    shows_all=False,
    all_url="?show=all",
    preferences_url="#",
    pager={"label": "Newest first", "older_url": "?older=a"},
)
ROLES = [
    option("manager", "Manager", "Registers, rotates and revokes keys.", checked=True),
    option("auditor", "Auditor", "Reads everything, changes nothing."),
    option("owner", "Owner", "All of it, and the members.", reason="Only an owner can invite an owner."),
]
OFFBOARDING: dict[str, Any] = page(
    "Offboarding",
    is_running=True,
    run={"state": "running", "state_label": "Running", "percent": 55, "started_at": before(minutes=6)}
    | {"finished_at": None, "started_by": "Tenant owner", "reason": "Contract ended"},
    steps=[
        {"label": "Stop all use", "state": "done", "state_label": "Done", "attempts": 1}
        | {"finished_at": before(minutes=6), "note": "7 consumers refused from now on"},
        {
            "label": "Revoke at the providers",
            "state": "retrying",
            "state_label": "Trying again",
            "attempts": 3,
        }
        | {"started_at": before(minutes=5), "note": "26 of 28 confirmed; GitHub did not answer"},
        {"label": "End grants and tokens", "state": "running", "state_label": "Running", "attempts": 1}
        | {"started_at": before(minutes=1)},
        {
            "label": "Remove members",
            "state": "failed",
            "state_label": "Failed",
            "attempts": 5,
            "note": "gave up",
        },
        {"label": "Shred the tenant's keys", "state": "waiting", "state_label": "Waiting"},
        {"label": "Issue the certificate", "state": "waiting", "state_label": "Waiting"},
    ],
    totals=[("Keys", 31), ("Revoked upstream", 26), ("Grants", 44), ("Tokens", 9)],
    residuals=[
        {
            "key": "ci-release-bot",
            "provider": "GitHub",
            "text": "Delete the token by hand: no API for it.",
            "url": "#",
        }
    ],
    resume_url="#",
)
INVITATION = {"tenant": "Acme Robotics", "email": "platform@acme.example", "role_label": "Manager"} | {
    "expires_at": after(days=6)
}
TENANT_PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "choose": (
        "tenants/choose.html",
        {
            "memberships": [
                {"name": "Acme Robotics", "url": "#", "role": "Owner", "status": "active"},
                {"name": "Globex Clinics", "url": "#", "role": "Auditor", "status": "offboarding"}
                | {"status_label": "Offboarding"},
            ]
        },
    ),
    "choose_none": ("tenants/choose.html", {"memberships": []}),
    "consumers": ("tenants/consumers.html", page("Consumers", rows=CONSUMERS, register_url="#", pager=PAGER)),
    "consumers_first": ("tenants/consumers.html", page("Consumers", rows=[], register_url="#")),
    "consumer": ("tenants/consumer.html", CONSUMER),
    "consumer_new": ("tenants/consumer.html", CONSUMER | {"tokens": [], "grants": []}),
    "consumer_register": (
        "tenants/consumer_register.html",
        page("Consumers", "Register", form=submit(ConsumerForm, {"name": "Bad Name"}), cancel_url="#")
        | {
            "kinds": [
                option("service", "Service", "A program of yours.", checked=True),
                option("agent", "Agent", "Decides by itself what to call."),
                option("vendor", "Vendor", "Someone else's program."),
            ]
        },
    ),
    "token_once": (
        "tenants/token_once.html",
        page("Consumers", "support-agent", "Token", consumer={"name": "support-agent", "url": "#"}, token=TOKEN)
        | {"curl": CURL, "expires_at": after(days=90), "done_url": "#"}
        | {"old_token_note": "The old token works for 24 more hours."},
    ),
    "members": ("tenants/members.html", MEMBERS),
    "invite": (
        "tenants/invite.html",
        page("Members", "Invite", form=InviteForm(), roles=ROLES, cancel_url="#")
        | {"link": "http://localhost:8000/invitations/f3c19a77d0/"},
    ),
    "inbox": ("tenants/inbox.html", INBOX),
    "inbox_empty": ("tenants/inbox.html", INBOX | {"rows": [], "has_unread": False}),
    "inbox_first": ("tenants/inbox.html", INBOX | {"rows": [], "has_unread": False, "shows_all": True}),
    "preferences": (
        "tenants/preferences.html",
        page("Inbox", "How you hear of things", form=ConsumerForm(), tenant_name="Acme Robotics", cancel_url="#"),
    ),
    "invitation": ("tenants/invitation.html", {"invitation": INVITATION, "form": PasswordForm()}),
    "invitation_dead": ("tenants/invitation.html", {"invitation": None}),
    "offboarding": ("tenants/offboarding.html", OFFBOARDING),
    "offboarded": (
        "tenants/offboarding.html",
        OFFBOARDING
        | {"is_running": False, "residuals": [], "certificate_url": "#", "resume_url": ""}
        | {
            "run": {
                "state": "done",
                "state_label": "Offboarded",
                "percent": 100,
                "finished_at": before(minutes=1),
            }
        },
    ),
}
