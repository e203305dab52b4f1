"""Google Congestion Control: its stages by hand, and whole over a link."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from testbed.errors import ScenarioError
from testbed.protocol.congestion import CONTROLLERS, GccController
from testbed.protocol.congestion.gcc import constants as c
from testbed.protocol.congestion.gcc.detector import OveruseDetector, Usage
from testbed.protocol.congestion.gcc.filters import KalmanFilter, TrendLine
from testbed.protocol.congestion.gcc.groups import ArrivalGroups, GroupDelta
from testbed.protocol.congestion.gcc.loss_based import DraftLossBased, LibwebrtcLossBased
from testbed.protocol.congestion.gcc.rate_control import (
    TRANSITIONS,
    AimdRateControl,
    RateState,
)
from tests.protocol.congestion.link import MS, SECOND, Flow, Path, Trace

VARIANTS = ("draft", "libwebrtc")
FRAME = 33.333


# --- groups ------------------------------------------------------------


def groups(*packets: tuple[float, float]) -> list[GroupDelta]:
    made = ArrivalGroups()
    deltas = [
        made.add(send_ns=round(sent * MS), arrival_ns=round(arrived * MS))
        for sent, arrived in packets
    ]
    return [delta for delta in deltas if delta is not None]


def test_packets_of_one_burst_are_a_group() -> None:
    got = groups((0, 50), (2, 53), (5, 55), (40, 90), (44, 97), (80, 130))
    assert [(d.sent_ms, d.arrived_ms, d.variation_ms) for d in got] == [(39.0, 42.0, 3.0)]


def test_a_packet_that_waited_for_the_network_belongs_to_the_one_before() -> None:
    # Sent 8 ms apart, arrived 1 ms apart: the network held the first one back.
    assert len(groups((0, 50), (20, 90), (28, 91), (60, 120), (90, 150))) == 2


def test_reordered_packets_are_left_out() -> None:
    assert groups((0, 50), (40, 90), (20, 95), (80, 130), (120, 170)) == [
        GroupDelta(40.0, 40.0, 90 * MS),
        GroupDelta(40.0, 40.0, 130 * MS),
    ]


def test_a_long_silence_starts_anew() -> None:
    assert groups((0, 50), (5000, 5050), (5040, 5090)) == []


# --- filters and detector ------------------------------------------------------------


@pytest.mark.parametrize("filter_", [KalmanFilter, TrendLine])
@pytest.mark.parametrize(("growth_ms", "sign"), [(0.0, 0), (2.0, 1), (-2.0, -1)])
def test_a_filter_sees_a_queue_grow_and_shrink(filter_: Any, growth_ms: float, sign: int) -> None:
    stage, at_ms, offset = filter_(), 0.0, 0.0
    for _ in range(60):
        at_ms += FRAME + growth_ms
        offset = stage.update(GroupDelta(FRAME, FRAME + growth_ms, round(at_ms * MS)))
    assert (offset > 12.5) - (offset < -12.5) == sign


def test_the_kalman_filter_against_its_equations() -> None:
    """Two steps of draft section 5.3, written out."""
    stage = KalmanFilter()
    assert stage.update(GroupDelta(20.0, 21.0, 0)) == pytest.approx(
        (0.1 + 1e-3) / (1.0 + 0.1 + 1e-3)
    )
    gain = 0.101 / 1.101
    variance = (1 - gain) * 0.101 + 1e-3
    second = variance / (1 + variance)
    expected = gain + (2.0 - gain) * second
    assert stage.update(GroupDelta(20.0, 22.0, 0)) == pytest.approx(2 * expected, rel=1e-3)


def detect(offsets: list[float], **options: Any) -> list[Usage]:
    detector = OveruseDetector(options.pop("gains", c.DRAFT_GAINS))
    return [
        detector.update(offset, sent_ms=FRAME, arrival_ns=round(i * FRAME * MS))
        for i, offset in enumerate(offsets)
    ]


@pytest.mark.parametrize(
    ("offsets", "last"),
    [
        ([0.0, 0.0], Usage.NORMAL),
        ([20.0], Usage.NORMAL),  # once is not for long enough
        ([20.0, 21.0], Usage.OVERUSE),
        ([20.0, 19.0], Usage.NORMAL),  # it falls already
        ([20.0, 0.0, 20.0], Usage.NORMAL),
        ([-20.0], Usage.UNDERUSE),
        ([20.0, 21.0, 0.0], Usage.NORMAL),
    ],
    ids=str,
)
def test_the_detector(offsets: list[float], last: Usage) -> None:
    assert detect(offsets)[-1] is last


@pytest.mark.parametrize(
    ("gains", "up", "down"), [(c.DRAFT_GAINS, 0.01, 0.00018), (c.LIBWEBRTC_GAINS, 0.0087, 0.039)]
)
def test_the_threshold_follows_the_offset(gains: c.Gains, up: float, down: float) -> None:
    detector = OveruseDetector(gains)
    detector.update(20.0, sent_ms=10, arrival_ns=0)
    assert detector.threshold_ms == 12.5
    detector.update(20.0, sent_ms=10, arrival_ns=10 * MS)
    assert detector.threshold_ms == pytest.approx(12.5 + 10 * up * 7.5)
    before = detector.threshold_ms
    detector.update(0.0, sent_ms=10, arrival_ns=20 * MS)
    assert detector.threshold_ms == pytest.approx(max(6.0, before - 10 * down * before))
    before = detector.threshold_ms
    detector.update(before + 15.1, sent_ms=10, arrival_ns=30 * MS)
    assert detector.threshold_ms == before  # an outlier
    for i in range(4, 4000):
        detector.update(0.0, sent_ms=10, arrival_ns=100 * i * MS)
    assert detector.threshold_ms == 6.0


# --- rate control ------------------------------------------------------------


def test_the_state_table_is_the_draft_s() -> None:
    table = {
        ("hold", "overuse"): "decrease",
        ("hold", "normal"): "increase",
        ("hold", "underuse"): "hold",
        ("increase", "overuse"): "decrease",
        ("increase", "normal"): "increase",
        ("increase", "underuse"): "hold",
        ("decrease", "overuse"): "decrease",
        ("decrease", "normal"): "hold",
        ("decrease", "underuse"): "hold",
    }
    assert {(s.value, u.value): t.value for (s, u), t in TRANSITIONS.items()} == table
    assert set(TRANSITIONS) == set(product(RateState, Usage))


def step(aimd: AimdRateControl, usage: Usage, at_ms: float, received: float = 0.0) -> float:
    aimd.update(usage, received_bps=received, rtt_ns=100 * MS, now_ns=round(at_ms * MS))
    return aimd.rate_bps


def test_far_from_convergence_the_rate_grows_by_8_percent_a_second() -> None:
    aimd = AimdRateControl(300_000.0)
    for at_ms in range(0, 10_100, 100):
        step(aimd, Usage.NORMAL, at_ms)
    assert aimd.rate_bps == pytest.approx(300_000 * 1.08**10, rel=1e-6)


def test_near_convergence_it_grows_by_half_a_packet_a_response_time() -> None:
    aimd = AimdRateControl(500_000.0)
    step(aimd, Usage.NORMAL, 0)
    assert step(aimd, Usage.OVERUSE, 100, 400_000) == 340_000
    assert aimd.near_convergence
    step(aimd, Usage.NORMAL, 200, 400_000)  # hold
    before = aimd.rate_bps
    step(aimd, Usage.NORMAL, 300, 400_000)
    # 340 kbit/s at 30 fps: frames of 11333 bits in two packets; response time 200 ms.
    assert aimd.rate_bps - before == pytest.approx(0.5 * 100 / 200 * 11_333 / 2, rel=0.01)


def test_a_rate_outside_the_spread_ends_convergence() -> None:
    aimd = AimdRateControl(500_000.0)
    step(aimd, Usage.OVERUSE, 0, 400_000)
    step(aimd, Usage.NORMAL, 100, 400_000)
    step(aimd, Usage.NORMAL, 200, 600_000)
    assert not aimd.near_convergence


def test_the_estimate_stays_below_one_and_a_half_times_what_arrives() -> None:
    aimd = AimdRateControl(300_000.0)
    for at_ms in range(0, 60_000, 100):
        step(aimd, Usage.NORMAL, at_ms, 250_000)
    assert aimd.rate_bps == 375_000


def test_a_decrease_without_a_received_rate_waits_for_one() -> None:
    aimd = AimdRateControl(300_000.0)
    assert step(aimd, Usage.OVERUSE, 0) == 300_000
    assert aimd.state is RateState.DECREASE


@pytest.mark.parametrize(
    ("loss", "factor"),
    [(0.0, 1.05), (0.019, 1.05), (0.02, 1.0), (0.10, 1.0), (0.2, 0.9), (1.0, 0.5)],
)
def test_the_loss_regimes_of_the_draft(loss: float, factor: float) -> None:
    control = DraftLossBased(400_000.0)
    control.update(loss, rtt_ns=100 * MS, now_ns=0)
    assert control.rate_bps == pytest.approx(400_000 * factor)


def test_the_loss_regimes_of_libwebrtc() -> None:
    control = LibwebrtcLossBased(400_000.0)
    for at_ms in range(0, 1000, 200):
        control.update(0.0, rtt_ns=100 * MS, now_ns=at_ms * MS)
    assert control.rate_bps == pytest.approx(433_000)  # once a second
    control.update(0.2, rtt_ns=100 * MS, now_ns=1000 * MS)
    assert control.rate_bps == pytest.approx(433_000 * 0.9)
    control.update(0.2, rtt_ns=100 * MS, now_ns=1200 * MS)
    assert control.rate_bps == pytest.approx(433_000 * 0.9)  # not before 300 ms and a round trip
    control.update(0.2, rtt_ns=100 * MS, now_ns=1500 * MS)
    assert control.rate_bps == pytest.approx(433_000 * 0.81)


# --- whole ------------------------------------------------------------


def run(
    seconds: float,
    *,
    variant: str = "draft",
    kbps: float | Callable[[int], float] = 1000.0,
    source: Any = "media",
    **path: Any,
) -> tuple[Trace, GccController, Flow]:
    gcc = GccController(variant=variant)
    capacity = kbps if callable(kbps) else (lambda _now: float(kbps))
    flow = Flow(gcc, Path(kbps=capacity, queue_bytes=90_000, **path), source=source)
    return flow.run(seconds), gcc, flow


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kbps", [300.0, 1000.0])
def test_the_rate_converges_on_a_constant_link(variant: str, kbps: float) -> None:
    trace, _, _ = run(50, variant=variant, kbps=kbps)
    assert trace.kbps(25, 50) > 0.82 * kbps
    assert trace.queue_ms(0.95, 25) < 120
    assert {"increase", "decrease"} <= set(trace.visited())


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_backs_off_when_the_queue_grows(variant: str) -> None:
    rate = [1000.0]
    _, _, flow = run(25, variant=variant, kbps=lambda _now: rate[0])
    rate[0] = 400.0
    trace = flow.run(15)
    early = [e for t, e in trace.estimates if 25 * SECOND < t < 29 * SECOND]
    assert min(early) < 400
    assert trace.queue_ms(0.95, 32) < 150
    assert trace.kbps(32, 40) > 0.75 * 400


@pytest.mark.parametrize("variant", VARIANTS)
def test_heavy_loss_lowers_and_light_loss_does_not(variant: str) -> None:
    heavy, _, _ = run(20, variant=variant, lose=lambda n, _now: n % 5 == 0)
    light, _, _ = run(20, variant=variant, lose=lambda n, _now: n % 100 == 0)
    assert heavy.estimates[-1][1] < 150
    assert light.estimates[-1][1] > 700


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "feedback",
    [
        lambda n: [] if n % 3 == 0 else [0],
        lambda n: [n * 37 % 200 * MS],
        lambda _n: [0, 50 * MS],
    ],
    ids=["lost", "late", "duplicated"],
)
def test_it_survives_feedback_that_is(variant: str, feedback: Callable[[int], list[int]]) -> None:
    trace, _, _ = run(40, variant=variant, feedback=feedback)
    assert trace.kbps(20, 40) > 700
    assert trace.queue_ms(0.95, 20) < 200


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_estimate_does_not_run_away_from_a_limited_source(variant: str) -> None:
    trace, _, _ = run(40, variant=variant, kbps=5000.0, source=200.0)
    assert max(e for _, e in trace.estimates) <= 310


def test_an_outage_ends() -> None:
    down = [False]
    _, gcc, flow = run(10, lose=lambda _n, _now: down[0])
    down[0] = True
    flow.run(4)
    down[0] = False
    trace = flow.run(20)
    assert trace.kbps(28, 34) > 300
    assert gcc.next_timer() is not None
    assert math.isfinite(gcc.target_kbps(now_ns=flow.now_ns))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"variant": "x"}, r"rate\.variant: 'x'; known: draft, libwebrtc"),
        ({"start_kbps": -1.0}, r"rate\.start_kbps"),
        ({"min_kbps": 500.0}, r"rate\.min_kbps"),
    ],
    ids=str,
)
def test_bad_options_name_their_field(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ScenarioError, match=field):
        CONTROLLERS.get("gcc")(**options)


def test_other_messages_are_ignored() -> None:
    gcc = GccController()
    gcc.on_feedback(None, now_ns=0)
    gcc.on_timer(now_ns=SECOND)
    assert gcc.target_kbps(now_ns=0) == 300.0
    assert gcc.next_timer() is None
