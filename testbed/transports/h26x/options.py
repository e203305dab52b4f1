"""Options of the H.26x transports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from testbed.protocol.fec.codes import FEC_CODES, MAX_WINDOW_FRAMES, WINDOW_FRAMES
from testbed.transports.checks import check_choice, check_flags, check_ranges

#: Known values of `probe_fill`.
PROBE_FILLS: Final = ("padding", "media")
#: Known values of `arq`.
ARQS: Final = ("nack", "hybrid", "none")


@dataclass(frozen=True, slots=True)
class H26xOptions:
    """What a scenario may say about an H.26x transport.

    Attributes:
        preset: encoder preset, or "" for the codec's default.
        intra_period_frames: distance of periodic key frames; 0: only the first and on request.
        slices: slices a picture, for concealment; h264 only, 1-32.
        temporal_layers: 2: no frame refers to an odd one, so that the receiver can do without; odd
            frames are neither protected nor sent again; h264 only, 1-2.
        retransmission: answer NACKs.
        arq: how: "nack" (each packet as it is asked for), "hybrid" (with as many repair packets as
            the frame's deadline calls for) or "none" (as `retransmission: false`).
        fec: forward error correction: "none" or a registered code (`testbed.protocol.fec.codes`).
        fec_share: repair packets over media packets, 0-4; 0: what the reported loss calls for.
        fec_window_frames: frames that a window spans (`rs-window`), or that it reaches back
            (`streaming`), 1-8 (Tambur: 3).
        fec_residual: adaptive: probability that a block may stay beyond repair, 0.0001-0.5.
        fec_most_share: adaptive: repair packets over media packets at most, 0.05-4.
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
        count_repairs: it includes repair packets and, at a fixed rate, retransmissions.
    """

    preset: str = ""
    intra_period_frames: int = 0
    slices: int = 1
    temporal_layers: int = 1
    retransmission: bool = True
    arq: str = "nack"
    fec: str = "none"
    fec_share: float = 0.0
    fec_window_frames: int = WINDOW_FRAMES
    fec_residual: float = 0.01
    fec_most_share: float = 1.0
    max_tries: int = 3
    key_requests: bool = True
    key_interval_ms: int = 300
    conceal: bool = False
    give_up_ms: int = 0
    pacing_factor: float = 2.5
    payload_bytes: int = 1200
    catch_up: float = 2.0
    count_headers: bool = True
    count_repairs: bool = True
    probe_fill: str = "padding"
    report_interval_ms: int = 100

    def __post_init__(self) -> None:
        check_ranges(
            self,
            ("intra_period_frames", 0, 100_000),
            ("slices", 1, 32),
            ("temporal_layers", 1, 2),
            ("fec_share", 0, 4),
            ("fec_window_frames", 1, MAX_WINDOW_FRAMES),
            ("fec_residual", 0.0001, 0.5),
            ("fec_most_share", 0.05, 4),
            ("max_tries", 1, 10),
            ("key_interval_ms", 0, 10_000),
            ("give_up_ms", 0, 60_000),
            ("pacing_factor", 1, 10),
            ("payload_bytes", 200, 1460),
            ("catch_up", 1, 100),
            ("report_interval_ms", 10, 1000),
        )
        check_flags(
            self, "retransmission", "key_requests", "conceal", "count_headers", "count_repairs"
        )
        check_choice(self, "probe_fill", PROBE_FILLS)
        check_choice(self, "arq", ARQS)
        check_choice(self, "fec", ("none", *FEC_CODES.names()))
        if self.fec == "none" and self.fec_share:
            raise ValueError("fec_share: goes with fec, which is none")
        if self.temporal_layers == 2:
            self._check_layers()
        if self.arq == "hybrid" and not self.retransmission:
            raise ValueError("arq: hybrid needs retransmission: true")
        if not isinstance(self.preset, str):
            raise ValueError(f"preset: must be a name (got {self.preset!r})")

    def _check_layers(self) -> None:
        if self.slices > 1 or self.conceal or self.intra_period_frames % 2:
            raise ValueError(
                "temporal_layers: 2 goes with slices: 1, conceal: false and an even "
                "intra_period_frames"
            )
        if self.fec not in ("none", "rs-frame"):
            raise ValueError(
                f"temporal_layers: 2 goes with fec: none or rs-frame (got {self.fec!r})"
            )

    @property
    def layered(self) -> bool:
        """Odd frames are disposable."""
        return self.temporal_layers == 2

    @property
    def resends(self) -> bool:
        """NACKs are answered."""
        return self.retransmission and self.arq != "none"

    @property
    def repairs(self) -> bool:
        """There may be repair packets."""
        return self.fec != "none" or (self.arq == "hybrid" and self.retransmission)
