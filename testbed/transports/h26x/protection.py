"""The sender's forward error correction: repair packets behind each frame's media packets."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.protocol.budget import RepairBudget
from testbed.protocol.fec.codes import FEC_CODES, FrameEncoder
from testbed.protocol.fec.redundancy import AdaptiveShare, FixedShare, Redundancy
from testbed.protocol.fec.wire import OVERHEAD_BYTES, Repair, pack_repair, pack_source
from testbed.protocol.payload.types import H26X_FEC
from testbed.protocol.source import RtpSource
from testbed.transports.h26x.options import H26xOptions


def media_payload_bytes(options: H26xOptions) -> int:
    """Largest payload of a media packet: its repair packets must not be longer than allowed."""
    return options.payload_bytes - (OVERHEAD_BYTES if options.repairs else 0)


def redundancy_of(options: H26xOptions) -> Redundancy:
    """How many repair packets the options ask for."""
    if options.fec_share:
        return FixedShare(options.fec_share)
    return AdaptiveShare(residual=options.fec_residual, most_share=options.fec_most_share)


def budget_of(options: H26xOptions, *, constant: bool) -> RepairBudget | None:
    """What takes repairs out of the target; None: the options say that they come on top.

    Args:
        options: of the transport.
        constant: the rate control's target is.
    """
    if not options.count_repairs:
        return None
    foreseen = options.fec_share if options.fec != "none" else 0.0
    return RepairBudget(foreseen=foreseen, meets_sum=constant)


class Protection:
    """Sends repair packets; with `fec: none` it does nothing.

    Args:
        options: of the transport.
        source: sends them.
    """

    def __init__(self, options: H26xOptions, source: RtpSource) -> None:
        self._source = source
        self._redundancy = redundancy_of(options)
        self._encoder: FrameEncoder | None = None
        if options.fec != "none":
            self._encoder = FEC_CODES.get(options.fec).encoder(
                self._redundancy, window_frames=options.fec_window_frames
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
        if self._encoder is None:
            return
        last = len(payloads) - 1
        symbols = [
            pack_source(payload, marker=number == last, timestamp=timestamp)
            for number, payload in enumerate(payloads)
        ]
        made = self._encoder.add_frame(first_sequence, symbols)
        self._send(made, timestamp=timestamp, frame=frame, now_ns=now_ns)

    def on_report(self, *, now_ns: int) -> None:
        """The source has learnt the loss that the receiver reports."""
        loss = self._source.loss
        if loss is not None:
            self._redundancy.on_loss(loss, now_ns=now_ns)

    def _send(self, made: Sequence[Repair], *, timestamp: int, frame: int, now_ns: int) -> None:
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
            )
