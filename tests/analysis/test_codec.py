"""Tables and figures of the codec evaluation."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from testbed.analysis.codec import (
    MEAN,
    bd_rows,
    drop_rows,
    mean_rows,
    write_figures,
    write_tables,
)
from testbed.codec.evaluate import ClipResult, Row
from testbed.codec.steadiness import Steadiness


def _row(clip: str, codec: str, rate: float, vmaf: float, loss: float = 0, burst: float = 1) -> Row:
    same = {"x264-keyint9": vmaf - 5} if codec == "morphe" and rate < 800 else {}
    return Row(
        clip, codec, rate, rate * 1.01, loss, burst, int(loss > 0), vmaf, vmaf / 100, vmaf / 3,
        vmaf - 2, same,
    )  # fmt: skip


def _result(clip: str, gain: float, *, losses: bool = True) -> ClipResult:
    """Morphe needs `gain` times the bytes of its anchor."""
    rows = []
    for rate in (100, 200, 400, 800):
        rows.append(_row(clip, "x264-keyint9", rate, 20 * math.log2(rate / 50)))
        rows.append(_row(clip, "morphe", rate, 20 * math.log2(rate / gain / 50)))
        if losses:
            rows += [
                _row(clip, "morphe", rate, rows[-1].vmaf - 30 * loss - burst, loss, burst)
                for loss in (0.1, 0.25)
                for burst in (1, 4)
            ]
    steadiness = [("morphe", 400.0, Steadiness(0.5, 0.1, -0.2, 0.3))]
    return ClipResult(clip, rows, steadiness, [])


def test_bd_rate_is_the_gain_and_the_mean_is_over_clips() -> None:
    rows = bd_rows([_result("one", 0.5), _result("two", 0.8)], metrics=("vmaf",))
    assert [(row.clip, row.codec, row.anchor, row.clips) for row in rows] == [
        ("one", "morphe", "x264-keyint9", 1), ("two", "morphe", "x264-keyint9", 1),
        (MEAN, "morphe", "x264-keyint9", 2),
    ]  # fmt: skip
    assert [row.percent for row in rows] == pytest.approx([-50, -20, -35])


def test_losses_are_no_points_of_the_curve() -> None:
    with_losses, without = (bd_rows([_result("one", 0.5, losses=lossy)]) for lossy in (True, False))
    assert with_losses == without


def test_clips_without_common_quality_are_counted_out() -> None:
    rows = bd_rows([_result("one", 0.5), _result("far", 1e-6)], metrics=("vmaf",))
    assert [(row.clip, row.clips) for row in rows] == [("one", 1), ("far", 0), (MEAN, 1)]
    assert rows[1].percent is None
    assert rows[2].percent == pytest.approx(-50)


def test_means_are_over_what_every_clip_has() -> None:
    one, two = _result("one", 0.5), _result("two", 0.25)
    only_one = _row("one", "morphe", 1600, 99)
    one.rows.append(only_one)
    means = mean_rows([one, two])
    assert {row.clip for row in means} == {MEAN}
    assert 1600 not in {row.target_kbps for row in means}
    found = next(r for r in means if (r.codec, r.target_kbps, r.loss) == ("morphe", 400, 0))
    assert found.vmaf == pytest.approx(20 * (math.log2(16) + math.log2(32)) / 2)
    assert found.same_bytes == {"x264-keyint9": pytest.approx(found.vmaf - 5)}
    lossy = [r for r in means if r.target_kbps == 400 and r.loss == 0.25]
    assert [r.burst for r in lossy] == [1, 4]
    assert found.vmaf - lossy[1].vmaf == pytest.approx(30 * 0.25 + 4)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_hold_every_row(tmp_path: Path) -> None:
    results = [_result("one", 0.5), _result("two", 0.8)]
    write_tables(results, tmp_path)
    rd = _read(tmp_path / "rd.csv")
    assert len(rd) == 2 * (8 + 16)
    row = next(r for r in rd if r["codec"] == "morphe" and r["target_kbps"] == "400")
    assert float(row["kbps"]) == pytest.approx(404)
    assert float(row["vmaf_of_x264-keyint9_at_same_bytes"]) == pytest.approx(
        float(row["vmaf"]) - 5, abs=1e-3
    )
    beyond = next(r for r in rd if r["codec"] == "morphe" and r["target_kbps"] == "800")
    assert beyond["vmaf_of_x264-keyint9_at_same_bytes"] == ""
    bd = _read(tmp_path / "bd_rate.csv")
    assert {r["metric"] for r in bd} == {"vmaf", "vmaf_neg", "psnr"}
    assert _read(tmp_path / "steadiness.csv")[0] == {
        "clip": "one", "codec": "morphe", "target_kbps": "400", "flicker": "0.5",
        "luma_shift": "0.1", "u_shift": "-0.2", "v_shift": "0.3",
    }  # fmt: skip


def test_figures(tmp_path: Path) -> None:
    one, two = _result("one", 0.5), _result("two", 0.8)
    paths = write_figures([one, two], tmp_path)
    assert {path.name for path in paths} == {
        f"{stem}.{ending}" for stem in ("rd--one", "rd--two", "rd", "loss")
        for ending in ("svg", "png")
    }  # fmt: skip
    text = (tmp_path / "rd.svg").read_text()
    assert text == (write_figures([one, two], tmp_path / "again")[4]).read_text()
    single = write_figures([_result("one", 0.5, losses=False)], tmp_path / "single")
    assert {path.name for path in single} == {"rd.svg", "rd.png"}


def _dropped(
    clip: str, factor: float, *, selections: tuple[str, ...] = ("random", "energy")
) -> ClipResult:
    """Energy keeps a share of the quality without, random half of that."""
    result = _result(clip, 0.5)
    whole = next(row for row in result.rows if (row.codec, row.target_kbps) == ("morphe", 400))
    for drop, scope, selection in product((0.25, 0.5), ("p", "all"), selections):
        vmaf = factor * (1 - drop) * whole.vmaf / (2 if selection == "random" else 1)
        result.rows.append(
            replace(whole, vmaf=vmaf, drop=drop, selection=selection, drop_scope=scope)
        )
    return result


def test_dropping_is_beside_random_dropping_and_none() -> None:
    rows = drop_rows([_dropped("one", 0.8), _dropped("two", 0.4)])
    assert len(rows) == 2 * 2 * 2
    assert {(row.codec, row.target_kbps, row.clips) for row in rows} == {("morphe", 400, 2)}
    for row in rows:
        kept = 0.6 * (1 - row.drop)
        assert row.of_random == pytest.approx(1 if row.selection == "random" else 2)
        assert row.of_undropped == pytest.approx(kept / (2 if row.selection == "random" else 1))
    (alone,) = {row.of_random for row in drop_rows([_dropped("one", 0.8, selections=("energy",))])}
    assert alone is None
    assert drop_rows([_result("one", 0.5)]) == []


def test_dropped_tokens_are_no_points_of_other_curves() -> None:
    assert bd_rows([_dropped("one", 0.5)]) == bd_rows([_result("one", 0.5)])
    means = mean_rows([_dropped("one", 0.5), _dropped("two", 0.5)])
    plain = mean_rows([_result("one", 0.5), _result("two", 0.5)])
    assert [row for row in means if not row.drop] == plain


def test_dropping_has_its_table_and_figure(tmp_path: Path) -> None:
    results = [_dropped("one", 0.8)]
    names = {path.name for path in write_tables(results, tmp_path)}
    assert names == {"rd.csv", "bd_rate.csv", "steadiness.csv", "drop.csv"}
    table = _read(tmp_path / "drop.csv")
    assert [(r["drop_scope"], r["drop"], r["selection"]) for r in table[:2]] == [
        ("p", "0.25", "random"), ("p", "0.25", "energy"),
    ]  # fmt: skip
    rd = _read(tmp_path / "rd.csv")
    assert list(rd[0])[:11] == [
        "clip", "codec", "target_kbps", "kbps", "loss", "burst", "seed", "vmaf", "ssim", "psnr",
        "vmaf_neg",
    ]  # fmt: skip
    assert [r["selection"] for r in rd if r["drop_scope"] == "all"] == ["random", "energy"] * 2
    paths = write_figures(results, tmp_path)
    assert {"drop.svg", "drop.png"} <= {path.name for path in paths}
