"""What the other two SSRCs give the receiver: retransmissions and forward error correction.

With a code, a gap is not asked for while repair packets may still fill it. That is over when the
last repair packet of its block came, or the first media packet of a frame behind the last whose
repairs may cover it; at the latest when the time for that has passed, or so shortly before its
deadline that a request has just time for its answer.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from fractions import Fraction
from typing import Any, Final

from testbed.errors import RemoteProtocolError
from testbed.protocol.arrivals import ArrivalRecorder
from testbed.protocol.fec.codes import FEC_CODES
from testbed.protocol.fec.decoder import ErasureDecoder
from testbed.protocol.fec.wire import CODE_BLOCK, SourcePacket, parse_repair
from testbed.protocol.nack import REORDER_NS, NackGenerator
from testbed.protocol.rtp import RtpPacket, frame_of_timestamp, parse_rtx
from testbed.protocol.sequence import MAX_DROPOUT, Unwrapper, wrap_distance
from testbed.transports.h26x.options import H26xOptions

#: More packets than ever come: a gap waits for time or for `confirm`.
_NEVER: Final = 1 << 40
#: Round trips before its deadline at which a gap is asked for, whatever may still come: one for
#: the answer and one to be safe.
RESERVE_ROUND_TRIPS: Final = 2


def nack_timing(options: H26xOptions, fps: Fraction) -> dict[str, Any]:
    """When a gap counts as lost: keywords of `NackGenerator`; none without a code."""
    if options.fec == "none":
        return {}
    frames = 1 + FEC_CODES.get(options.fec).later_frames(options.fec_window_frames)
    return {
        "reorder_packets": _NEVER,
        "reorder_ns": round(frames * 1e9 / fps) + REORDER_NS,
        "reserve_round_trips": RESERVE_ROUND_TRIPS if options.resends else 0,
    }


class PacketRecovery:
    """Media packets out of packets of the other SSRCs; see the module's text.

    Args:
        options: of the transport.
        fps: frame rate.
        ssrc: of the media.
        unwrap: of the media's sequence numbers.
        nack: is told of gaps and of what is lost for good.
        recorder: is told of arrivals.
    """

    def __init__(
        self,
        options: H26xOptions,
        fps: Fraction,
        *,
        ssrc: int,
        unwrap: Unwrapper,
        nack: NackGenerator,
        recorder: ArrivalRecorder,
    ) -> None:
        self._fps = float(fps)
        self._rtx_ssrc, self._fec_ssrc = ssrc + 1, ssrc + 2
        self._unwrap = unwrap
        self._unwrap_rtx = Unwrapper(16, most_ahead=MAX_DROPOUT)
        self._unwrap_fec = Unwrapper(16, most_ahead=MAX_DROPOUT)
        self._nack = nack
        self._recorder = recorder
        self._decoder = ErasureDecoder() if options.repairs else None
        self._holds = options.fec != "none"
        later = (
            FEC_CODES.get(options.fec).later_frames(options.fec_window_frames)
            if (self._holds)
            else 0
        )
        # Highest number seen before each of the latest frames began.
        self._ends: deque[int] = deque([-1], maxlen=later + 1)
        self._frame = 0  # number of the latest
        self._highest = -1

    def packets_in(self, packet: RtpPacket, *, now_ns: int, deadline_ns: int) -> list[SourcePacket]:
        """The media packets that a packet of another SSRC gives, with extended numbers.

        Args:
            packet: parsed.
            now_ns: its arrival.
            deadline_ns: last useful moment of its frame.

        Raises:
            RemoteProtocolError: it is of no SSRC of ours, or malformed.
        """
        if packet.ssrc == self._rtx_ssrc:
            return self._retransmitted(packet, now_ns)
        if packet.ssrc == self._fec_ssrc and self._decoder is not None:
            return self._repaired(packet, self._decoder, now_ns, deadline_ns)
        raise RemoteProtocolError(f"unknown SSRC {packet.ssrc:#x}")

    def follow_from(
        self, sequence: int, timestamp: int, marker: bool, payload: bytes, *, now_ns: int
    ) -> list[SourcePacket]:
        """The media packets that can be recovered now that this one is there."""
        if self._decoder is None:
            return []
        if self._holds and sequence > self._highest:
            self._on_newest(sequence, timestamp, now_ns)
        return self._decoder.on_source(sequence, timestamp, marker, payload)

    def _on_newest(self, sequence: int, timestamp: int, now_ns: int) -> None:
        """Learn where frames end; what no repair can cover any more is lost."""
        frame = frame_of_timestamp(timestamp, fps=self._fps)
        if frame > self._frame:
            for _ in range(min(frame - self._frame, self._ends.maxlen or 1)):
                self._ends.append(self._highest)
            self._frame = frame
            self._nack.confirm(self._ends[0], now_ns=now_ns)
        self._highest = sequence

    def _retransmitted(self, packet: RtpPacket, now_ns: int) -> list[SourcePacket]:
        if packet.padding_bytes and not packet.payload:
            number = self._unwrap_rtx.unwrap(packet.sequence)
            self._recorder.on_packet(self._rtx_ssrc, number, now_ns=now_ns)
            return []
        original, payload = parse_rtx(packet)
        number = self._unwrap_rtx.unwrap(packet.sequence)
        self._recorder.on_packet(self._rtx_ssrc, number, now_ns=now_ns)
        sequence = self._unwrap.unwrap(original)
        return [SourcePacket(sequence, packet.timestamp, packet.marker, payload)]

    def _repaired(
        self, packet: RtpPacket, decoder: ErasureDecoder, now_ns: int, deadline_ns: int
    ) -> list[SourcePacket]:
        repair = parse_repair(packet.payload)
        number = self._unwrap_fec.unwrap(packet.sequence)
        self._recorder.on_packet(self._fec_ssrc, number, now_ns=now_ns)
        highest = self._unwrap.highest or 0
        base = highest + wrap_distance(highest, repair.base)
        found = decoder.on_repair(dataclasses.replace(repair, base=base))
        end = base + repair.count - 1
        self._nack.reveal(end, now_ns=now_ns, deadline_ns=deadline_ns)
        if self._holds:
            self._highest = max(self._highest, end)
            if packet.marker and repair.code == CODE_BLOCK:
                self._nack.confirm(end, now_ns=now_ns)
        return found
