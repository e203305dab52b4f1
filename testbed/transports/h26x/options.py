"""Options of the H.26x transports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Known values of `probe_fill`.
PROBE_FILLS: Final = ("padding", "media")


@dataclass(frozen=True, slots=True)
class H26xOptions:
    """What a scenario may say about an H.26x transport.

    Attributes:
        preset: encoder preset, or "" for the codec's default.
        intra_period_frames: distance of periodic key frames; 0: only the first and on request.
        slices: slices a picture, for concealment; h264 only, 1-32.
        retransmission: answer NACKs.
        max_tries: how often one packet is asked for, 1-10 (ringmaster: 3).
        key_requests: the receiver asks for a key frame (PLI) when it cannot go on.
        key_interval_ms: at least this between requested key frames, 0-10000.
        conceal: feed the decoder what arrived and take its own concealment.
        give_up_ms: how long after capture a missing packet still matters; 0: the playout deadline.
        pacing_factor: pacing rate over target rate, 1-10 (libwebrtc: 2.5).
        payload_bytes: largest RTP payload, 200-1460.
        catch_up: how many times faster than captured frames may follow each other on the screen
            after a stall, 1-100.
        probe_fill: what fills a probe of the rate control for bandwidth: "padding" (RTP padding on
            the retransmission's source) or "media" (the encoder is asked for more).
        report_interval_ms: time between the receiver's reports, 10-1000 (Morphe paper: 100).
        count_headers: the rate target includes IP, UDP and RTP headers.
    """

    preset: str = ""
    intra_period_frames: int = 0
    slices: int = 1
    retransmission: bool = True
    max_tries: int = 3
    key_requests: bool = True
    key_interval_ms: int = 300
    conceal: bool = False
    give_up_ms: int = 0
    pacing_factor: float = 2.5
    payload_bytes: int = 1200
    catch_up: float = 2.0
    count_headers: bool = True
    probe_fill: str = "padding"
    report_interval_ms: int = 100

    def __post_init__(self) -> None:
        for name, low, high in (
            ("intra_period_frames", 0, 100_000),
            ("slices", 1, 32),
            ("max_tries", 1, 10),
            ("key_interval_ms", 0, 10_000),
            ("give_up_ms", 0, 60_000),
            ("pacing_factor", 1, 10),
            ("payload_bytes", 200, 1460),
            ("catch_up", 1, 100),
            ("report_interval_ms", 10, 1000),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name}: must be a number (got {value!r})")
            if not low <= value <= high:
                raise ValueError(f"{name}: must be in {low}..{high} (got {value})")
        for name in ("retransmission", "key_requests", "conceal", "count_headers"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: must be true or false (got {getattr(self, name)!r})")
        if self.probe_fill not in PROBE_FILLS:
            known = ", ".join(PROBE_FILLS)
            raise ValueError(f"probe_fill: must be one of {known} (got {self.probe_fill!r})")
        if not isinstance(self.preset, str):
            raise ValueError(f"preset: must be a name (got {self.preset!r})")
