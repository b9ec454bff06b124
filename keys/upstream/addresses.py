"""Which addresses the portal may call. Must never trust a name: only resolved addresses are judged."""

from __future__ import annotations

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


LOOPBACK: Final = _networks("127.0.0.0/8", "::1/128")
# What `private_networks = true` opens, and nothing more. RFC 1918, RFC 6598 (CGNAT), RFC 4193, loopback.
PRIVATE: Final = LOOPBACK + _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
# Cloud metadata services that live outside link-local: AWS (IPv6), Alibaba, Azure wire server, GCP (IPv6).
METADATA: Final = _networks("fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32", "fd20:ce::254/128")
# Tunnels hide an IPv4 target inside; nobody needs them to reach a provider. 6to4, Teredo, 6to4 relay,
# v4-compatible,
# local-use NAT64 (its operator decides where it leads). fec0::/10 is the site-local range of old.
TUNNELS: Final = _networks("2002::/16", "2001::/32", "192.88.99.0/24", "::/96", "64:ff9b:1::/48", "fec0::/10")
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP: Final = (0x00005EFE, 0x02005EFE)


def is_private(address: Address) -> bool:
    """Whether only an entry with `private_networks` may reach it. IPv4 inside IPv6 is unwrapped first."""
    return _within(_unwrap(address), PRIVATE)


def find_refusal(address: Address, *, allow_private: bool) -> str | None:
    """The reason, in plain words, why the address must not be called; None when it may."""
    inner = _unwrap(address)
    if _within(inner, METADATA) or inner.is_link_local:
        return "a link-local or cloud metadata address"
    if _within(inner, PRIVATE):
        return None if allow_private else "an address of a private network"
    if inner.is_multicast or inner.is_unspecified or inner.is_reserved:
        return "a multicast, unspecified or reserved address"
    if _within(inner, TUNNELS) or _is_isatap(inner):
        return "an address of a tunnel"
    return None if inner.is_global else "an address that is not on the public internet"


def _unwrap(address: Address) -> Address:
    """The IPv4 address inside `::ffff:a.b.c.d` and NAT64: that is where the packet ends up."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_isatap(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
