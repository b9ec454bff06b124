"""Chosen scopes against what the credential can really do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keys.providers.contract import Excess, ProbeResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keys.catalogue import ProviderEntry


@dataclass(frozen=True, slots=True)
class Comparison:
    """`missing` scopes were chosen but are not held. `known` False: the provider cannot tell, both lists
    may be short.
    """

    missing: tuple[str, ...]
    excess: tuple[Excess, ...]
    known: bool

    @property
    def highest_risk(self) -> int:
        """Of the excess; 0 when there is none."""
        return max((each.risk for each in self.excess), default=0)


def compare(chosen: Iterable[str], probe: ProbeResult, entry: ProviderEntry) -> Comparison:
    """Missing in catalogue order; excess with the most dangerous first."""
    wanted = set(chosen)
    if probe.effective_scopes is None:
        return Comparison((), _by_risk(probe.excess), known=False)
    missing = tuple(s.id for s in entry.scopes if s.id in wanted and s.id not in probe.effective_scopes)
    held = (probe.effective_scopes | probe.partial_scopes) - wanted
    unchosen = [
        Excess(scope.id, f"It can also: {scope.can[0].lower()}{scope.can[1:]}", scope.risk)
        for scope in entry.scopes
        if scope.id in held and not scope.inherent
    ]
    return Comparison(missing, _by_risk((*unchosen, *probe.excess)), known=True)


def _by_risk(excess: Iterable[Excess]) -> tuple[Excess, ...]:
    return tuple(sorted(excess, key=lambda each: -each.risk))
