"""Bytes on the wire, and the byte budget of each GoP.

Every rate counts what the network carries: a unit (or a piece of an access unit) is one packet and
has IP, UDP and RTP headers in front of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final

from testbed.network.packet import IP_UDP_HEADER_BYTES
from testbed.protocol.rtp import RTP_HEADER_BYTES

#: 20 IPv4 (RFC 791) + 8 UDP (RFC 768) + 12 RTP (RFC 3550) in front of every payload.
PACKET_HEADER_BYTES: Final = IP_UDP_HEADER_BYTES + RTP_HEADER_BYTES
#: Payload of a full packet, as WebRTC's packetisers fill it.
PAYLOAD_BYTES: Final = 1200
#: A GoP gets between these shares of what its frames are worth, whatever was spent before.
LEAST_SHARE: Final = 0.25
MOST_SHARE: Final = 2.0
#: Repeats of lost packets take at most this share of what a GoP's frames are worth: a burst that
#: took a whole GoP is paid back over several, and no picture starves for another's packets.
MOST_REPAIRS: Final = 0.5
#: Even a hopeless rate leaves this much for a GoP.
LEAST_BYTES: Final = 16
BITS_PER_KBIT: Final = 1000


def wire_bytes(payloads: Iterable[int]) -> int:
    """Bytes on the wire of packets with these payload sizes in bytes."""
    return sum(size + PACKET_HEADER_BYTES for size in payloads)


def cut_to_packets(size_bytes: int) -> list[int]:
    """Payload sizes of an access unit of `size_bytes`, cut into packets."""
    full, rest = divmod(size_bytes, PAYLOAD_BYTES)
    return [PAYLOAD_BYTES] * full + [rest] * (rest > 0)


def kbps(total_bytes: float, frames: int, fps: Fraction) -> float:
    """Rate of `total_bytes` over the time of `frames` pictures (> 0)."""
    return float(total_bytes * 8 * fps / frames) / BITS_PER_KBIT


class GopBudget:
    """How many bytes the next GoP may have, so that the whole meets its rate.

    What one GoP spent too much the next one gets less, and the other way round. Bytes that a still
    scene left over are kept for one GoP's worth only: a burst after a pause helps nobody. Packets
    that are sent again are paid by the GoPs that follow (`repeat`).

    Args:
        kbps: rate with packet headers, > 0.
        fps: frame rate, > 0.
        least_packets: the first GoP is taken to need at least this many, >= 1; the others as many
            as the one before, byte for byte.
        header_bytes: in front of every unit or piece of one.
    """

    def __init__(
        self,
        kbps: float,
        fps: Fraction,
        *,
        least_packets: int = 1,
        header_bytes: int = PACKET_HEADER_BYTES,
    ) -> None:
        self._least_packets = least_packets
        self._header_bytes = header_bytes
        self._fps = float(fps)
        self._frame_bytes = 0.0
        self.set_rate(kbps)
        self._owed = 0.0  # spent beyond the rate so far; negative: left over
        self._repairs = 0.0  # spent on repeats, and not yet taken from a GoP
        self._packet_bytes = float(PAYLOAD_BYTES + header_bytes)  # of the packets seen last

    def set_rate(self, kbps: float) -> None:
        """The rate of the GoPs to come; what is owed stays."""
        self._frame_bytes = kbps * BITS_PER_KBIT / 8 / self._fps

    def next(self, frames: int) -> int:
        """Payload bytes (without packet headers) for a GoP of `frames` pictures."""
        worth = self._frame_bytes * frames
        owed = self._owed + self._repairs_due(worth)
        room = min(max(worth - owed, LEAST_SHARE * worth), MOST_SHARE * worth)
        packets = max(self._least_packets, math.ceil(room / self._packet_bytes - 1e-9))
        return max(LEAST_BYTES, round(room - packets * self._header_bytes))

    def record(self, frames: int, units: Sequence[int]) -> None:
        """A GoP of `frames` pictures became units, or pieces of them, of these sizes in bytes."""
        worth = self._frame_bytes * frames
        spent = sum(units) + len(units) * self._header_bytes
        repairs = self._repairs_due(worth)
        self._repairs -= repairs
        self._owed = max(self._owed + repairs + spent - worth, -worth)
        if units:
            self._packet_bytes = spent / len(units)
            self._least_packets = 1

    def repeat(self, size_bytes: int) -> None:
        """So many bytes on the wire, headers included, were packets sent once more."""
        self._repairs += size_bytes

    def _repairs_due(self, worth: float) -> float:
        """What the next GoP gives for repeats."""
        return min(self._repairs, MOST_REPAIRS * worth)
