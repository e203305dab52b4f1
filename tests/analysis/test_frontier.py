"""Points of utilisation and delay, which of them beats which, and their file."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.frontier import (
    Point,
    beaten_by,
    check_same_links,
    flow_name,
    read_points,
    write_points,
)
from testbed.errors import InputError


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
