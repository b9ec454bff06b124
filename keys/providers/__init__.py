"""Provider adapters: one folder each, all of the same shape. Adding one is copying one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from keys.catalogue import ProviderEntry
from keys.providers.contract import Adapter
from keys.providers.declared.adapter import DeclaredAdapter
from keys.providers.manual.adapter import ManualAdapter
from keys.providers.openbao.adapter import OpenBaoAdapter

_ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType(
    {"openbao": OpenBaoAdapter(), "declared": DeclaredAdapter(), "none": ManualAdapter()}
)


def get_adapter(entry: ProviderEntry) -> Adapter:
    """The adapter that the entry names. Adapters hold no state, so one serves all."""
    return _ADAPTERS[entry.adapter]
