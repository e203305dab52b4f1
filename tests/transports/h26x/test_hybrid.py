"""Retransmission under a deadline: how much goes out with how much time left."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "worlds"))
from helpers import path, run, session

from testbed.network.spec import LossSpec
from testbed.protocol.congestion import FixedRate
from testbed.protocol.endpoint import Datagram
from testbed.protocol.fec.decoder import ErasureDecoder
from testbed.protocol.fec.redundancy import LossEstimate
from testbed.protocol.fec.wire import pack_source
from testbed.protocol.source import RtpSource
from testbed.transports.h26x.hybrid import MAX_BLOCKS, HybridRepeats, rounds_left

MS = 1_000_000
RTT_NS = 40 * MS


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize(
    ("left_ms", "rounds"), [(-1, 0), (19.9, 0), (20, 1), (64.9, 1), (65, 2), (110, 3)]
)
def test_a_round_is_nine_eighths_of_the_round_trip(left_ms: float, rounds: int) -> None:
    deadline_ns = round(left_ms * MS)
    assert rounds_left(now_ns=0, deadline_ns=deadline_ns, rtt_ns=RTT_NS, least_rtt_ns=RTT_NS) == (
        rounds
    )


class Bench:
    """A source that sent one frame of `size` packets at time 0, and what answers for it."""

    def __init__(self, *, size: int = 6, loss: float = 0.2, deadline_ns: int = 400 * MS) -> None:
        self.source = RtpSource(
            FixedRate(kbps=100_000.0),
            ssrc=1,
            payload_types=(96, 97),
            pacing_factor=2.5,
            burst_bytes=100_000,
            playout_deadline_ns=400 * MS,
            max_tries=3,
            pads=False,
        )
        self.source.rtt.on_sample(RTT_NS, now_ns=0)
        estimate = LossEstimate()
        estimate.on_report(loss, now_ns=0)
        self.hybrid = HybridRepeats(self.source, estimate, residual=0.01, max_tries=3)
        self.payloads = [bytes([n]) * (50 + n) for n in range(size)]
        self.symbols = [
            pack_source(p, marker=n == size - 1, timestamp=0) for n, p in enumerate(self.payloads)
        ]
        for payload in self.payloads:
            self.source.send(
                payload, marker=False, timestamp=0, frame=0, media_bytes=len(payload), now_ns=0
            )
        self.sent: list[Datagram] = self.source.outlet.pop(now_ns=0)
        self.hybrid.remember(
            0,
            self.symbols,
            sent=[],
            frame=0,
            timestamp=0,
            deadline_ns=deadline_ns,
            now_ns=0,
        )

    def rows(self, lost: list[int], *, now_ns: int) -> int:
        return sum(len(made) for _, made in self.hybrid.answer(lost, now_ns=now_ns))


def test_fewer_rounds_left_take_more_redundancy() -> None:
    counts = [Bench().rows([1, 2, 4], now_ns=at * MS) for at in (10, 300, 370)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("left_ms", [19, -100])
def test_a_late_packet_goes_as_in_a_last_round(left_ms: int) -> None:
    last = Bench().rows([1, 2, 4], now_ns=380 * MS)
    bench = Bench()
    now_ns = (400 - left_ms) * MS
    bench.hybrid.remember(  # with a further frame those that are long past are forgotten
        6, bench.symbols, sent=[], frame=1, timestamp=1, deadline_ns=10**18, now_ns=now_ns
    )
    assert bench.rows([1, 2, 4], now_ns=now_ns) == last > 0
    sent = bench.source.outlet.pop(now_ns=600 * MS)
    assert [datagram.kind for datagram in sent] == ["retransmission"] * 3


def test_without_loss_to_speak_of_a_retransmission_goes_alone() -> None:
    bench = Bench(loss=0.0)
    assert bench.rows([1], now_ns=370 * MS) == 0
    assert [d.kind for d in bench.source.outlet.pop(now_ns=370 * MS)] == ["retransmission"]


def test_the_last_try_counts_as_the_last_round() -> None:
    bench = Bench()
    first, _, last = (bench.rows([1], now_ns=at * MS) for at in (10, 60, 110))
    assert last > first


def test_its_repairs_make_up_for_any_packet() -> None:
    bench = Bench()
    [(block, made)] = bench.hybrid.answer([0, 1, 2], now_ns=370 * MS)
    assert (block.base, len(block.symbols)) == (0, 6)
    more = bench.hybrid.answer([3], now_ns=371 * MS)[0][1]
    rows = [repair.row for repair in [*made, *more]]
    assert rows == list(range(len(rows)))
    decoder = ErasureDecoder()
    for number in range(len(rows), 6):
        decoder.on_source(number, 0, number == 5, bench.payloads[number])
    found = {}
    for repair in [*made, *more]:
        found |= {packet.sequence: packet.payload for packet in decoder.on_repair(repair)}
    missing = min(len(rows), 6)
    assert found == {number: bench.payloads[number] for number in range(missing)}


@given(st.lists(st.integers(0, 0xFFFF), max_size=300))
def test_any_request_is_answered_with_what_there_is(lost: list[int]) -> None:
    bench = Bench()
    answered = bench.hybrid.answer(lost, now_ns=10 * MS)
    assert bool(answered) == any(number < 6 for number in lost)


def test_memory_is_bounded() -> None:
    bench = Bench()
    for frame in range(MAX_BLOCKS + 50):
        bench.hybrid.remember(
            6 + 2 * frame,
            bench.symbols[:2],
            sent=[],
            frame=frame,
            timestamp=frame,
            deadline_ns=10**18,
            now_ns=0,
        )
    assert len(bench.hybrid._blocks) == MAX_BLOCKS
    assert len(bench.hybrid._of) == 2 * MAX_BLOCKS


INDEPENDENT = LossSpec("bernoulli", {"rate": 0.25})
BURSTS = LossSpec("gilbert-elliott", {"rate": 0.25, "mean_burst": 8})


def rendered(
    options: dict[str, Any], *, delay_ms: float, loss: LossSpec = INDEPENDENT, seed: int = 1
) -> tuple[float, pd.DataFrame]:
    down = path(loss=loss, delay_ms=delay_ms)
    made, _ = run(
        session(
            down=down,
            up=path(delay_ms=delay_ms),
            kbps=150.0,
            duration_s=8.0,
            seed=seed,
            options={"payload_bytes": 400, **options},
        )
    )
    return float((made["frames"].outcome == "rendered").mean()), made["packets"]


def test_it_meets_deadlines_that_plain_requests_miss() -> None:
    plain, _ = rendered({}, delay_ms=90.0)
    hybrid, packets = rendered({"arq": "hybrid"}, delay_ms=90.0)
    assert hybrid > plain + 0.2
    assert {"media", "retransmission", "fec"} <= set(packets.kind)


def test_a_broken_chain_of_references_is_mended() -> None:
    """Bursts take whole rounds; what comes too late to be seen is still referred to."""
    plain, hybrid = (
        sum(rendered(options, delay_ms=50.0, loss=BURSTS, seed=seed)[0] for seed in (1, 2, 3, 4))
        / 4
        for options in ({}, {"arq": "hybrid"})
    )
    assert hybrid > plain - 0.05  # it was 0.12 less when late packets were not sent
