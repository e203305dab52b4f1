"""The sender's repairs: packets behind each frame's media packets, and what is asked for again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from testbed.protocol.fec.codes import FEC_CODES, MAX_WINDOW_FRAMES, FrameEncoder
from testbed.protocol.fec.redundancy import AdaptiveShare, FixedShare, LossEstimate, Redundancy
from testbed.protocol.fec.wire import OVERHEAD_BYTES, Repair, pack_repair, pack_source
from testbed.protocol.payload.types import H26X_FEC
from testbed.protocol.source import RtpSource
from testbed.transports.h26x.hybrid import HybridRepeats
from testbed.transports.h26x.options import H26xOptions

#: Of the media's bytes, what the base of two layers takes, roughly.
BASE_SHARE: Final = 0.5
#: Weight of a frame in the smoothed number of packets: a few frames, ours.
FRAME_WEIGHT: Final = 0.125


def media_payload_bytes(options: H26xOptions) -> int:
    """Largest payload of a media packet: its repair packets must not be longer than allowed."""
    return options.payload_bytes - (OVERHEAD_BYTES if options.repairs else 0)


def redundancy_of(options: H26xOptions, loss: LossEstimate) -> Redundancy:
    """How many repair packets the options ask for."""
    if options.fec_share:
        return FixedShare(options.fec_share)
    return AdaptiveShare(loss, residual=options.fec_residual, most_share=options.fec_most_share)


class Protection:
    """Sends repair packets and answers requests; with `fec: none` the latter alone.

    Args:
        options: of the transport.
        source: sends them.
        fps: frame rate.
        playout_deadline_ns: as in the scenario.
    """

    def __init__(
        self, options: H26xOptions, source: RtpSource, *, fps: float, playout_deadline_ns: int
    ) -> None:
        self._source = source
        self._fps = fps
        self._useful_ns = options.give_up_ms * 1_000_000 or playout_deadline_ns
        self._loss = LossEstimate()
        self._redundancy = redundancy_of(options, self._loss)
        self._encoder: FrameEncoder | None = None
        if options.fec != "none":
            code = FEC_CODES.get(options.fec)
            self._encoder = code.encoder(self._redundancy, window_frames=options.fec_window_frames)
            self._block_frames = 1 + code.later_frames(options.fec_window_frames)
        self._packets = 0.0  # of a protected frame, smoothed
        self._layered = options.layered
        # First packet of each of the latest frames, the present one last.
        self._firsts: deque[int] = deque(maxlen=MAX_WINDOW_FRAMES + 1)
        self._hybrid: HybridRepeats | None = None
        if options.arq == "hybrid":
            self._hybrid = HybridRepeats(
                source, self._loss, residual=options.fec_residual, max_tries=options.max_tries
            )

    def after_frame(
        self,
        payloads: Sequence[bytes],
        *,
        first_sequence: int,
        timestamp: int,
        frame: int,
        now_ns: int,
    ) -> None:
        """A frame's media packets were queued; queue the repair packets that are due.

        Args:
            payloads: of the media packets, of which the last has the marker.
            first_sequence: extended number of the first.
            timestamp: RTP timestamp.
            frame: number of the frame.
            now_ns: time.
        """
        if self._encoder is None and self._hybrid is None:
            return
        last = len(payloads) - 1
        symbols = [
            pack_source(payload, marker=number == last, timestamp=timestamp)
            for number, payload in enumerate(payloads)
        ]
        made: list[Repair] = []
        if self._encoder is not None:
            self._firsts.append(first_sequence)
            self._packets += (len(payloads) - self._packets) * (
                FRAME_WEIGHT if self._packets else 1
            )
            made = self._encoder.add_frame(first_sequence, symbols)
            self._send(made, timestamp=timestamp, frame=frame, now_ns=now_ns)
        if self._hybrid is not None:
            self._hybrid.remember(
                first_sequence,
                symbols,
                sent=made,
                frame=frame,
                timestamp=timestamp,
                deadline_ns=round(frame * 1e9 / self._fps) + self._useful_ns,
                now_ns=now_ns,
            )

    def foreseen(self) -> float:
        """Repair over media packets that the next frames will have."""
        if self._encoder is None or not self._packets:
            return 0.0
        share = self._redundancy.share(max(1, round(self._packets * self._block_frames)))
        return share * BASE_SHARE if self._layered else share

    def on_report(self, *, now_ns: int) -> None:
        """The source has learnt the loss that the receiver reports."""
        loss = self._source.loss
        if loss is not None:
            self._loss.on_report(loss, now_ns=now_ns)

    def on_request(self, lost: Sequence[int], *, now_ns: int) -> None:
        """The receiver asks for packets (numbers modulo 2**16)."""
        if self._hybrid is None:
            self._source.resend(lost, now_ns=now_ns)
            return
        for block, made in self._hybrid.answer(lost, now_ns=now_ns):
            self._send(
                made, timestamp=block.timestamp, frame=block.frame, now_ns=now_ns, front=True
            )

    def _send(
        self,
        made: Sequence[Repair],
        *,
        timestamp: int,
        frame: int,
        now_ns: int,
        front: bool = False,
    ) -> None:
        left = len(made)
        for repair in made:
            left -= 1
            self._source.send_fec(
                pack_repair(repair),
                payload_type=H26X_FEC,
                marker=not left,
                timestamp=timestamp,
                frame=frame,
                now_ns=now_ns,
                span=1 if front else self._span(repair.base),
                front=front,
            )

    def _span(self, base: int) -> int:
        """`Datagram.span` of a repair packet that reaches back to packet `base`."""
        before = sum(first > base for first in self._firsts)
        return -before or 1
