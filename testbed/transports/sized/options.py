"""Options that all sized transports share."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.transports.checks import check_flags, check_ranges


@dataclass(frozen=True, slots=True)
class SizedOptions:
    """What a scenario may say about any transport of which only sizes are known.

    Attributes:
        sizes_from: a CSV file of sizes (columns frame, bytes and, for disco, unit), from your own
            encodes of this clip; "": sizes as the other options say.
        retransmission: answer NACKs.
        max_tries: how often one packet is asked for, 1-10 (ringmaster: 3).
        give_up_ms: how long after its group is captured a missing packet still matters, 0-60000;
            0: the playout deadline.
        pacing_factor: pacing rate over target rate, 1-10 (libwebrtc: 2.5).
        payload_bytes: largest RTP payload, 200-1460.
        catch_up: how many times faster than captured frames may follow each other on the screen
            after a stall, 1-100.
        count_headers: the rate target includes IP, UDP and RTP headers and the descriptor.
        report_interval_ms: time between the receiver's reports, 10-1000 (Morphe paper: 100).
    """

    sizes_from: str = ""
    retransmission: bool = True
    max_tries: int = 3
    give_up_ms: int = 0
    pacing_factor: float = 2.5
    payload_bytes: int = 1200
    catch_up: float = 2.0
    count_headers: bool = True
    report_interval_ms: int = 100

    def __post_init__(self) -> None:
        check_ranges(
            self,
            ("max_tries", 1, 10),
            ("give_up_ms", 0, 60_000),
            ("pacing_factor", 1, 10),
            ("payload_bytes", 200, 1460),
            ("catch_up", 1, 100),
            ("report_interval_ms", 10, 1000),
        )
        check_flags(self, "retransmission", "count_headers")
        if not isinstance(self.sizes_from, str):
            raise ValueError(f"sizes_from: must be a path (got {self.sizes_from!r})")
