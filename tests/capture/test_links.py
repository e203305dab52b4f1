import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.compat import raw
from scapy.layers.inet import IP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback
from scapy.packet import Packet

from testbed.capture.links import UdpDatagram, udp_in

V4 = IP(src="192.0.2.7", dst="203.0.113.9") / UDP(sport=4000, dport=5000) / b"payload"
V6 = IPv6(src="2001:db8::7", dst="2001:db8::9") / UDP(sport=4000, dport=5000) / b"payload"
EXTENDED = (
    IPv6(src="2001:db8::7", dst="2001:db8::9")
    / IPv6ExtHdrHopByHop()
    / IPv6ExtHdrDestOpt()
    / IPv6ExtHdrFragment(offset=0, m=0)
    / UDP(sport=4000, dport=5000)
    / b"payload"
)
WITH_OPTIONS = IP(src="192.0.2.7", dst="203.0.113.9", options=[IPOption_NOP()] * 4) / V4[UDP]
FOUR = UdpDatagram("192.0.2.7", 4000, "203.0.113.9", 5000, b"payload", 7)
SIX = UdpDatagram("2001:db8::7", 4000, "2001:db8::9", 5000, b"payload", 7)


@pytest.mark.parametrize(
    ("link", "packet", "expected"),
    [
        (101, V4, FOUR),
        (101, V6, SIX),
        (228, V4, FOUR),
        (229, EXTENDED, SIX),
        (101, WITH_OPTIONS, FOUR),
        (1, Ether() / V4, FOUR),
        (1, Ether() / Dot1Q(vlan=5) / V6, SIX),
        (1, Ether() / Dot1AD(vlan=9) / Dot1Q(vlan=5) / V4, FOUR),
        (113, CookedLinux(proto=0x0800) / V4, FOUR),
        (113, CookedLinux(proto=0x86DD) / V6, SIX),
        (276, CookedLinuxV2(proto=0x0800) / V4, FOUR),
        (0, Loopback(type=2) / V4, FOUR),
        (0, Loopback(type=30) / V6, SIX),
        (108, struct.pack(">I", 2) + raw(V4), FOUR),
        (0, struct.pack(">I", 2) + raw(V4), FOUR),
    ],
)
def test_scapys_packets_on_every_link(
    link: int, packet: Packet | bytes, expected: UdpDatagram
) -> None:
    # Ethernet pads short frames: what is behind the IP packet is none of it.
    for padding in (b"", bytes(11)):
        assert udp_in(link, bytes(packet) + padding) == expected


def test_what_was_cut_off_shows() -> None:
    data = raw(V4)[:-3]
    assert udp_in(101, data) == UdpDatagram("192.0.2.7", 4000, "203.0.113.9", 5000, b"payl", 7)
    assert udp_in(101, raw(V4)[:27]) is None


def test_only_the_first_fragment_has_ports() -> None:
    parts = fragment(IP(dst="192.0.2.1") / UDP(sport=1, dport=2) / bytes(3000), fragsize=1480)
    found = [udp_in(101, raw(part)) for part in parts]
    assert [one.size_bytes if one else None for one in found] == [3000, None, None]
    later = IPv6(dst="2001:db8::9") / IPv6ExtHdrFragment(offset=10, m=0, nh=17) / bytes(40)
    assert udp_in(101, raw(later)) is None


@pytest.mark.parametrize(
    ("link", "data"),
    [
        (101, b""),
        (101, b"\x00" * 40),
        (101, raw(IP(proto=6) / bytes(40))),
        (101, raw(IPv6(nh=6) / bytes(40))),
        (1, raw(Ether() / ARP())),
        (1, raw(Ether() / Dot1Q(vlan=5))),
        (113, raw(CookedLinux(proto=0x0806)) + bytes(40)),
        (0, struct.pack("<I", 7) + raw(V4)),
        (147, raw(V4)),  # somebody's own link type
    ],
)
def test_what_is_not_udp_over_ip_is_none(link: int, data: bytes) -> None:
    assert udp_in(link, data) is None


@given(
    link=st.sampled_from([0, 1, 101, 108, 113, 276]),
    start=st.sampled_from([b"", raw(V4), raw(EXTENDED), raw(Ether() / V4)]),
    cut=st.integers(0, 120),
    tail=st.binary(max_size=60),
)
def test_any_bytes_are_taken(link: int, start: bytes, cut: int, tail: bytes) -> None:
    found = udp_in(link, start[:cut] + tail)
    assert found is None or len(found.payload) <= found.size_bytes
