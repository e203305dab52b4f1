"""The packet as the link sees it."""

from __future__ import annotations

from typing import Final

#: A UDP datagram of n bytes is an IP packet of n + 28 bytes (20 IPv4 + 8 UDP).
IP_UDP_HEADER_BYTES: Final = 28
#: mm-link meters TUN frames: an IP packet plus 4 bytes of packet information (mahimahi F7).
TUN_HEADER_BYTES: Final = 4
#: Link size of a UDP datagram minus its payload.
LINK_OVERHEAD_BYTES: Final = IP_UDP_HEADER_BYTES + TUN_HEADER_BYTES


class Packet:
    """A packet on one direction of the path; each stage stamps what it did.

    Attributes:
        size_bytes: size on the link, > 0; for UDP, payload + `LINK_OVERHEAD_BYTES`.
        payload: whatever travels (a `Datagram` in a session); the link never looks inside.
        number: 0, 1, 2, ... in order of entry into this direction; indexes the loss mask.
        frame: source frame it belongs to, or -1; per-frame loss models move once a frame.
        link_in_ns: when it entered the bottleneck queue, or -1.
        link_out_ns: when its last byte left the bottleneck, or -1.
        arrival_ns: when it came out of the whole path, or -1.
        drop: "none", "queue" or "loss".
    """

    __slots__ = (
        "arrival_ns",
        "drop",
        "frame",
        "link_in_ns",
        "link_out_ns",
        "number",
        "payload",
        "size_bytes",
    )

    def __init__(
        self, size_bytes: int, payload: object = None, number: int = 0, frame: int = -1
    ) -> None:
        self.size_bytes = size_bytes
        self.payload = payload
        self.number = number
        self.frame = frame
        self.link_in_ns = -1
        self.link_out_ns = -1
        self.arrival_ns = -1
        self.drop = "none"
