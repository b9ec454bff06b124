"""Provider adapters: one folder each, all of the same shape. Adding one is copying one."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from byok_portal.errors import Refused
from keys.providers.declared.adapter import DeclaredAdapter
from keys.providers.manual.adapter import ManualAdapter
from keys.providers.openbao.adapter import OpenBaoAdapter
from keys.providers.openbao.succession import OpenBaoSuccession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keys.catalogue import ProviderEntry
    from keys.providers.contract import Adapter, Succession

_ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType(
    {"openbao": OpenBaoAdapter(), "declared": DeclaredAdapter(), "none": ManualAdapter()}
)
_SUCCESSIONS: Final[Mapping[str, Succession]] = MappingProxyType({"openbao": OpenBaoSuccession()})


def get_adapter(entry: ProviderEntry) -> Adapter:
    """The adapter that the entry names. Adapters hold no state, so one serves all."""
    return _ADAPTERS[entry.adapter]


def find_succession(entry: ProviderEntry) -> Succession | None:
    """Who has successors made at this provider: there is one exactly when the adapter's rotation is assisted."""
    return _SUCCESSIONS.get(entry.adapter)


def get_succession(entry: ProviderEntry) -> Succession:
    """As `find_succession`. Raises Refused where people rotate by the guide."""
    found = find_succession(entry)
    if found is None:
        raise Refused(f"{entry.name} makes no successors; rotate by its guide.", code="guided")
    return found
