"""The staff door of tenants: open, edit, suspend; consumers of platform systems; people, read-only."""

from __future__ import annotations

from tenants.admin import consumers, notices, people, record, tenants

__all__ = ["consumers", "notices", "people", "record", "tenants"]
