"""IPv4 and UDP headers around a datagram (RFC 791, RFC 768), with both checksums.

A world's datagrams are UDP payloads. In a capture they stand as packets of LINKTYPE_RAW, between
fixed addresses that RFC 5737 sets aside for documentation: nobody can take a simulated session for
traffic of a real host. RTP and RTCP share a port pair (RFC 5761).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from struct import Struct
from typing import Final

from testbed.errors import LocalProtocolError

#: TEST-NET-1 and TEST-NET-2 (RFC 5737 section 3).
SENDER_ADDRESS: Final = "192.0.2.1"
RECEIVER_ADDRESS: Final = "198.51.100.1"
#: The sender's is of the dynamic range (RFC 6335 section 6), the receiver's IANA's for RTP.
SENDER_PORT: Final = 50_004
RECEIVER_PORT: Final = 5004

IPV4_HEADER_BYTES: Final = 20
UDP_HEADER_BYTES: Final = 8
UDP_PROTOCOL: Final = 17

#: Version 4 with a header of five words.
_VERSION_AND_LENGTH: Final = 0x45
#: "Don't fragment"; the identification of such a packet means nothing (RFC 6864 section 4.1).
_DONT_FRAGMENT: Final = 0x4000
#: Default of RFC 1700, and what hosts send.
_TTL: Final = 64
_FIXED: Final = Struct("!BBHHHBB")
_UDP: Final = Struct("!HHH")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IPv4 address and a UDP port."""

    address: str
    port: int


SENDER: Final = Endpoint(SENDER_ADDRESS, SENDER_PORT)
RECEIVER: Final = Endpoint(RECEIVER_ADDRESS, RECEIVER_PORT)


def ones_complement_sum(data: bytes) -> int:
    """The sum of RFC 1071 over 16-bit words, modulo 0xFFFF; an odd last byte is padded.

    0x10000 is 1 modulo 0xFFFF, so the remainder of all bytes as one number is that sum; 0 stands
    for 0xFFFF as well, which is the same number in one's complement.
    """
    if len(data) % 2:
        data += b"\0"
    return int.from_bytes(data, "big") % 0xFFFF


class Framing:
    """Puts headers around the datagrams of one direction.

    Args:
        source: who sends.
        destination: to whom.
    """

    def __init__(self, source: Endpoint, destination: Endpoint) -> None:
        self._addresses = b"".join(
            ipaddress.IPv4Address(end.address).packed for end in (source, destination)
        )
        self._ports = (source.port, destination.port)

    def packet(self, payload: bytes) -> bytes:
        """The packet from its IPv4 header on.

        Raises:
            LocalProtocolError: more than a UDP datagram can hold.
        """
        udp_bytes = UDP_HEADER_BYTES + len(payload)
        try:
            fixed = _FIXED.pack(
                _VERSION_AND_LENGTH, 0, IPV4_HEADER_BYTES + udp_bytes, 0, _DONT_FRAGMENT, _TTL,
                UDP_PROTOCOL,
            )  # fmt: skip
        except struct.error:
            raise LocalProtocolError(f"{len(payload)} bytes do not fit a UDP datagram") from None
        # A header's sum is never 0 but may be 0xFFFF, of which the complement is 0.
        header_sum = ones_complement_sum(fixed + self._addresses)
        checksum = 0xFFFF - header_sum if header_sum else 0
        udp = _UDP.pack(*self._ports, udp_bytes)
        pseudo_sum = ones_complement_sum(self._addresses) + UDP_PROTOCOL + udp_bytes
        total = pseudo_sum + ones_complement_sum(udp) + ones_complement_sum(payload)
        # 0 would say that there is no checksum; RFC 768 sends 0xFFFF in its place.
        udp_checksum = 0xFFFF - total % 0xFFFF
        return b"".join(
            (
                fixed, checksum.to_bytes(2, "big"), self._addresses,
                udp, udp_checksum.to_bytes(2, "big"), payload,
            )
        )  # fmt: skip
