from __future__ import annotations

from keys.pages.evidence import word_evidence, word_method


def test_evidence_has_human_labels_and_nothing_empty_is_shown() -> None:
    found = {
        "num_uses": 0,
        "orphan": True,
        "entity_id": "",
        "policies": ["default", "report-reader"],
        "ttl": 2_764_800,
        "issue_time": "2026-11-23T10:31:00Z",
        "capabilities": {"secret/data/reports/": ["read"]},
        "bound_cidrs": [],
        "something_new": "kept",
    }
    assert word_evidence(found) == [
        ("Uses left", "No limit"),
        ("Lives on without its parent", "Yes"),
        ("Policies", "default, report-reader"),
        ("Life left when asked", "32 days"),
        ("Issued", "23 Nov 2026, 10:31 UTC"),
        ("Rights on its paths", "secret/data/reports/: read"),
        ("Only from networks", "Any network"),
        ("Something new", "kept"),
    ]


def test_a_method_is_worded_without_its_technical_name() -> None:
    assert word_method("openbao:live-probe", "OpenBao") == "Live, read-only question to OpenBao"
    assert word_method("signed_challenge", "OpenBao") == "Signed challenge"
