"""The staff door of keys: metadata of every tenant's keys, providers, the end of consumers and of tenants."""

from __future__ import annotations

from keys.admin import consumers, metadata, offboarding, policies, providers, tenants

__all__ = ["consumers", "metadata", "offboarding", "policies", "providers", "tenants"]
