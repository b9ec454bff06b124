from __future__ import annotations

from typing import Any

from keys.pages.policy_form import PolicyForm
from keys.policies import Policy
from tests.ui.samples.shell import after, before, page

_RULES = [("Rotate every", "90 days"), ("When a rotation is overdue", "Tell people, refuse new grants")]
POLICY_PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "policy": (
        "keys/policy.html",
        page(
            "Policy",
            title="Policy",
            lede="What holds for every key.",
            set_url="#",
            columns=["Platform", "Tenant", "In force"],
            rows=[
                {"label": "Rotate every", "values": ["180 days", "90 days", "90 days"]},
                {"label": "Grace before it is suspended", "values": ["", "", ""]},
                {"label": "Reminders before a date", "values": ["30, 7 days", "30, 14, 7 days", "30, 14, 7 days"]},
            ],
            scheduled=[{"layer": "Platform", "starts_at": after(days=30), "rules": _RULES}],
            history=[
                {"number": 2, "starts_at": before(days=3), "set_at": before(days=4), "who": "owner@acme.example"}
                | {"note": "After the audit", "rules": _RULES, "status": "active", "status_label": "In force"},
                {"number": 1, "starts_at": before(days=90), "set_at": before(days=90), "who": "", "note": ""}
                | {"rules": [], "status": "revoked", "status_label": "Replaced"},
            ],
        ),
    ),
    "policy_set": (
        "keys/confirm.html",
        page(
            "Policy",
            "Change",
            title="Change the policy",
            effects=[{"level": "danger", "text": "Keys that are older are overdue from its start on."}],
            form=PolicyForm(policy=Policy(rotation_days=90, reminder_days=(30, 7)), number=2),
            submit_label="Set policy",
            cancel_url="#",
        ),
    ),
    "policy_silent": (
        "keys/policy.html",
        page("Keys", title="Policy of Reports", lede="The strictest holds.", set_url="", columns=[], rows=[]),
    ),
}
