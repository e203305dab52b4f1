"""The split, the cut and the grid."""

from pathlib import Path

import numpy as np
import pytest

from testbed.errors import TraceError
from testbed.network.trace import OpportunityTrace, RateTrace
from testbed.traces.models import corpus

NAMES = [f"a__{k}" for k in range(7)] + [f"b__{k}" for k in range(4)] + ["alone__1", "plain"]


def test_the_split_depends_on_names_alone_and_halves_every_data_set():
    fit, held = corpus.split(NAMES)
    assert corpus.split(reversed(NAMES)) == (fit, held)
    assert sorted(fit + held) == sorted(NAMES)
    counts = {
        group: (sum(n.startswith(group) for n in fit), sum(n.startswith(group) for n in held))
        for group in ("a__", "b__")
    }
    assert counts == {"a__": (4, 3), "b__": (2, 2)}


def test_a_name_more_moves_no_other_data_set():
    fit, _ = corpus.split(NAMES)
    more, _ = corpus.split([*NAMES, "b__new"])
    assert [n for n in fit if n.startswith("a")] == [n for n in more if n.startswith("a")]


def test_lone_files_go_both_ways():
    sides = [bool(corpus.split([f"x{k}__1"])[0]) for k in range(30)]
    assert 5 < sum(sides) < 25


def test_collect(tmp_path):
    for name in ("x__1.csv", "x__2.csv", "y__1.csv"):
        (tmp_path / name).write_text("duration_s,rate_kbps\n60,5\n")
    found = corpus.collect([".", "x__1.csv"], base=tmp_path, exclude=["y*"])
    assert [path.name for path in found] == ["x__1.csv", "x__2.csv"]
    with pytest.raises(TraceError, match=r"nothing: no such file"):
        corpus.collect(["nothing"], base=tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x__1.csv").write_text("duration_s,rate_kbps\n60,5\n")
    with pytest.raises(TraceError, match=r"same name"):
        corpus.collect([".", "sub"], base=tmp_path)


def recording(tmp_path: Path, *parts: tuple[int, float]) -> list[corpus.Recording]:
    path = tmp_path / "set__x.csv"
    path.write_text("duration_s,rate_kbps\n" + "".join(f"{d},{r}\n" for d, r in parts))
    return corpus.record(path, step_s=1.0)


def test_an_overlong_outage_is_cut_out_and_short_rests_are_dropped(tmp_path):
    (item,) = recording(tmp_path, (100, 500), (601, 0), (200, 700), (601, 20), (59, 900))
    assert [piece.size for piece in item.pieces] == [100, 200]
    assert item.group == "set"
    assert item.seconds == 300
    (item,) = recording(tmp_path, (100, 500), (600, 0), (60, 900))
    assert [piece.size for piece in item.pieces] == [760]


def test_at_most_an_hour_and_at_least_a_minute(tmp_path):
    (item,) = recording(tmp_path, (10_000, 500))
    assert item.seconds == 3600
    assert recording(tmp_path, (59, 500)) == []
    assert recording(tmp_path, (300, 50)) == []
    assert recording(tmp_path, (300, 50), (59, 500))[0].seconds == 359


def test_another_grid_takes_the_middle_of_a_step():
    trace = RateTrace(np.array([1_000_000] * 6), np.array([1.0, 2, 3, 4, 5, 6]))
    assert corpus.grid_of(trace, 2.0).tolist() == [2.0, 4.0, 6.0]
    assert corpus.grid_of(trace, 1.0).tolist() == [1.0, 2, 3, 4, 5, 6]
    ticks = OpportunityTrace(np.arange(1, 4001))
    assert corpus.grid_of(ticks, 2.0).tolist() == pytest.approx([12032.0, 12032.0])


def test_the_common_step_is_the_median(tmp_path):
    for name, step in (("a", 1.9), ("b", 2.1), ("c", 0.4)):
        (tmp_path / f"{name}.csv").write_text(
            "duration_s,rate_kbps\n" + f"{step},100\n" * 5, encoding="utf-8"
        )
    assert corpus.common_step([tmp_path / f"{n}.csv" for n in "abc"]) == 2.0
    assert corpus.common_step([tmp_path / "c.csv"]) == 1.0
