"""Provider adapters: one folder each, all of the same shape. Adding one is copying one."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keys.providers.declared.adapter import DeclaredAdapter
from keys.providers.manual.adapter import ManualAdapter
from keys.providers.openbao.adapter import OpenBaoAdapter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keys.catalogue import ProviderEntry
    from keys.providers.contract import Adapter

_ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType(
    {"openbao": OpenBaoAdapter(), "declared": DeclaredAdapter(), "none": ManualAdapter()}
)


def get_adapter(entry: ProviderEntry) -> Adapter:
    """The adapter that the entry names. Adapters hold no state, so one serves all."""
    return _ADAPTERS[entry.adapter]
