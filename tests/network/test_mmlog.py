"""mm-link's log format, and our link on the arrivals of recorded logs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError
from testbed.network.mmlog import link_use, parse_log, replay
from testbed.network.queues import parse_queue
from testbed.network.spec import QueueSpec
from testbed.network.trace import OpportunityTrace

GOLDEN = Path(__file__).parents[1] / "golden" / "mahimahi"
SHARED = Path(__file__).parents[3] / "shared" / "mahimahi-golden"

HEADER = """\
# mahimahi mm-link (Uplink) [t] > log
# command line: 'mm-link' 't' 't'
# queue: droptail [bytes=9000, packets=10]
# init timestamp: 1000
# base timestamp: 35
"""


def trace(path: Path) -> OpportunityTrace:
    return OpportunityTrace(np.loadtxt(path, dtype=np.int64))


def test_header_and_lines() -> None:
    log = parse_log(HEADER + "36 + 932\n40 # 1504\n40 - 932 4\n", "log")
    assert log.direction == "up"
    assert log.queue == QueueSpec("droptail", 10, 9000)
    assert (log.base_ms, log.end_ms) == (35, 40)
    assert log.arrivals == [(36, 932)]
    assert log.opportunities == [40]
    assert log.departures == [(40, 932, 4)]
    assert log.drops is None


def test_arguments_of_mm_link_get_our_names() -> None:
    text = HEADER.replace("droptail [bytes=9000, packets=10]", "codel [packets=9, target=5]")
    assert parse_log(text, "log").queue == QueueSpec("codel", 9, None, {"target_ms": 5})


def test_lines_of_head_are_read_and_reproduced() -> None:
    # HEAD writes drops (F2, F27): `t d packets bytes` right after the arrival.
    text = HEADER.replace("bytes=9000, packets=10", "packets=1")
    text += "36 + 100\n37 + 200\n37 d 1 200\n45 # 1504\n45 - 100 9\n"
    log = parse_log(text, "log")
    assert log.drops == [(37, 1, 200)]
    ours = replay(log, OpportunityTrace(np.array([10])), QueueSpec("droptail", 1), rng())
    assert (ours.drops, ours.departures) == (log.drops, log.departures)
    assert ours.opportunities == log.opportunities


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not an mm-link log"),
        ("hello\n", "is not an mm-link log"),
        ("# mahimahi mm-link (Uplink) [t] > log\n", "no base timestamp"),
        (HEADER + "36 * 932\n", "line 6: .* is not a line of mm-link"),
        (HEADER + "36 + \n", "line 6"),
        (HEADER + "36 - 932\n", "line 6"),
        (HEADER + "x + 932\n", "line 6"),
        (HEADER + "36 + -5\n", "line 6"),
        (HEADER + "\n", "line 6"),
        (HEADER + "36 + 1\n35 + 1\n", "line 7: time 35 after 36"),
    ],
)
def test_anything_else_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_log(text, "some.log")
    assert str(caught.value).startswith("some.log")
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="0123456789 +-#d\nx", max_size=80))
def test_garbage_never_does_anything_else(body: str) -> None:
    with contextlib.suppress(InputError):
        parse_log(HEADER + body, "log")


EXACT = sorted(p.name for p in GOLDEN.glob("*.log.gz") if "aqm" not in p.name)


def test_golden_logs_are_there() -> None:
    assert len(EXACT) == 10


@pytest.mark.parametrize("name", EXACT)
def test_every_departure_of_our_golden_logs(name: str, read_golden: Callable[[Path], str]) -> None:
    log = parse_log(read_golden(GOLDEN / name), name)
    assert log.queue is not None
    assert len(log.departures) > 50
    ours = replay(log, trace(GOLDEN / f"{name.split('-')[0]}.trace"), log.queue, rng())
    assert ours.departures == log.departures
    assert ours.opportunities == log.opportunities


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/mahimahi-golden is not here")
@pytest.mark.parametrize("name", ["inf", "dtp", "dl"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_every_departure_of_the_shared_logs(
    name: str, direction: str, read_golden: Callable[[Path], str]
) -> None:
    log = parse_log(read_golden(SHARED / f"{name}.{direction}.log.gz"), name)
    assert log.queue is not None
    ours = replay(log, trace(SHARED / "tr.a"), log.queue, rng())
    assert ours.departures == log.departures
    assert ours.opportunities == log.opportunities


@pytest.mark.parametrize(
    ("queue", "base_ms"),
    [
        ("droptail:packets=9", 0),
        ("droptail:packets=11", 0),
        ("drophead:packets=10", 0),
        ("infinite", 0),
        ("droptail:packets=10", 1),
        ("droptail:packets=10", -1),
    ],
)
def test_the_slightest_other_model_is_noticed(
    queue: str, base_ms: int, read_golden: Callable[[Path], str]
) -> None:
    text = read_golden(GOLDEN / "steps-1.down.log.gz")  # droptail packets=10
    log = parse_log(text, "log")
    base = f"# base timestamp: {log.base_ms}"
    shifted = parse_log(text.replace(base, f"# base timestamp: {log.base_ms + base_ms}"), "log")
    ours = replay(shifted, trace(GOLDEN / "steps.trace"), parse_queue(queue), rng())
    assert ours.departures != log.departures


def constant_log(packets: int, every_ms: int) -> str:
    """Opportunities every 10 ms from 45 on; full packets arrive `every_ms` from 35 on."""
    lines, departs = [], 35
    for k in range(packets):
        arrives = 35 + k * every_ms
        departs = max(departs, arrives) // 10 * 10 + (5 if max(departs, arrives) % 10 < 5 else 15)
        lines.append((arrives, 0, f"{arrives} + 1504"))
        lines.append((departs, 2, f"{departs} - 1504 {departs - arrives}"))
    lines += [(at, 1, f"{at} # 1504") for at in range(45, 1036, 10)]
    return HEADER + "".join(f"{text}\n" for _, _, text in sorted(lines))


def test_a_constant_overload_grows_the_queue_by_what_is_too_much() -> None:
    # Packet k arrives at 35 + 5k and leaves with opportunity k, at 45 + 10k: it waits 10 + 5k.
    use = link_use(parse_log(constant_log(100, 5), "log"), start_ms=0, end_ms=1000)
    assert use.utilisation == 1
    assert use.capacity_kbps == 1504 * 8 / 10
    assert use.packets == 100
    assert use.queueing_ms_p50 == pytest.approx(10 + 5 * 49.5)
    assert use.queueing_ms_mean == pytest.approx(10 + 5 * 49.5)
    assert use.queueing_ms_p95 == pytest.approx(10 + 5 * 0.95 * 99)


def test_half_the_load_uses_half_and_waits_for_one_opportunity() -> None:
    use = link_use(parse_log(constant_log(50, 20), "log"), start_ms=0, end_ms=1000)
    assert (use.utilisation, use.packets) == (0.5, 50)
    assert use.queueing_ms_p50 == use.queueing_ms_p95 == use.queueing_ms_mean == 10


def test_a_part_of_the_trace_counts_what_is_inside_it() -> None:
    # (100, 200] of the trace is (135, 235] of the log: packets 10 to 19 leave at 145 to 235.
    use = link_use(parse_log(constant_log(100, 5), "log"), start_ms=100, end_ms=200)
    assert use.packets == 10
    assert use.capacity_kbps == 1504 * 8 / 10
    assert use.queueing_ms_mean == pytest.approx(10 + 5 * 14.5)


def test_a_log_that_is_too_short_or_silent_is_no_measurement() -> None:
    log = parse_log(constant_log(10, 5), "log")
    with pytest.raises(InputError, match=r"covers 1000 ms of its trace, not 1001 ms"):
        link_use(log, start_ms=0, end_ms=1001)
    with pytest.raises(InputError, match="nothing left the link between 500 and 1000 ms"):
        link_use(log, start_ms=500, end_ms=1000)
