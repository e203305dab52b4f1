"""CoDel and PIE against what their RFCs promise of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath

import numpy as np
import pytest

from testbed.network.link import QueueLink
from testbed.network.mmlog import parse_log, replay
from testbed.network.packet import Packet
from testbed.network.queues import make_queue, parse_queue
from testbed.network.servers import RateServer
from testbed.network.trace import OpportunityTrace, RateTrace

MS = 1_000_000
#: 1500-byte packets at 12 Mbit/s: one a millisecond.
LINE = RateTrace(np.array([1_000_000]), np.array([12_000.0]))


def overload(queue: str, *, factor: float, seconds: float) -> list[Packet]:
    """Constant overload of a 12 Mbit/s line; returns every packet with its stamps."""
    link = QueueLink(RateServer(LINE), make_queue(parse_queue(queue), np.random.default_rng(2)))
    packets = []
    for number in range(int(seconds * 1000 * factor)):
        packet = Packet(1500, number=number)
        packets.append(packet)
        link.enqueue(packet, now_ns=int(number * MS / factor))
    link.take(int(seconds * 1000) * MS)
    return packets


def test_codel_lets_a_short_burst_pass() -> None:
    # RFC 8289 section 3: a burst that drains within an interval is good queue.
    link = QueueLink(RateServer(LINE), make_queue(parse_queue("codel"), np.random.default_rng(0)))
    packets = [Packet(1500) for _ in range(90)]
    for packet in packets:
        link.enqueue(packet, now_ns=0)
    link.take(1000 * MS)
    assert all(packet.drop == "none" for packet in packets)


def test_codel_drops_at_interval_over_root_n() -> None:
    # RFC 8289 section 4.3: the nth drop of a dropping state comes interval/sqrt(n) after the
    # one before. Departures are 1 ms apart here, so each drop is that exact to 1 ms.
    packets = overload("codel", factor=1.3, seconds=3)
    served = [p for p in packets if p.link_out_ns >= 0]
    # A drop happens when the packet behind it enters service.
    numbers = np.array([p.number for p in served])
    gaps = np.flatnonzero(np.diff(numbers) > 1)
    times_ms = np.array([(served[i + 1].link_out_ns - MS) / MS for i in gaps])
    assert times_ms.size > 20
    expected = times_ms[0] + np.cumsum([100 / np.sqrt(n) for n in range(1, 21)])
    assert times_ms[1:21] == pytest.approx(expected, abs=1.0)


def test_codel_first_drops_an_interval_after_the_delay_passed_the_target() -> None:
    packets = overload("codel", factor=1.3, seconds=1)
    by_service = sorted((p for p in packets if p.link_out_ns >= 0), key=lambda p: p.link_out_ns)
    above = next(p for p in by_service if p.link_out_ns - MS - p.link_in_ns >= 5 * MS)
    first_drop = next(p.number for p in packets if p.drop == "queue")
    after = next(p for p in by_service if p.number > first_drop)
    assert (after.link_out_ns - above.link_out_ns) / MS == pytest.approx(100, abs=1.0)


def test_codel_never_empties_the_queue_by_dropping() -> None:
    packets = overload("codel:target_ms=0,interval_ms=1", factor=3, seconds=0.5)
    served = sorted(p.link_out_ns for p in packets if p.link_out_ns >= 0)
    assert np.diff(served).max() == MS  # the line was never idle


def test_pie_finds_the_drop_rate_and_holds_the_delay() -> None:
    # Equilibrium: what the line cannot carry is dropped, p = 1 - 1/factor, at QDELAY_REF.
    packets = overload("pie", factor=1.25, seconds=60)
    late = [p for p in packets if p.link_in_ns > 20_000 * MS]
    dropped = np.mean([p.drop == "queue" for p in late])
    assert dropped == pytest.approx(0.2, abs=0.01)
    waits = [(p.link_out_ns - p.link_in_ns) / MS - 1 for p in late if p.link_out_ns >= 0]
    assert np.mean(waits) == pytest.approx(15, abs=3)


def test_pie_lets_the_first_burst_pass() -> None:
    # RFC 8033 section 4.4: MAX_BURST of 150 ms is let through.
    packets = overload("pie", factor=3, seconds=0.15)
    assert all(p.drop == "none" for p in packets)


def test_pie_forgets_when_idle() -> None:
    queue = make_queue(parse_queue("pie"), np.random.default_rng(2))
    link = QueueLink(RateServer(LINE), queue)
    for number in range(6000):
        link.enqueue(Packet(1500), now_ns=number * MS // 2)
    assert queue.probability > 0.2  # type: ignore[attr-defined]
    link.take(10_000 * MS)
    link.enqueue(Packet(1500), now_ns=3_600_000 * MS)
    assert queue.probability == 0.0  # type: ignore[attr-defined]


def test_limits_hold_for_both() -> None:
    for queue in ("codel:packets=5", "pie:packets=5"):
        link = QueueLink(RateServer(LINE), make_queue(parse_queue(queue), np.random.default_rng(0)))
        for _ in range(20):
            link.enqueue(Packet(1500), now_ns=0)
        assert (link.queue_packets, link.queue_drops) == (5, 14)  # and one in transit


GOLDEN = FilePath(__file__).parents[2] / "golden" / "mahimahi"


@pytest.mark.parametrize(
    ("log", "queue", "tolerance"),
    [
        ("steps-aqm.up.log.gz", "codel:packets=200,target_ms=10,interval_ms=50", 0.05),
        ("steps-aqm.down.log.gz", "pie:packets=200,target_ms=15,burst_ms=150", 0.25),
    ],
)
def test_mm_links_own_are_only_similar(
    log: str, queue: str, tolerance: float, read_golden: Callable[[FilePath], str]
) -> None:
    """How far statistical agreement goes, on recorded logs: packets delivered."""
    recorded = parse_log(read_golden(GOLDEN / log), log)
    trace = OpportunityTrace(np.loadtxt(GOLDEN / "steps.trace", dtype=np.int64))
    ours = replay(recorded, trace, parse_queue(queue), np.random.default_rng(1))
    assert len(ours.departures) == pytest.approx(len(recorded.departures), rel=tolerance)
    everything = replay(recorded, trace, parse_queue("infinite"), np.random.default_rng(1))
    assert len(ours.departures) != len(everything.departures)
