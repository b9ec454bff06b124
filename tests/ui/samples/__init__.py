"""Realistic contexts for every page: the contract between the views and the templates, written as data."""

from __future__ import annotations

from typing import Any

from tests.ui.samples.audit import AUDIT_PAGES
from tests.ui.samples.endings import ENDING_PAGES
from tests.ui.samples.incidents import INCIDENT_PAGES
from tests.ui.samples.keys import KEY_PAGES
from tests.ui.samples.plain import PLAIN_PAGES
from tests.ui.samples.policies import POLICY_PAGES
from tests.ui.samples.posture import POSTURE_PAGES
from tests.ui.samples.rehearsals import REHEARSAL_PAGES
from tests.ui.samples.tenants import TENANT_PAGES

PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    **KEY_PAGES,
    **POLICY_PAGES,
    **POSTURE_PAGES,
    **REHEARSAL_PAGES,
    **INCIDENT_PAGES,
    **TENANT_PAGES,
    **ENDING_PAGES,
    **AUDIT_PAGES,
    **PLAIN_PAGES,
}
"""Name of the picture -> (template, context)."""
