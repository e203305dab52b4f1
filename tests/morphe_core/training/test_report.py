from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from morphe_core.errors import TrainingError
from morphe_core.training.report import draw_report, read_metrics

SVG = "{http://www.w3.org/2000/svg}"


def entries(count: int = 80) -> list[dict[str, Any]]:
    return [
        {
            "stage": "base" if n < count // 2 else "sr",
            "step": 50 * (n + 1),
            "seconds": 30.0 * (n + 1),
            # Up and down: matplotlib leaves points of a straight line out.
            "psnr": 25 + n / 10 + n % 2,
            "impaired_psnr": 22 + n / 10 + n % 2,
            "i_bits": 30.0,
            "p_bits": 90.0 - n / 10,
            "cost": 5 - n / 40,
            **({"sr_vif": 0.4} if n >= count // 2 else {}),
        }
        for n in range(count)
    ]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def longest_curves(svg: Path) -> list[int]:
    """Points of the two longest lines in matplotlib's SVG."""
    lines = [
        path.get("d", "")
        for element in ElementTree.parse(svg).iter(f"{SVG}g")
        if (element.get("id") or "").startswith("line2d")
        for path in element.iter(f"{SVG}path")
    ]
    return sorted(d.count("L") + d.count("M") for d in lines)[-2:]


class TestReadMetrics:
    def test_reads_lines_in_order(self, tmp_path: Path) -> None:
        assert read_metrics(write(tmp_path / "m.jsonl", entries(5))) == entries(5)

    def test_steps_done_again_count_once(self, tmp_path: Path) -> None:
        """A run that resumed at step 100 says anew what it had said of 150 and 200."""
        lines = [{"step": step, "psnr": 1.0} for step in (50, 100, 150, 200)]
        again = [{"step": step, "psnr": 2.0} for step in (150, 200, 250)]
        found = read_metrics(write(tmp_path / "m.jsonl", lines + again))
        assert [(one["step"], one["psnr"]) for one in found] == [
            (50, 1.0), (100, 1.0), (150, 2.0), (200, 2.0), (250, 2.0),
        ]  # fmt: skip

    def test_a_cut_last_line_is_left_out(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.jsonl", entries(3))
        path.write_text(path.read_text()[:-10])
        assert read_metrics(path) == entries(2)

    @pytest.mark.parametrize("line", ["{", "[]", "{}", '{"step": "1"}', "3"])
    def test_other_damage_is_named(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "m.jsonl"
        path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
        with pytest.raises(TrainingError, match=r'm\.jsonl:2: must be an object with a "step"'):
            read_metrics(path)

    def test_nothing_to_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"m\.jsonl: cannot read: No such file"):
            read_metrics(tmp_path / "m.jsonl")
        (tmp_path / "m.jsonl").write_text("")
        with pytest.raises(TrainingError, match=r"m\.jsonl: holds no metrics yet"):
            read_metrics(tmp_path / "m.jsonl")
        (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe")
        with pytest.raises(TrainingError, match="is not text in UTF-8"):
            read_metrics(tmp_path / "m.jsonl")


class TestDrawReport:
    def test_draws_each_group_that_has_values(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.jsonl", entries())
        found = draw_report(tmp_path)
        assert [path.name for path in found] == [
            "psnr.svg", "psnr.png", "rate.svg", "rate.png", "loss.svg", "loss.png",
        ]  # fmt: skip
        assert all(path.parent == tmp_path / "figures" for path in found)

    def test_figures_are_one_column_wide_at_300_dpi(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.jsonl", entries())
        for path in draw_report(tmp_path):
            if path.suffix == ".png":
                with Image.open(path) as image:
                    assert image.width == 990
                    assert len(np.unique(np.asarray(image))) > 10

    @pytest.mark.parametrize("count", [10, 30])
    def test_every_value_is_in_the_curve(self, tmp_path: Path, count: int) -> None:
        write(tmp_path / "metrics.jsonl", entries(count))
        draw_report(tmp_path)
        assert longest_curves(tmp_path / "figures/psnr.svg") == [count, count]

    def test_the_same_run_gives_the_same_bytes(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.jsonl", entries())
        for one, other in zip(
            draw_report(tmp_path, tmp_path / "a"),
            draw_report(tmp_path, tmp_path / "b"),
            strict=True,
        ):
            assert one.read_bytes() == other.read_bytes()

    def test_evaluations_are_drawn_beside(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.jsonl", entries())
        write(
            tmp_path / "evaluation.jsonl",
            [{"step": 100 * n, "seconds": 60.0 * n, "vmaf": 40.0 + n, "clip": "x"} for n in (1, 2)],
        )
        names = [path.name for path in draw_report(tmp_path)]
        assert names[-2:] == ["evaluation-vmaf.svg", "evaluation-vmaf.png"]
        assert not any("evaluation-loss" in name for name in names)

    def test_values_that_are_no_numbers_are_left_out(self, tmp_path: Path) -> None:
        odd = [{"step": 1, "psnr": float("nan")}, {"step": 2, "psnr": 30.0, "ok": True, "x": None}]
        write(tmp_path / "metrics.jsonl", odd)
        assert [path.name for path in draw_report(tmp_path)] == ["psnr.svg", "psnr.png"]

    def test_leaves_matplotlib_as_it_was(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.jsonl", entries(4))
        before = dict(plt.rcParams)
        draw_report(tmp_path)
        assert dict(plt.rcParams) == before
        assert plt.get_fignums() == []

    def test_a_folder_in_the_way_is_named(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.jsonl", entries(4))
        (tmp_path / "figures").write_text("a file")
        with pytest.raises(TrainingError, match=r"psnr\.svg: cannot be written"):
            draw_report(tmp_path)
