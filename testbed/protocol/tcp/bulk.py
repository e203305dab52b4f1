"""A sender that always has data, and the receiver that acknowledges it.

What is on the wire is not TCP's format: only its sizes and its behaviour matter to what shares the
bottleneck. Packets are numbered and never sent again under the same number, as in QUIC, so that
there is no ambiguity of retransmissions; loss is found as in RFC 9002 (three later packets were
acknowledged, or 9/8 of a round trip has passed). A lost packet's data would travel in the next new
one, so the bytes on the wire are those of a transfer. There is no pacing, as in TCP.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final

from testbed.protocol.endpoint import Datagram, Event, SourceFrame
from testbed.protocol.tcp.cubic import Cubic

#: An IP packet of 1500 bytes less IP and UDP headers.
SEGMENT_BYTES: Final = 1472
#: RFC 9002, section 6.1.
PACKET_THRESHOLD: Final = 3
TIME_THRESHOLD: Final = 9 / 8
#: Linux's least retransmission timeout; RFC 6298 asks for 1 s.
LEAST_TIMEOUT_NS: Final = 200_000_000
#: RFC 6298, section 2.1.
FIRST_TIMEOUT_NS: Final = 1_000_000_000
#: A timeout doubles at most to this (RFC 6298, section 5.5).
MOST_TIMEOUT_NS: Final = 60_000_000_000
#: Packet number and 64 bits of what arrived before it.
_ACK: Final = struct.Struct("!QQ")
_NUMBER: Final = struct.Struct("!Q")
_HISTORY: Final = 64
_HISTORY_MASK: Final = (1 << _HISTORY + 1) - 1


class _RoundTrip:
    """Smoothed round trip and its variation (RFC 6298, section 2)."""

    def __init__(self) -> None:
        self.latest_ns = self.smoothed_ns = self._variation_ns = 0

    def update(self, sample_ns: int) -> None:
        """A packet's own acknowledgement came."""
        self.latest_ns = sample_ns
        if not self.smoothed_ns:
            self.smoothed_ns, self._variation_ns = sample_ns, sample_ns // 2
            return
        self._variation_ns += (abs(self.smoothed_ns - sample_ns) - self._variation_ns) // 4
        self.smoothed_ns += (sample_ns - self.smoothed_ns) // 8

    @property
    def timeout_ns(self) -> int:
        """After which everything under way is lost."""
        if not self.smoothed_ns:
            return FIRST_TIMEOUT_NS
        return max(LEAST_TIMEOUT_NS, self.smoothed_ns + 4 * self._variation_ns)


class BulkSender:
    """Sends as much as the window allows, from its first timer on; see `Endpoint`.

    Args:
        packets: that are to arrive; None: there is no end.
    """

    def __init__(self, packets: int | None = None) -> None:
        self._packets = packets
        self._arrived = 0
        self.cubic = Cubic()
        self._rtt = _RoundTrip()
        self._next = 0
        self._open: OrderedDict[int, int] = OrderedDict()  # number: when it was sent
        self._largest = -1
        self._recovery = -1  # packets up to here were sent before the window shrank last
        self._backoff = 0
        self._last_ns = 0
        self._started = False
        self.lost = 0
        self.timeouts = 0

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """Not a video."""

    def receive_datagram(self, data: bytes, *, now_ns: int) -> None:
        """An acknowledgement; anything else is ignored."""
        if len(data) != _ACK.size:
            return
        number, before = _ACK.unpack(data)
        if number >= self._next:
            return
        acknowledged = [number - n for n in range(_HISTORY, 0, -1) if before >> (n - 1) & 1]
        newly = [n for n in (*acknowledged, number) if n in self._open]
        if not newly:
            return
        if number in self._open:
            self._rtt.update(now_ns - self._open[number])
        for one in newly:
            del self._open[one]
        self._arrived += len(newly)
        self._largest = max(self._largest, number)
        self._backoff = 0
        self._last_ns = now_ns
        if newly[-1] > self._recovery:  # the window is always full
            self.cubic.on_acknowledged(len(newly), rtt_ns=self._rtt.smoothed_ns, now_ns=now_ns)
        self._detect(now_ns)

    def _detect(self, now_ns: int) -> None:
        """Take packets for lost that later ones have overtaken."""
        patience_ns = round(TIME_THRESHOLD * max(self._rtt.smoothed_ns, self._rtt.latest_ns))
        lost = []
        for number, sent_ns in self._open.items():
            if number >= self._largest:
                break
            if self._largest - number >= PACKET_THRESHOLD or now_ns - sent_ns >= patience_ns:
                lost.append(number)
        for number in lost:
            del self._open[number]
        self.lost += len(lost)
        if lost and lost[-1] > self._recovery:
            self._recovery = self._next - 1
            self.cubic.on_loss()

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        """New packets, as many as the window takes."""
        self._started = True
        sent = []
        most = int(self.cubic.window)
        if self._packets is not None:
            most = min(most, self._packets - self._arrived)
        while len(self._open) < most:
            if not self._open:
                self._last_ns = now_ns
            data = _NUMBER.pack(self._next).ljust(SEGMENT_BYTES, b"\0")
            self._open[self._next] = now_ns
            self._next += 1
            sent.append(Datagram(data, "cross"))
        return sent

    @property
    def done(self) -> bool:
        """All that was to arrive has arrived."""
        return self._packets is not None and self._arrived >= self._packets

    def next_timer(self) -> int | None:
        """The retransmission timeout; at once before the first packet."""
        if not self._started:
            return 0
        return self._last_ns + self._timeout_ns() if self._open else None

    def _timeout_ns(self) -> int:
        return min(self._rtt.timeout_ns << min(self._backoff, 10), MOST_TIMEOUT_NS)

    def on_timer(self, *, now_ns: int) -> None:
        """After a timeout everything under way is lost."""
        due = self.next_timer()
        if not self._started or due is None or now_ns < due:
            return
        self.lost += len(self._open)
        self._open.clear()
        self._recovery = self._next - 1
        self._backoff += 1
        self.timeouts += 1
        self._last_ns = now_ns
        self.cubic.on_timeout()

    def events(self) -> list[Event]:
        """Nothing that a log of frames would know."""
        return []

    def facts(self) -> dict[str, int]:
        """For the manifest."""
        return {"packets": self._next, "lost": self.lost, "timeouts": self.timeouts}


class BulkReceiver:
    """Acknowledges every packet at once; see `Endpoint`."""

    def __init__(self) -> None:
        self._largest = -1
        self._history = 0  # bit n: `largest - n` arrived
        self._answers: list[Datagram] = []

    def push_frame(self, frame: SourceFrame, *, now_ns: int) -> None:
        """Not a video."""

    def receive_datagram(self, data: bytes, *, now_ns: int) -> None:  # noqa: ARG002 - contract
        """A segment; anything else is ignored."""
        if len(data) != SEGMENT_BYTES:
            return
        (number,) = _NUMBER.unpack_from(data)
        ahead = number - self._largest
        if ahead > 0:
            shifted = self._history << min(ahead, _HISTORY + 1)
            self._history = (shifted | 1) & _HISTORY_MASK
            self._largest = number
        elif -ahead <= _HISTORY:
            self._history |= 1 << -ahead
        answer = _ACK.pack(self._largest, self._history >> 1)
        self._answers.append(Datagram(answer, "cross"))

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:  # noqa: ARG002 - contract
        """The acknowledgements."""
        answers, self._answers = self._answers, []
        return answers

    def next_timer(self) -> int | None:
        """Never."""
        return None

    def on_timer(self, *, now_ns: int) -> None:
        """Never called."""

    def events(self) -> list[Event]:
        """Nothing that a log of frames would know."""
        return []
