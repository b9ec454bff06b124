"""Providers that the portal does not call."""
