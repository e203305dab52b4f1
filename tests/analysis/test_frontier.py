"""Points of utilisation and delay, which of them beats which, and their file."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import handmade
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.frontier import (
    Point,
    beaten_by,
    check_same_links,
    flow_name,
    point_of,
    read_points,
    write_points,
)
from testbed.analysis.runs import Run
from testbed.errors import BrokenLogError, InputError


def point(flow: str, utilisation: float, p95: float, *, trace: str = "t", repeat: int = 1) -> Point:
    return Point(trace, 1, flow, repeat, 1500.0, utilisation, 10.0, p95, 20.0)


def test_more_at_less_delay_beats_and_a_trade_does_not() -> None:
    ours, theirs = point("a", 0.9, 100), point("b", 0.8, 200)
    assert ours.beats(theirs)
    assert not theirs.beats(ours)
    fuller = point("c", 0.95, 300)
    assert not ours.beats(fuller)
    assert not fuller.beats(ours)


def test_an_equal_point_beats_only_where_it_is_better_in_something() -> None:
    assert not point("a", 0.9, 100).beats(point("b", 0.9, 100))
    assert point("a", 0.9, 99).beats(point("b", 0.9, 100))
    assert point("a", 0.91, 100).beats(point("b", 0.9, 100))


def test_only_other_flows_of_the_same_link_beat_and_the_oracle_does_not() -> None:
    mine = point("a", 0.5, 100)
    others = [
        point("a", 0.6, 50, repeat=2),
        point("b", 0.6, 50, trace="u"),
        dataclasses.replace(point("b", 0.6, 50), seed=2),
        point("oracle", 0.6, 50),
    ]
    assert beaten_by(mine, [mine, *others]) == []
    one_good_repeat = [point("c", 0.4, 90), point("c", 0.6, 90, repeat=2), point("b", 0.6, 100)]
    assert beaten_by(mine, [mine, *others, *one_good_repeat]) == ["b", "c"]


POINTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e4)), min_size=1, max_size=12).map(
    lambda pairs: [point(f"flow {k}", u, d) for k, (u, d) in enumerate(pairs)]
)


@given(POINTS)
def test_something_is_always_on_the_frontier_and_it_is_a_staircase(points: list[Point]) -> None:
    kept = [p for p in points if not beaten_by(p, points)]
    assert kept
    kept.sort(key=lambda p: (p.queueing_ms_p95, p.utilisation))
    assert [p.utilisation for p in kept] == sorted(p.utilisation for p in kept)
    for beaten in points:
        if beaten not in kept:
            assert any(p.beats(beaten) for p in kept)


@pytest.mark.parametrize(
    ("rate", "name"),
    [
        ({"control": "bbr"}, "bbr realtime"),
        ({"control": "bbr", "variant": "draft", "max_kbps": 3000}, "bbr draft"),
        ({"control": "bbr", "queue_target_ms": 15}, "bbr realtime queue_target_ms=15"),
        ({"control": "gcc", "variant": "libwebrtc"}, "gcc libwebrtc"),
        ({"control": "oracle", "factor": 0.95, "min_kbps": 50}, "oracle"),
        ({"control": "fixed", "kbps": 400}, "fixed kbps=400"),
    ],
)
def test_a_flow_is_called_by_what_it_goes_by(rate: dict[str, object], name: str) -> None:
    assert flow_name(rate) == name


def test_another_capacity_under_the_same_name_is_noticed() -> None:
    first = point("a", 0.9, 100)
    check_same_links([first, dataclasses.replace(first, flow="b", capacity_kbps=1506.0)])
    check_same_links([first, dataclasses.replace(first, trace="u", capacity_kbps=900.0)])
    other = dataclasses.replace(first, flow="kernel bbr", capacity_kbps=1510.0)
    with pytest.raises(InputError, match=r"t, seed 1: a was offered 1500 kbps and kernel bbr 1510"):
        check_same_links([first, other])


def test_points_survive_their_file_and_each_row_says_what_beat_it(tmp_path: Path) -> None:
    points = [point("a", 0.9, 100), point("b", 0.8, 200), point("c", 0.85, 150)]
    path = tmp_path / "points.csv"
    path.write_text(write_points(points))
    assert read_points(path) == points
    with path.open() as lines:
        assert [row["beaten_by"] for row in csv.DictReader(lines)] == ["", "a; c", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no measurement"),
        ("trace,flow\nt,a\n", "line 2: is not a line of"),
        (write_points([point("a", 0.9, 100)]).replace("0.9000", "much"), "line 2: is not a line"),
    ],
)
def test_another_file_is_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_points(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path / "none.csv")


def hand_made_run(folder: Path, waits_ms: list[float], *, dropped: int = 0) -> Run:
    """Ten frames a second from 5 ms on, a packet each that waits so long; a second of warm-up.

    The link offers 1504 bytes a bin and serves 144; the last `dropped` packets never leave.
    """
    count = len(waits_ms)
    rows = []
    for at, wait_ms in enumerate(waits_ms):
        out_ns = round((at * 100 + 5 + wait_ms) * handmade.MS)
        rows.append(handmade.packet(at, at * 100 + 5, link_out_ns=out_ns, arrival_ns=out_ns))
    for row in rows[count - dropped :]:
        row.update(link_out_ns=None, arrival_ns=None, drop="queue")
    # What comes back over the uplink is no use of the bottleneck; it waits 10 ms each.
    rows += [handmade.packet(None, 1500, direction="up") for _ in range(count)]
    handmade.packets(rows).to_parquet(folder / "packets.parquet")
    handmade.frames([60] * count).to_parquet(folder / "frames.parquet")
    handmade.control([100], [500]).to_parquet(folder / "control.parquet")
    handmade.link([1504] * count, [144] * count).to_parquet(folder / "link.parquet")
    manifest = handmade.manifest(count, warmup_s=1.0)
    manifest["cell"]["trace"] = "t"
    return Run(folder, {**manifest, "seed": 3, "resolved": {"rate": {"control": "bbr"}}})


def test_a_run_is_measured_from_the_end_of_its_warm_up(tmp_path: Path) -> None:
    # Ten packets of the warm-up wait 80 ms and do not count; of the others half wait 20, half 40.
    found = point_of(hand_made_run(tmp_path, [80.0] * 10 + [20.0, 40.0] * 5))
    assert (found.trace, found.seed, found.flow, found.lag_ms) == ("t", 3, "bbr realtime", 0)
    assert found.utilisation == pytest.approx(144 / 1504)
    assert found.capacity_kbps == pytest.approx(1504 * 8 / 100)
    assert found.queueing_ms_p50 == pytest.approx(30)
    assert found.queueing_ms_p95 == pytest.approx(40)
    assert found.queueing_ms_mean == pytest.approx(30)


def test_what_was_dropped_waited_for_nothing(tmp_path: Path) -> None:
    found = point_of(hand_made_run(tmp_path, [20.0] * 19 + [70.0], dropped=1))
    assert found.queueing_ms_p95 == pytest.approx(20)


def test_a_run_of_which_nothing_left_is_no_point(tmp_path: Path) -> None:
    with pytest.raises(BrokenLogError, match="no use of a limited link"):
        point_of(hand_made_run(tmp_path, [20.0] * 20, dropped=20))
