"""The provider catalogue as data: one TOML file per provider. Adding a provider is adding a file."""

from __future__ import annotations

from keys.catalogue.entries import (
    Auth,
    Capability,
    Endpoint,
    GroupEntry,
    Parameter,
    PresetEntry,
    ProbeSpec,
    ProviderEntry,
    RevokeSpec,
    ScopeEntry,
    Sentinel,
    Shape,
)
from keys.catalogue.loader import digest, load_catalogue, parse_entry, to_document
from keys.catalogue.parameters import check_parameters

__all__ = [
    "Auth",
    "Capability",
    "Endpoint",
    "GroupEntry",
    "Parameter",
    "PresetEntry",
    "ProbeSpec",
    "ProviderEntry",
    "RevokeSpec",
    "ScopeEntry",
    "Sentinel",
    "Shape",
    "check_parameters",
    "digest",
    "load_catalogue",
    "parse_entry",
    "to_document",
]
