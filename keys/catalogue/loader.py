"""Reads the catalogue: the TOML files beside this module, and entries that platform staff keep as JSON."""

from __future__ import annotations

import hashlib
import json
import tomllib
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from keys.catalogue.documents import broken, build, dump
from keys.catalogue.entries import Json, ProviderEntry
from keys.catalogue.rules import check_entry

if TYPE_CHECKING:
    from collections.abc import Mapping


def load_catalogue() -> dict[str, ProviderEntry]:
    """The entries that ship with the portal, by slug, in the files' order. A fresh dict; the entries are
    frozen.
    """
    return dict(_shipped())


def parse_entry(document: Mapping[str, object]) -> ProviderEntry:
    """A checked entry from a JSON or TOML document. Raises InvalidInput with the field's path and the
    rule's code.
    """
    return check_entry(build(ProviderEntry, dict(document), ""))


def to_document(entry: ProviderEntry) -> dict[str, Json]:
    """The JSON form of an entry: `parse_entry(to_document(entry)) == entry`."""
    document = dump(entry)
    if not isinstance(document, dict):
        raise broken("entry", "not_a_table", "must be a table of names and values")
    return document


def digest(entry: ProviderEntry) -> str:
    """SHA-256 of the canonical document: tells whether a stored entry still is the one that shipped."""
    canonical = json.dumps(to_document(entry), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@cache
def _shipped() -> Mapping[str, ProviderEntry]:
    folder = files("keys.catalogue")
    entries: dict[str, ProviderEntry] = {}
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".toml"):
            slug = file.name.removesuffix(".toml")
            entries[slug] = parse_entry({"slug": slug, **tomllib.loads(file.read_text(encoding="utf-8"))})
    # OpenBao first: the customer's own server is where every journey can be tried end to end.
    ordered = sorted(entries.items(), key=lambda item: (item[0] != "openbao", item[1].name.lower()))
    return MappingProxyType(dict(ordered))
