"""The timeline of every source frame, filled while a session runs."""

from __future__ import annotations

from typing import Any

from testbed.protocol.endpoint import Datagram
from testbed.transports.base import FrameAbandoned, FrameDecoded, FrameEncoded


class FrameRecord:
    """One row of `frames.parquet` in the making; -1 stands for never."""

    __slots__ = (
        "capture_ns",
        "decodable_ns",
        "decode_end_ns",
        "encode_end_ns",
        "encode_start_ns",
        "fec_bytes",
        "first_arrival_ns",
        "first_sent_ns",
        "gop",
        "header_bytes",
        "index",
        "key",
        "last_sent_ns",
        "media_bytes",
        "mode",
        "outcome",
        "packets_lost",
        "packets_sent",
        "reason",
        "render_ns",
        "retransmitted_bytes",
        "target_kbps",
    )

    def __init__(self, index: int, capture_ns: int) -> None:
        self.index = index
        self.capture_ns = capture_ns
        self.gop = 0
        self.key = False
        self.encode_start_ns = -1
        self.encode_end_ns = -1
        self.first_sent_ns = -1
        self.last_sent_ns = -1
        self.first_arrival_ns = -1
        self.decodable_ns = -1
        self.decode_end_ns = -1
        self.render_ns = -1
        self.outcome = ""
        self.reason = ""
        self.target_kbps = -1.0
        self.mode = ""
        self.media_bytes = 0
        self.header_bytes = 0
        self.fec_bytes = 0
        self.retransmitted_bytes = 0
        self.packets_sent = 0
        self.packets_lost = 0

    def row(self, mode: str) -> tuple[Any, ...]:
        """The row in the order of `testbed.tables.FRAMES`; `mode` for a scheme that has one."""
        outcome, reason = self.outcome, self.reason
        if not outcome:
            if self.first_sent_ns < 0:
                outcome, reason = "not_sent", reason or "session-end"
            else:
                outcome = "undecodable"
                reason = reason or ("nothing-arrived" if self.first_arrival_ns < 0 else "missing")
        return (
            self.index,
            self.gop,
            self.key,
            self.capture_ns,
            _null(self.encode_start_ns),
            _null(self.encode_end_ns),
            _null(self.first_sent_ns),
            _null(self.last_sent_ns),
            _null(self.first_arrival_ns),
            _null(self.decodable_ns),
            _null(self.decode_end_ns),
            _null(self.render_ns),
            outcome,
            reason,
            self.mode or mode,
            None if self.target_kbps < 0 else self.target_kbps,
            self.media_bytes,
            self.header_bytes,
            self.fec_bytes,
            self.retransmitted_bytes,
            self.packets_sent,
            self.packets_lost,
        )


def _null(value: int) -> int | None:
    return None if value < 0 else value


class FrameLog:
    """All frames of a session.

    It learns from three sides: the endpoints' events, the datagrams that the sender lets go, and
    what the path did with them.
    """

    def __init__(self) -> None:
        self.records: list[FrameRecord] = []
        self.encoded_bytes = 0
        self._gop = -1

    def captured(self, index: int, *, now_ns: int) -> None:
        """A frame was captured; frames come in order."""
        self.records.append(FrameRecord(index, now_ns))

    def encoded(self, event: FrameEncoded) -> None:
        """The sender's encoder is done with a frame."""
        record = self.records[event.index]
        self._gop += event.key
        record.gop = max(self._gop, 0)
        record.key = event.key
        record.encode_start_ns = event.encode_start_ns
        record.encode_end_ns = event.encode_end_ns
        record.target_kbps = event.target_kbps
        record.media_bytes = event.media_bytes
        record.mode = event.mode
        self.encoded_bytes += event.media_bytes

    def sent(self, datagram: Datagram, wire_bytes: int, *, now_ns: int) -> None:
        """A datagram of some frame entered the path with `wire_bytes` IP bytes."""
        record = self.records[datagram.frame]
        kind = datagram.kind
        if kind == "media":
            for needing in self._span(datagram):
                if needing.first_sent_ns < 0:
                    needing.first_sent_ns = now_ns
                needing.last_sent_ns = now_ns
            record.header_bytes += wire_bytes - datagram.media_bytes
        elif kind == "fec":
            record.fec_bytes += wire_bytes
        else:
            record.retransmitted_bytes += wire_bytes
        record.packets_sent += 1

    def arrived(self, datagram: Datagram, *, now_ns: int) -> None:
        """A datagram came out of the path at the receiver."""
        if datagram.span < 0:  # it may be all that comes of the frames before
            for record in self.records[max(0, datagram.frame + datagram.span) : datagram.frame + 1]:
                if record.first_arrival_ns < 0:
                    record.first_arrival_ns = now_ns
        elif datagram.frame >= 0 and self.records[datagram.frame].first_arrival_ns < 0:
            for needing in self._span(datagram):
                needing.first_arrival_ns = now_ns

    def _span(self, datagram: Datagram) -> list[FrameRecord]:
        """The frames that need a datagram."""
        return self.records[datagram.frame : datagram.frame + datagram.span]

    def lost(self, frame: int) -> None:
        """A datagram of `frame` (-1: of none) did not get through."""
        if frame >= 0:
            self.records[frame].packets_lost += 1

    def decoded(self, event: FrameDecoded) -> None:
        """The receiver decoded a frame."""
        record = self.records[event.index]
        record.decodable_ns = event.decodable_ns
        record.decode_end_ns = event.decode_end_ns
        record.render_ns = event.render_ns
        record.outcome = event.outcome

    def abandoned(self, event: FrameAbandoned) -> None:
        """The receiver will never decode this frame."""
        if event.index < len(self.records):
            self.records[event.index].reason = event.reason

    def displayed(self) -> list[int]:
        """For each frame slot what the viewer sees: the frame itself or the last one shown."""
        shown, last = [], -1
        for record in self.records:
            if record.render_ns >= 0:
                last = record.index
            shown.append(last)
        return shown
