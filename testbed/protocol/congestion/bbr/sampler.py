"""Delivery-rate samples with application-limited marking.

draft-ietf-ccwg-bbr-06, section "Delivery Rate Samples". Each sample says how many bytes were
delivered between the sending of a packet and its acknowledgement, over the longer of the time that
took at the sender and at the receiver.

Two things differ from the draft's own setting, a TCP sender with an acknowledgement every other
packet. One report acknowledges all that arrived in some 100 ms and gives one sample, that of its
most recently sent packet, which is how the draft treats a stretched acknowledgement. And the
receiver's side of the interval is measured on the receiver's clock, from arrival to arrival, as the
draft allows ("Impact of changing ACK frequency"): neither the report interval nor the return path
is in it.
"""

from __future__ import annotations

from testbed.protocol.congestion.bbr.constants import INFINITE
from testbed.protocol.congestion.tracker import Acknowledgement, SentPacket

_BYTE_SECOND = 8 * 1_000_000_000


class RateSample:
    """RS of the draft.

    Attributes:
        delivery_rate: bit/s; 0 when there is no reliable sample.
        app_limited: the newest acknowledged packet was sent while there was nothing else to send,
            or reports are missing.
        delivered: bytes delivered over the interval.
        prior_delivered: C.delivered when the newest packet was sent.
        interval_ns: length of the interval.
        rtt_ns: round trip, or -1.
        newly_acked, newly_lost: bytes.
        tx_in_flight: bytes in flight when the newest packet was sent, that packet included.
        lost: bytes lost since then.
    """

    __slots__ = (
        "app_limited",
        "delivered",
        "delivery_rate",
        "interval_ns",
        "lost",
        "newly_acked",
        "newly_lost",
        "prior_delivered",
        "rtt_ns",
        "tx_in_flight",
    )

    def __init__(self) -> None:
        self.delivery_rate = 0
        self.app_limited = False
        self.delivered = 0
        self.prior_delivered = 0
        self.interval_ns = 0
        self.rtt_ns = -1
        self.newly_acked = 0
        self.newly_lost = 0
        self.tx_in_flight = 0
        self.lost = 0


class DeliveryRateSampler:
    """C.* of the draft's rate sampling, and the samples.

    Attributes:
        delivered: bytes delivered so far.
        lost: bytes taken for lost so far.
        inflight: bytes under way.
        app_limited: `delivered` at which the application-limited phase will have left the path; 0
            outside of such phases.
        min_rtt_ns: smallest round trip ever.
    """

    __slots__ = (
        "_delivered_ns",
        "_first_send_ns",
        "_gap",
        "app_limited",
        "delivered",
        "inflight",
        "lost",
        "min_rtt_ns",
    )

    def __init__(self) -> None:
        self.delivered = 0
        self.lost = 0
        self.inflight = 0
        self.app_limited = 0
        self.min_rtt_ns = INFINITE
        self._delivered_ns: int | None = None  # receiver's clock; None: begins with a sending
        self._first_send_ns = 0
        self._gap = -1  # samples that begin at or before this `delivered` miss some reports

    def on_packet_sent(self, packet: SentPacket) -> None:
        """OnPacketSent: note in the packet where its sample will begin."""
        if self.inflight == 0:
            self._first_send_ns = packet.send_ns
            self._delivered_ns = None
        self.inflight += packet.size_bytes
        packet.counted = True
        packet.first_send_ns = self._first_send_ns
        packet.delivered_ns = self._delivered_ns
        packet.delivered = self.delivered
        packet.app_limited = self.app_limited != 0
        packet.tx_in_flight = self.inflight
        packet.lost = self.lost

    def mark_application_limited(self) -> None:
        """MarkConnectionAppLimited: what is sent from now says little about the path."""
        self.app_limited = max(self.delivered + self.inflight, 1)

    def on_lost(self, packet: SentPacket) -> None:
        """A packet was taken for lost."""
        self.lost += packet.size_bytes
        self._leave(packet)

    def on_acknowledgement(self, ack: Acknowledgement) -> RateSample:
        """UpdateRateSample for every acknowledged packet, GenerateRateSample for the newest.

        The caller announces the losses of the same report first (`on_lost`).
        """
        sample = RateSample()
        for packet in ack.unknown:
            self._leave(packet)
            self._gap = self.delivered
        arrived_ns = None
        for packet in ack.acked:
            self.delivered += packet.size_bytes
            sample.newly_acked += packet.size_bytes
            self._leave(packet)
            if arrived_ns is None or packet.arrival_ns > arrived_ns:
                arrived_ns = packet.arrival_ns
        sample.newly_lost = sum(packet.size_bytes for packet in ack.lost)
        if self.app_limited and self.delivered > self.app_limited:
            self.app_limited = 0
        sample.rtt_ns = ack.rtt_ns
        if 0 < ack.rtt_ns < self.min_rtt_ns:
            self.min_rtt_ns = ack.rtt_ns
        newest = ack.newest
        if newest is not None and arrived_ns is not None:
            self._fill(sample, newest, arrived_ns, ack.offset_ns)
        return sample

    def _fill(
        self, sample: RateSample, newest: SentPacket, arrived_ns: int, offset_ns: int
    ) -> None:
        if self._delivered_ns is None or arrived_ns > self._delivered_ns:
            self._delivered_ns = arrived_ns
        # An older report that came late may end with a packet sent before one already reported.
        self._first_send_ns = max(self._first_send_ns, newest.send_ns)
        prior_ns = newest.delivered_ns
        if prior_ns is None:
            prior_ns = newest.first_send_ns - offset_ns
        sample.prior_delivered = newest.delivered
        sample.app_limited = newest.app_limited or newest.delivered <= self._gap
        sample.tx_in_flight = newest.tx_in_flight
        sample.lost = self.lost - newest.lost
        sample.delivered = self.delivered - newest.delivered
        interval_ns = max(newest.send_ns - newest.first_send_ns, self._delivered_ns - prior_ns)
        sample.interval_ns = interval_ns
        # A shorter interval than the shortest round trip is no reliable sample.
        if interval_ns >= max(self.min_rtt_ns if self.min_rtt_ns != INFINITE else 1, 1):
            sample.delivery_rate = sample.delivered * _BYTE_SECOND // interval_ns

    def _leave(self, packet: SentPacket) -> None:
        if packet.counted:
            packet.counted = False
            self.inflight -= packet.size_bytes
