"""Options of the GRACE-style transport."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.transports.checks import check_flags, check_ranges


@dataclass(frozen=True, slots=True)
class GraceOptions:
    """What a scenario may say about the GRACE-style transport.

    Attributes:
        packet_bytes: payload that the packets of a picture aim at, 64-1400: more and smaller ones
            lose less at once, and cost headers.
        least_packets: of a P picture, 1-255.
        payload_bytes: largest RTP payload, 200-1460.
        patch_side: of the intra patch in every P picture, in luma samples: 0 (none) or a multiple
            of 16 up to 256 (GRACE: 128).
        resync: the sender decodes again with what arrived, after a report.
        retransmission: ask again for a picture of which nothing came.
        max_tries: how often a packet is asked for, 1-10.
        reorder_ms: how long after a later picture's first packet earlier ones may come, 0-1000.
        key_frames: pictures that the first intra picture may take the bytes of, 1-60.
        pacing_factor: pacing rate over target rate, 1-10 (libwebrtc: 2.5).
        catch_up: how many times faster than captured pictures may follow each other on the screen
            after a stall, 1-100.
        report_interval_ms: time between the receiver's reports, 10-1000 (Morphe paper: 100).
        weights: of the codec: a shipped model or a file.
    """

    packet_bytes: int = 400
    least_packets: int = 2
    payload_bytes: int = 1200
    patch_side: int = 64
    resync: bool = True
    retransmission: bool = True
    max_tries: int = 5
    reorder_ms: float = 5.0
    key_frames: float = 6.0
    pacing_factor: float = 2.5
    catch_up: float = 2.0
    report_interval_ms: int = 100
    weights: str = "grace-seen"

    def __post_init__(self) -> None:
        check_ranges(
            self,
            ("packet_bytes", 64, 1400),
            ("least_packets", 1, 255),
            ("payload_bytes", 200, 1460),
            ("patch_side", 0, 256),
            ("max_tries", 1, 10),
            ("reorder_ms", 0, 1000),
            ("key_frames", 1, 60),
            ("pacing_factor", 1, 10),
            ("catch_up", 1, 100),
            ("report_interval_ms", 10, 1000),
        )
        if self.patch_side % 16:
            raise ValueError(f"patch_side: must be a multiple of 16 (got {self.patch_side})")
        check_flags(self, "resync", "retransmission")
        if not isinstance(self.weights, str) or not self.weights:
            raise ValueError(f"weights: must be a name or a path (got {self.weights!r})")
