"""What became of every packet: the sender's record of what it sent, against RFC 8888 reports.

The receiver measures; its reports say for each packet whether and when it arrived. This module
turns a report into what was newly acknowledged, what is newly lost, and a round-trip time that
does not contain the time for which the receiver held the report back. It survives reports that are
lost, late, out of order or repeated, and takes any values in them.

Two clocks meet here. Sending times are the sender's; arrival times are the receiver's, and only
their differences mean anything. The smallest difference seen lately between the arrival of a report
here and its timestamp there is the *offset*: it contains the difference of the clocks and the
return way without its jitter, so `arrival_ns + offset_ns` is when an immediate acknowledgement
would have been back.

- A packet is **lost** when three packets sent later have arrived, or when it was sent more than 9/8
  round trips before the report and a later one has arrived (RFC 9002 sections 6.1.1 and 6.1.2).
- A lost packet that is reported after all is **spurious**: it was late, not lost.
- A packet of which no report spoke and none will, because reports were lost, is **unknown**. It
  leaves the path's account, and counts neither as delivered nor as lost.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from testbed.protocol.congestion.filters import WindowedMin
from testbed.protocol.rtcp.congestion import (
    ATO_TOO_OLD,
    RECEIVED,
    CongestionFeedback,
)
from testbed.protocol.sequence import wrap_distance

#: RFC 9002 section 6.1.1, kPacketThreshold.
PACKET_THRESHOLD: Final = 3
#: RFC 9002 section 6.1.2, kTimeThreshold = 9/8, as numerator and denominator.
TIME_THRESHOLD: Final = (9, 8)
#: RFC 9002 section 6.1.2, kGranularity.
GRANULARITY_NS: Final = 1_000_000
#: Offsets and packets are forgotten after this; MinRTTFilterLen of draft-ietf-ccwg-bbr-06.
MEMORY_NS: Final = 10_000_000_000
#: Packets remembered at most: a quarter of the 16-bit circle, so that no number is ambiguous.
MAX_PACKETS: Final = 1 << 14

#: Fates of a packet.
IN_FLIGHT: Final = 0
ACKED: Final = 1
LOST: Final = 2
UNKNOWN: Final = 3

_SECOND_NS: Final = 1_000_000_000
_ATO_MASK: Final = 0x1FFF


class SentPacket:
    """One packet that left.

    Attributes:
        number: order of sending over all sources, from 0.
        ssrc, sequence: its RTP identity; 16 bits of sequence number.
        size_bytes: with IP and UDP headers.
        send_ns: when it left, sender's clock.
        arrival_ns: when it arrived, receiver's clock; meaningful once acknowledged.
        timed: the report gave an arrival time.
        fate: IN_FLIGHT, ACKED, LOST or UNKNOWN.
        covered: a report spoke of it.
        counted: it is part of the sampler's bytes in flight.
        delivered, lost, delivered_ns, first_send_ns, app_limited, tx_in_flight: P.* of the delivery
            rate sampler (draft-ietf-ccwg-bbr-06, "Per-packet (P) state"); `delivered_ns` is None
            where the sampling interval begins with a sending, not with an arrival.
    """

    __slots__ = (
        "app_limited",
        "arrival_ns",
        "counted",
        "covered",
        "delivered",
        "delivered_ns",
        "fate",
        "first_send_ns",
        "lost",
        "number",
        "send_ns",
        "sequence",
        "size_bytes",
        "ssrc",
        "timed",
        "tx_in_flight",
    )

    def __init__(
        self, number: int, ssrc: int, sequence: int, size_bytes: int, send_ns: int
    ) -> None:
        self.number = number
        self.ssrc = ssrc
        self.sequence = sequence
        self.size_bytes = size_bytes
        self.send_ns = send_ns
        self.arrival_ns = 0
        self.timed = False
        self.fate = IN_FLIGHT
        self.covered = False
        self.counted = False
        self.delivered = 0
        self.lost = 0
        self.delivered_ns: int | None = None
        self.first_send_ns = 0
        self.app_limited = False
        self.tx_in_flight = 0


class Acknowledgement:
    """What one report taught.

    Attributes:
        acked: newly acknowledged packets in order of sending; never empty unless `lost` is not.
        lost: newly lost packets in order of sending.
        unknown: packets of which no report told.
        spurious: those of `acked` that had been taken for lost.
        newest: the most recently sent of `acked`, or None.
        rtt_ns: round trip of `newest` without the receiver's holding time; -1 for no sample.
        offset_ns: see the module's theory.
        report_ns: the report's own time, receiver's clock.
    """

    __slots__ = (
        "acked",
        "lost",
        "newest",
        "offset_ns",
        "report_ns",
        "rtt_ns",
        "spurious",
        "unknown",
    )

    def __init__(
        self,
        acked: list[SentPacket],
        lost: list[SentPacket],
        unknown: list[SentPacket],
        spurious: list[SentPacket],
        rtt_ns: int,
        offset_ns: int,
        report_ns: int,
    ) -> None:
        self.acked = acked
        self.lost = lost
        self.unknown = unknown
        self.spurious = spurious
        self.newest = acked[-1] if acked else None
        self.rtt_ns = rtt_ns
        self.offset_ns = offset_ns
        self.report_ns = report_ns


class PacketTracker:
    """Sent packets against reports; see the module's theory."""

    def __init__(self) -> None:
        self._streams: dict[int, dict[int, SentPacket]] = {}
        self._sent: deque[SentPacket] = deque()
        self._outstanding: dict[int, SentPacket] = {}
        self._next = 0
        self._largest_acked = -1
        self._clock: int | None = None  # last report timestamp, extended, in 1/65536 s
        self._offsets = WindowedMin(MEMORY_NS)
        #: Smoothed and latest round trip (RFC 6298: weight 1/8), and its mean deviation (1/4); 0
        #: before the first sample.
        self.smoothed_rtt_ns = 0
        self.latest_rtt_ns = 0
        self.rtt_deviation_ns = 0
        #: Packets whose reported arrival cannot be true.
        self.implausible = 0

    @property
    def outstanding(self) -> bool:
        """Something is under way."""
        return bool(self._outstanding)

    @property
    def largest_sent(self) -> int:
        """Number of the packet sent last; -1 before the first."""
        return self._next - 1

    def on_packet_sent(
        self, *, ssrc: int, sequence: int, size_bytes: int, now_ns: int
    ) -> SentPacket:
        """Remember a packet; its sampler fields are the caller's to fill."""
        packet = SentPacket(self._next, ssrc, sequence & 0xFFFF, size_bytes, now_ns)
        self._next += 1
        self._streams.setdefault(ssrc, {})[packet.sequence] = packet
        self._sent.append(packet)
        self._outstanding[packet.number] = packet
        return packet

    def on_report(self, report: CongestionFeedback, *, now_ns: int) -> Acknowledgement | None:
        """What `report` says that was not known; None when it says nothing new."""
        report_ns = self._receiver_time(report.report_timestamp)
        acked: list[SentPacket] = []
        unknown: list[SentPacket] = []
        spurious: list[SentPacket] = []
        for block in report.blocks:
            stream = self._streams.get(block.ssrc)
            if stream is None:
                continue
            words = block.metrics
            spurious += self._read(stream, block.begin_sequence, words, report_ns, now_ns, acked)
            unknown += self._unreported(block.ssrc, block.begin_sequence)
        offset_ns = self._offsets.update(now_ns - report_ns, time=now_ns)
        acked.sort(key=_number)
        if acked and acked[-1].number > self._largest_acked:
            self._largest_acked = acked[-1].number
        rtt_ns = self._sample_rtt(acked, offset_ns)
        lost = self._detect_losses(report_ns + offset_ns)
        unknown += self._forget(now_ns)
        if not acked and not lost and not unknown:
            return None
        return Acknowledgement(acked, lost, unknown, spurious, rtt_ns, offset_ns, report_ns)

    def give_up_all(self) -> list[SentPacket]:
        """Take everything under way for lost (a retransmission timeout), in order of sending."""
        lost = list(self._outstanding.values())
        for packet in lost:
            packet.fate = LOST
        self._outstanding.clear()
        return lost

    # --- inside ---------------------------------------------------------------------------

    def _receiver_time(self, timestamp: int) -> int:
        """A report's 32-bit timestamp (16.16 s) as nanoseconds that do not wrap."""
        last = self._clock
        if last is None:
            self._clock = extended = timestamp & 0xFFFFFFFF
        else:
            extended = last + wrap_distance(last, timestamp, bits=32)
            if extended > last:
                self._clock = extended
        return extended * _SECOND_NS >> 16

    def _read(
        self,
        stream: dict[int, SentPacket],
        sequence: int,
        metrics: tuple[int, ...],
        report_ns: int,
        now_ns: int,
        acked: list[SentPacket],
    ) -> list[SentPacket]:
        """Walk the metric words; returns the packets that were spuriously taken for lost."""
        spurious = []
        get = stream.get
        for word in metrics:
            packet = get(sequence & 0xFFFF)
            sequence += 1
            if packet is None or packet.fate == ACKED:
                continue
            packet.covered = True
            if not word & RECEIVED:
                continue
            ato = word & _ATO_MASK
            packet.timed = ato < ATO_TOO_OLD
            age_ns = ato * _SECOND_NS // 1024 if packet.timed else 0
            # The age is rounded down, so a true one is never longer than the packet's own.
            if age_ns > now_ns - packet.send_ns:
                self.implausible += 1
                continue
            packet.arrival_ns = report_ns - age_ns
            if packet.fate == LOST:
                spurious.append(packet)
            elif packet.fate == IN_FLIGHT:
                del self._outstanding[packet.number]
            packet.fate = ACKED
            acked.append(packet)
        return spurious

    def _unreported(self, ssrc: int, begin: int) -> list[SentPacket]:
        """Packets under way before `begin` of which no report spoke, and none will."""
        unknown = []
        for packet in self._outstanding.values():
            if packet.ssrc == ssrc:
                if wrap_distance(packet.sequence, begin) <= 0:
                    break  # numbers of a source ascend
                if not packet.covered:
                    unknown.append(packet)
        for packet in unknown:
            packet.fate = UNKNOWN
            del self._outstanding[packet.number]
        return unknown

    def _sample_rtt(self, acked: list[SentPacket], offset_ns: int) -> int:
        newest = acked[-1] if acked else None
        if newest is None or not newest.timed:
            return -1
        rtt_ns = newest.arrival_ns + offset_ns - newest.send_ns
        if rtt_ns <= 0:
            return -1
        self.latest_rtt_ns = rtt_ns
        if not self.smoothed_rtt_ns:
            self.smoothed_rtt_ns = rtt_ns
            self.rtt_deviation_ns = rtt_ns // 2
        else:
            error_ns = rtt_ns - self.smoothed_rtt_ns
            self.smoothed_rtt_ns += error_ns >> 3
            self.rtt_deviation_ns += abs(error_ns) - self.rtt_deviation_ns >> 2
        return rtt_ns

    def _detect_losses(self, virtual_ns: int) -> list[SentPacket]:
        largest = self._largest_acked
        up, down = TIME_THRESHOLD
        wait_ns = max(self.smoothed_rtt_ns, self.latest_rtt_ns) * up // down
        before_ns = virtual_ns - max(wait_ns, GRANULARITY_NS)
        lost = []
        for number, packet in self._outstanding.items():
            if number >= largest:
                break
            if largest - number >= PACKET_THRESHOLD or packet.send_ns <= before_ns:
                lost.append(packet)
        for packet in lost:
            packet.fate = LOST
            del self._outstanding[packet.number]
        return lost

    def _forget(self, now_ns: int) -> list[SentPacket]:
        """Drop what is old; returns what was still under way and is no longer remembered."""
        unknown = []
        sent = self._sent
        before_ns = now_ns - MEMORY_NS
        while sent and (
            len(sent) > MAX_PACKETS or (sent[0].fate != IN_FLIGHT and sent[0].send_ns < before_ns)
        ):
            packet = sent.popleft()
            if packet.fate == IN_FLIGHT:
                del self._outstanding[packet.number]
                packet.fate = UNKNOWN
                unknown.append(packet)
            stream = self._streams[packet.ssrc]
            if stream.get(packet.sequence) is packet:
                del stream[packet.sequence]
        return unknown


def _number(packet: SentPacket) -> int:
    return packet.number
