"""The staff door of tenants: open, edit, suspend; consumers of platform systems; people, read-only."""

from __future__ import annotations

from tenants.admin import consumers, people, record, tenants

__all__ = ["consumers", "people", "record", "tenants"]
