"""Delivery-rate samples, walked by hand."""

from __future__ import annotations

import pytest

from testbed.protocol.congestion.bbr.sampler import DeliveryRateSampler, RateSample
from testbed.protocol.congestion.tracker import Acknowledgement, SentPacket

MS = 1_000_000
#: Difference of the clocks plus the way back.
OFFSET = -5_000 * MS


class Walk:
    """A sampler with packets of 1000 bytes; arrivals in ms of the sender's clock."""

    def __init__(self) -> None:
        self.sampler = DeliveryRateSampler()
        self._number = 0

    def send(self, at_ms: int) -> SentPacket:
        packet = SentPacket(self._number, 1, self._number, 1000, at_ms * MS)
        self._number += 1
        self.sampler.on_packet_sent(packet)
        return packet

    def ack(
        self, *arrivals: tuple[SentPacket, int], unknown: tuple[SentPacket, ...] = ()
    ) -> RateSample:
        acked = []
        for packet, virtual_ms in arrivals:
            packet.arrival_ns = virtual_ms * MS - OFFSET
            packet.timed = True
            acked.append(packet)
        rtt = acked[-1].arrival_ns + OFFSET - acked[-1].send_ns if acked else -1
        ack = Acknowledgement(acked, [], list(unknown), [], rtt, OFFSET, 0)
        return self.sampler.on_acknowledgement(ack)


def test_the_first_sample_is_bytes_over_the_round_trip() -> None:
    walk = Walk()
    first = walk.send(0)
    sample = walk.ack((first, 100))
    assert sample.delivered == 1000
    assert sample.interval_ns == 100 * MS
    assert sample.delivery_rate == 80_000


def test_the_interval_is_the_longer_of_sending_and_arriving() -> None:
    walk = Walk()
    packets = [walk.send(10 * i) for i in range(11)]
    walk.ack((packets[0], 100))
    late = [walk.send(110 + 20 * i) for i in range(6)]
    # Compressed on the way: six packets arrive within 5 ms, but it took 110 ms to send them.
    walk.ack(*((p, 200) for p in packets[1:]))
    sample = walk.ack(*((p, 205 + i) for i, p in enumerate(late)))
    assert sample.prior_delivered == 1000
    assert sample.interval_ns == max(210 - 0, 210 - 100) * MS
    assert sample.delivery_rate == 16_000 * 8 * 10**9 // sample.interval_ns


def test_neither_report_interval_nor_return_path_is_in_a_sample() -> None:
    """Arrivals every 10 ms of 1000 bytes: 800 kbit/s, whenever the reports come."""
    walk = Walk()
    packets = [walk.send(10 * i) for i in range(30)]
    walk.ack(*((p, 100 + 10 * i) for i, p in enumerate(packets[:10])))
    more = [walk.send(300 + 10 * i) for i in range(30)]
    walk.ack(*((p, 200 + 10 * i) for i, p in enumerate(packets[10:])))
    sample = walk.ack(*((p, 400 + 10 * i) for i, p in enumerate(more)))
    assert sample.delivery_rate == 800_000


def test_application_limited_packets_mark_their_samples_until_they_are_gone() -> None:
    walk = Walk()
    first = walk.send(0)
    walk.sampler.mark_application_limited()
    limited = walk.send(50)
    assert not walk.ack((first, 100)).app_limited
    assert walk.sampler.app_limited == 1000
    assert walk.ack((limited, 150)).app_limited
    assert walk.sampler.app_limited == 0
    assert not walk.ack((walk.send(160), 260)).app_limited


def test_a_sample_over_missing_reports_counts_as_application_limited() -> None:
    walk = Walk()
    packets = [walk.send(10 * i) for i in range(7)]
    assert not walk.ack((packets[0], 100)).app_limited
    sample = walk.ack((packets[5], 150), unknown=tuple(packets[1:5]))
    assert sample.app_limited
    assert walk.sampler.inflight == 1000
    after = walk.send(155)
    assert walk.ack((packets[6], 160)).app_limited  # its interval begins before the gap
    assert not walk.ack((after, 255)).app_limited


def test_an_interval_below_the_smallest_round_trip_is_no_sample() -> None:
    walk = Walk()
    walk.ack((walk.send(0), 100))
    one, two = walk.send(200), walk.send(201)
    walk.ack((one, 300))
    two.delivered_ns = 299 * MS - OFFSET  # as if it had been sent just before its arrival
    sample = walk.ack((two, 301))
    assert sample.delivery_rate == 0
    assert sample.newly_acked == 1000


def test_a_sample_says_what_was_lost_since_its_packet_was_sent() -> None:
    walk = Walk()
    one, lost, two = walk.send(0), walk.send(1), walk.send(2)
    walk.sampler.on_lost(lost)
    after = walk.send(3)
    assert walk.ack((one, 100), (two, 102)).lost == 1000
    assert walk.ack((after, 103)).lost == 0
    assert walk.sampler.lost == 1000
    assert walk.sampler.inflight == 0


def test_a_packet_leaves_the_path_once() -> None:
    walk = Walk()
    packet = walk.send(0)
    walk.sampler.on_lost(packet)
    walk.ack((packet, 400))  # it was only late
    assert walk.sampler.inflight == 0
    assert walk.sampler.delivered == 1000


@pytest.mark.parametrize("reorder", [False, True])
def test_the_order_of_arrival_does_not_matter(reorder: bool) -> None:
    walk = Walk()
    walk.ack((walk.send(0), 100))
    packets = [walk.send(100 + 10 * i) for i in range(10)]
    times = [200 + 10 * i for i in range(10)]
    if reorder:
        times[3], times[4] = times[4], times[3]
    sample = walk.ack(*zip(packets, times, strict=True))
    assert sample.delivery_rate == pytest.approx(10_000 * 8 / 0.190, rel=0.01)
