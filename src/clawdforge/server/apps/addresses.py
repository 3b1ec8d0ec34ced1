"""Networks that callers may come from: read from text, and asked about addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED_BITS = 96  # ::ffff:0:0/96 holds the IPv4 addresses


def network(text: str) -> Network:
    """The network that a CIDR names; bits below its prefix are ignored, a single address is a network of one.

    Raises:
        ValueError: the text names none.
    """
    parsed = ip_network(text, strict=False)
    if isinstance(parsed, IPv6Network) and parsed.prefixlen >= _MAPPED_BITS:
        mapped = parsed.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, parsed.prefixlen - _MAPPED_BITS))
    return parsed


def within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether one of the networks holds the address; an IPv4-mapped IPv6 address is judged as the IPv4 one."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in each for each in networks)
