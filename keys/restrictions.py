"""Where from and when a key may be used: networks and weekly windows. Must never raise; refuses in doubt."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED_PREFIX: Final = 96  # ::ffff:0:0/96 holds all of IPv4
_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Window:
    """Weekly hours in UTC. `days` are those on which it opens (Monday is 0); minutes count from midnight.

    Half-open: the end minute is outside. An end before the start runs past midnight; equal ones never open.
    """

    days: frozenset[int]
    start_minute: int
    end_minute: int

    def contains(self, moment: datetime) -> bool:
        """Whether the window is open at `moment`."""
        moment = as_utc(moment)
        today, minute = moment.weekday(), moment.hour * 60 + moment.minute
        if self.start_minute <= self.end_minute:
            return today in self.days and self.start_minute <= minute < self.end_minute
        opened_today = today in self.days and minute >= self.start_minute
        opened_yesterday = (today - 1) % _DAYS in self.days and minute < self.end_minute
        return opened_today or opened_yesterday


@dataclass(frozen=True, slots=True)
class NetworkMatch:
    """Whether an address is admitted, and by which CIDR; no CIDR when nothing restricts it."""

    admitted: bool
    network: str | None = None


_UNRESTRICTED: Final = NetworkMatch(admitted=True)


def match_networks(address: str | None, *lists: Sequence[str]) -> NetworkMatch:
    """Every list that is not empty must hold the address; the last one's CIDR is named."""
    match = _UNRESTRICTED
    for networks in lists:
        if not networks:
            continue
        match = _match_list(address, networks)
        if not match.admitted:
            break
    return match


def as_utc(moment: datetime) -> datetime:
    """`moment` in UTC; a naive one is taken for UTC already."""
    if moment.tzinfo is UTC:
        return moment
    if moment.utcoffset() is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # hours from the calendar's first or last day
        return moment.replace(tzinfo=UTC)


def has_come(limit: datetime | None, now: datetime) -> bool:
    """Whether `now` is at or past `limit`; never, when there is none."""
    if limit is None:
        return False
    if limit.tzinfo is UTC and now.tzinfo is UTC:
        return now >= limit
    return as_utc(now) >= as_utc(limit)


def _match_list(address: str | None, networks: Sequence[str]) -> NetworkMatch:
    source = _parse_address(address)
    if source is not None:
        for text in networks:
            network = _parse_network(text)
            if network is not None and source in network:
                return NetworkMatch(admitted=True, network=str(network))
    return NetworkMatch(admitted=False)


def _parse_address(text: str | None) -> _Address | None:
    # A zone id (fe80::1%eth0) means something on one host only, so it is no address to decide on.
    if not isinstance(text, str) or "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _parse_network(text: object) -> _Network | None:
    if not isinstance(text, str):
        return None
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network
