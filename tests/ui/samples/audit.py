from __future__ import annotations

from typing import Any

from django import forms

from audit.pages.proof_drawing import draw_path
from tests.ui.samples.shell import PAGER, before, page

LEAF = (
    '{"body":{"action":"key.used","actor":"consumer:0192f3c1","detail":{"scope":"files.read"},"id":"0192f3c1-77aa",'
    '"outcome":"denied","priv":"9f3a","req":"0192f3c1","target":"key:0192a001","time":"2026-11-23T06:45:59Z"},'
    '"prev":"b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c","seq":1841,"tenant":"acme","v":1}'
)
HASH = "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730"
DOCUMENT: dict[str, Any] = page(
    "Certificates and reports",
    "Offboarding certificate",
    title="Offboarding certificate",
    subject="Acme",
    issued_at=before(days=2),
    is_signed=True,
    entry_url="#",
    entries=214,
    statement='{\n  "reason": "cessation_of_operation",\n  "steps": []\n}',
    is_cut=False,
    bundle_url="#",
    page_url="#",
    json_url="#",
    verifier_url="#",
    keys="portal.example/audit/1+1a2b3c4d+AbCd",
    command="python3 byok_verify.py offboarding-certificate.zip --log-key log.vkey",
)
ROWS = [
    {
        "number": 1841,
        "time": before(minutes=4),
        "action": "key.used",
        "outcome": "denied",
        "outcome_label": "Denied",
    }
    | {"code": "scope_not_granted", "actor_label": "batch-vendor", "actor_kind": "Consumer", "url": "#"}
    | {"target_label": "prod-chat-gateway", "scope": "files.read", "network": "203.0.113.9"},
    {
        "number": 1840,
        "time": before(minutes=9),
        "action": "key.used",
        "outcome": "allowed",
        "outcome_label": "Allowed",
    }
    | {
        "actor_label": "support-agent",
        "actor_kind": "Consumer",
        "url": "#",
        "target_label": "prod-chat-gateway",
    }
    | {"scope": "chat.write", "network": "10.20.4.7"},
    {
        "number": 1839,
        "time": before(hours=2),
        "action": "key.rotated",
        "outcome": "done",
        "outcome_label": "Done",
    }
    | {
        "actor_label": "Tenant owner",
        "actor_kind": "Person",
        "url": "#",
        "target_label": "claude-support-agent",
    },
]
EMPTY: dict[str, str] = dict.fromkeys(("action", "outcome", "actor_kind", "key", "consumer", "from", "to"), "")
LIST: dict[str, Any] = page(
    "Audit log",
    filters=EMPTY,
    action_options=[("key.used", "key.used"), ("key.rotated", "key.rotated")],
    outcome_options=[("allowed", "Allowed"), ("denied", "Denied")],
    actor_kind_options=[("person", "Person"), ("consumer", "Consumer")],
    key_options=[("prod-chat-gateway", "prod-chat-gateway")],
    consumer_options=[("support-agent", "support-agent")],
    rows=ROWS,
    pager=PAGER | {"label": "Newest first"},
    export_url="#",
    erase_url="#",
    csv_url="#",
    jsonl_url="#",
    verify_url="#",
    clear_url="#",
)
PROOF: dict[str, Any] = {
    "index": 5,
    "size": 7,
    "origin": "byok.example/audit/cell-1",
    "signed_at": before(minutes=1),
    "witnessed_at": before(minutes=1),
    "root": HASH,
    "url": "#",
    "text": "c2sp.org/tlog-proof@v1\nindex 5\n",
    "keys": "byok.example/audit/cell-1+0a0b0c0d+AQID",
    "command": "byok-verify --proof entry-1841.tlog-proof --entry entry-1841.json --log-key KEY",
    "drawing": draw_path(bytes(32), 5, 7, [bytes([number] * 32) for number in (1, 2, 3)]),
}


class KeptForm(forms.Form):
    """Like the form of the export page."""

    kept_file = forms.FileField(required=False, label="head.tlog-proof of an older export")
    since = forms.CharField(required=False, label="Or paste it", widget=forms.Textarea)


EXPORT: dict[str, Any] = page(
    "Audit log",
    "Export",
    form=KeptForm(),
    count=1841,
    bytes=966_525,
    checkpoint={name: PROOF[name] for name in ("origin", "size", "signed_at", "witnessed_at")},
    keys=PROOF["keys"],
    witness_keys="",
    command="python3 byok_verify.py EXPORT.zip --log-key log.vkey",
    verifier_url="#",
)
ERASE: dict[str, Any] = page(
    "Audit log",
    "Erase personal data",
    person_options=[("1", "Tenant owner (owner@acme.example)")],
    consumer_options=[("2", "support-agent")],
    kind="",
    id="",
    errors=[],
)
AUDIT_PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "audit": ("audit/list.html", LIST),
    "audit_no_result": (
        "audit/list.html",
        LIST | {"rows": [], "is_filtered": True, "errors": ["from: not a date"]},
    ),
    "audit_first": ("audit/list.html", LIST | {"rows": []}),
    "entry": (
        "audit/detail.html",
        page("Audit log", "Entry 1841", entry=ROWS[0], leaf=LEAF, hash=HASH, hash_hex=HASH, previous_hash=HASH[::-1])
        | {"proof": PROOF, "erase_url": "#", "entry_url": "#", "newer_url": "#", "older_url": "#"}
        | {
            "facts": [
                ("Actor", "batch-vendor (consumer)"),
                ("Key", "prod-chat-gateway"),
                ("Scope", "files.read"),
            ]
        },
    ),
    "entry_pending": (
        "audit/detail.html",
        page("Audit log", "Entry 1841", entry=ROWS[0], leaf=LEAF, hash=HASH, hash_hex=HASH, previous_hash="", facts=[])
        | {"proof": None, "entry_url": "#"},
    ),
    "entry_waiting": (
        "audit/waiting.html",
        page("Audit log", "Waiting", event_id="0192f3c1-77aa-7000-8000-000000000001", recorded_at=before(minutes=0))
        | {"erase_url": "#"},
    ),
    "entry_late": (
        "audit/waiting.html",
        page("Audit log", "Waiting", event_id="0192f3c1-77aa-7000-8000-000000000001", recorded_at=before(minutes=9))
        | {"erase_url": "", "is_late": True},
    ),
    "erase": ("audit/erase.html", ERASE),
    "erase_unknown": (
        "audit/erase.html",
        ERASE | {"kind": "event", "id": "0192f3c1", "errors": ["Nothing in the record of this tenant has this id."]},
    ),
    "export": ("audit/export.html", EXPORT),
    "documents": (
        "audit/documents.html",
        page("Audit log", "Certificates and reports", pager={"label": ""})
        | {
            "rows": [
                {"title": "Offboarding certificate", "subject": "Acme", "issued_at": before(days=2), "url": "#"},
                {"title": "Incident report", "subject": "Incident", "issued_at": before(days=9), "url": "#"},
            ]
        },
    ),
    "documents_none": ("audit/documents.html", page("Audit log", "Certificates and reports", rows=[])),
    "document": ("audit/document.html", DOCUMENT),
    "document_unsigned": ("audit/document.html", DOCUMENT | {"is_signed": False, "is_cut": True}),
    "export_pending": ("audit/export.html", EXPORT | {"checkpoint": None, "count": 0}),
}
