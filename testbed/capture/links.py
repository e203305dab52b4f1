"""From a captured packet to the UDP datagram in it, whatever link it was captured on.

Bytes may be garbage or cut short: what is not UDP over IP is None, nothing is raised.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from testbed.capture.datagram import UDP_HEADER_BYTES, UDP_PROTOCOL

#: Link types (the registry of draft-ietf-opsawg-pcaplinktype). Some systems write DLT_RAW's own
#: number, 12 or 14, into files.
NULL: Final = 0
ETHERNET: Final = 1
RAW: Final = frozenset({12, 14, 101, 228, 229})  # 228 and 229: IPv4 and IPv6 alone
LOOP: Final = 108
LINUX_SLL: Final = 113
LINUX_SLL2: Final = 276

#: EtherTypes: IPv4, IPv6, and the tags of 802.1Q and 802.1ad.
_IP_TYPES: Final = frozenset({0x0800, 0x86DD})
_TAGS: Final = frozenset({0x8100, 0x88A8, 0x9100})
#: AF_INET, and AF_INET6 as Linux, the BSDs and macOS have it.
_FAMILIES: Final = frozenset({2, 10, 24, 28, 30})
#: IPv6 extension headers that may stand before UDP: hop by hop, routing, destination options.
_EXTENSIONS: Final = frozenset({0, 43, 60})
_FRAGMENT: Final = 44


@dataclass(frozen=True, slots=True)
class UdpDatagram:
    """A UDP datagram.

    Attributes:
        source, destination: IP addresses.
        source_port, destination_port: UDP ports.
        payload: what was kept of it.
        size_bytes: of the whole payload, by the UDP header.
    """

    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes
    size_bytes: int


def udp_in(link_type: int, data: bytes) -> UdpDatagram | None:
    """The datagram in a packet; None if there is none, or not its first fragment."""
    start = _ip_starts(link_type, data)
    if start is None or start >= len(data):
        return None
    version = data[start] >> 4
    if version == 4:
        return _in_ipv4(data[start:])
    if version == 6:
        return _in_ipv6(data[start:])
    return None


def _ip_starts(link_type: int, data: bytes) -> int | None:
    """Offset of the IP header; None for another protocol or an unknown link."""
    if link_type in RAW:
        return 0
    reader = _LINKS.get(link_type)
    return None if reader is None else reader(data)


def _after_types(data: bytes, at: int) -> int | None:
    """Offset behind an EtherType and the VLAN tags before it."""
    while int.from_bytes(data[at : at + 2], "big") in _TAGS:
        at += 4
    return at + 2 if int.from_bytes(data[at : at + 2], "big") in _IP_TYPES else None


def _ethernet(data: bytes) -> int | None:
    return _after_types(data, 12)


def _linux_sll(data: bytes) -> int | None:
    return _after_types(data, 14)


def _linux_sll2(data: bytes) -> int | None:
    return 20 if int.from_bytes(data[:2], "big") in _IP_TYPES else None


def _null(data: bytes) -> int | None:
    # In the byte order of the machine that captured.
    families = {int.from_bytes(data[:4], "big"), int.from_bytes(data[:4], "little")}
    return 4 if families & _FAMILIES else None


_LINKS: Final[dict[int, Callable[[bytes], int | None]]] = {
    NULL: _null,
    LOOP: _null,
    ETHERNET: _ethernet,
    LINUX_SLL: _linux_sll,
    LINUX_SLL2: _linux_sll2,
}


def _in_ipv4(data: bytes) -> UdpDatagram | None:
    header_bytes = 4 * (data[0] & 0x0F)
    if len(data) < 20 or header_bytes < 20 or data[9] != UDP_PROTOCOL:
        return None
    if int.from_bytes(data[6:8], "big") & 0x1FFF:  # a later fragment
        return None
    # 0 where the network card was to cut a large packet; else it tells link padding apart.
    total = int.from_bytes(data[2:4], "big") or len(data)
    return _in_udp(data[12:16], data[16:20], data[header_bytes:total])


def _in_ipv6(data: bytes) -> UdpDatagram | None:
    if len(data) < 40:
        return None
    following, at = data[6], 40
    end = at + int.from_bytes(data[4:6], "big") if data[4:6] != b"\0\0" else len(data)
    while following in _EXTENSIONS or following == _FRAGMENT:
        if at + 8 > len(data):
            return None
        if following == _FRAGMENT:
            if int.from_bytes(data[at + 2 : at + 4], "big") >> 3:
                return None
            size = 8
        else:
            size = 8 * (data[at + 1] + 1)
        following, at = data[at], at + size
    if following != UDP_PROTOCOL:
        return None
    return _in_udp(data[8:24], data[24:40], data[at:end])


def _in_udp(source: bytes, destination: bytes, data: bytes) -> UdpDatagram | None:
    if len(data) < UDP_HEADER_BYTES:
        return None
    length = int.from_bytes(data[4:6], "big") or len(data)  # 0: a jumbogram (RFC 2675)
    if length < UDP_HEADER_BYTES:
        return None
    return UdpDatagram(
        _address(source),
        int.from_bytes(data[:2], "big"),
        _address(destination),
        int.from_bytes(data[2:4], "big"),
        data[UDP_HEADER_BYTES:length],
        length - UDP_HEADER_BYTES,
    )


@lru_cache(maxsize=4096)
def _address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))
