from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from testbed.analysis.gate.answer import ROWS, Answer
from testbed.analysis.gate.matching import Problem
from testbed.analysis.gate.verdicts import Comparison

WORSE = Comparison(
    "rendered_fps", "h264, loss bernoulli 5 %", 30.0, 24.5, -6.25, -4.75, 0.6, 9.2, 5, 0.0012,
    "paired t", "regression",
)  # fmt: skip
UNCLEAR = dataclasses.replace(WORSE, metric="utilisation", before=0.912, after=0.7, low=-0.4,
                              high=0.01, p=0.3, verdict="unclear", excess=4.0)  # fmt: skip
BETTER = dataclasses.replace(UNCLEAR, metric="psnr_mean", before=30.0, after=1234.5, p=1.0,
                             verdict="better", excess=-4.0)  # fmt: skip
ALONE = dataclasses.replace(WORSE, low=None, high=None, p=None, test="none", excess=float("inf"),
                            remark="limit alone")  # fmt: skip
OK = dataclasses.replace(WORSE, verdict="ok")
LOST = dataclasses.replace(ALONE, after=None, remark="no value in 3 of 3 runs")


def answer(*comparisons: Comparison, problems: tuple[Problem, ...] = ()) -> Answer:
    return Answer(Path("old"), Path("new"), 2, 6, comparisons, problems, ("code differs",))


def test_the_table() -> None:
    compared, note, *table, conclusion = answer(OK, BETTER, UNCLEAR, WORSE).as_text().splitlines()
    assert compared == "new against old: 2 cells, 6 pairs of runs"
    assert note == "note: code differs"
    cell = "h264, loss bernoulli 5 %"
    assert [re.split(" {2,}", line) for line in table] == [
        ["verdict", "metric", "cell", "baseline", "now", "change", "95 % interval", "by"],
        ["regression", "rendered_fps", cell, "30.00 fps", "24.50 fps", "-5.50", "-6.25 to -4.75",
         "paired t, 5 seeds, p 0.0012"],
        ["unclear", "utilisation", cell, "91.20 %", "70.00 %", "-21.20", "-40.00 to +1.00",
         "paired t, 5 seeds, p 0.3"],
        ["better", "psnr_mean", cell, "30.00 dB", "1234 dB", "+1204", "-0.40 to +0.01",
         "paired t, 5 seeds"],
    ]  # fmt: skip
    assert {line.index(cell) for line in table[1:]} == {table[0].index("cell")}
    assert conclusion == (
        "regression: 1 of 4 comparisons (rendered_fps); 1 unclear: more seeds would tell, "
        "--strict fails on it; 1 better"
    )


def test_rows_without_a_test_or_a_value() -> None:
    text = answer(ALONE, LOST).as_text()
    assert "5 seeds, limit alone" in text
    assert "none" in text
    assert "no value in 3 of 3 runs" in text


def test_problems_are_regressions() -> None:
    problems = (Problem("missing", "h265", "no run of this cell"), Problem("broken", "", "x: bad"))
    found = answer(OK, problems=problems)
    assert not found.passed()
    assert "missing: h265: no run of this cell" in found.as_text()
    assert "broken: x: bad" in found.as_text()
    assert found.conclusion() == "regression: 1 missing, 1 broken"


def test_strict_makes_unclear_a_regression() -> None:
    found = answer(UNCLEAR, OK)
    assert found.passed()
    assert not found.passed(strict=True)
    assert found.conclusion().startswith("passed: 2 comparisons; 1 unclear: more seeds")
    assert found.conclusion(strict=True) == "regression: unclear counts, by --strict; 1 unclear"


def test_long_tables_are_cut_and_the_worst_comes_first() -> None:
    many = [dataclasses.replace(WORSE, cell=f"cell {n}", excess=float(n)) for n in range(50)]
    lines = answer(*many).as_text().splitlines()
    assert len(lines) == ROWS + 5
    assert "cell 49" in lines[3]
    assert lines[-2] == "... and 30 more (--out FILE writes all)"
    assert len(answer(*many).as_markdown().splitlines()) > 50


def test_metrics_named_in_the_conclusion_are_few() -> None:
    many = [dataclasses.replace(WORSE, metric=m) for m in ("vmaf_mean", "vmaf_p5", "psnr_mean",
            "ssim_db", "ssim_mean")]  # fmt: skip
    assert answer(*many).conclusion() == (
        "regression: 5 of 5 comparisons (vmaf_mean, vmaf_p5, psnr_mean, ssim_db, ...)"
    )


def test_markdown() -> None:
    piped = dataclasses.replace(WORSE, cell="a|b")
    text = answer(piped, problems=(Problem("missing", "h265", "gone"),)).as_markdown()
    lines = text.splitlines()
    assert lines[0] == "**regression: 1 of 1 comparisons (rendered_fps), 1 missing**"
    assert "- missing: h265: gone" in lines
    assert "- note: code differs" in lines
    assert "| regression | rendered_fps | a\\|b | 30.00 fps |" in lines[-1]
    assert {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")} == {9}


def test_json_holds_everything_and_no_infinity() -> None:
    found = json.loads(json.dumps(answer(OK, LOST).as_json(strict=True), allow_nan=False))
    assert (found["passed"], found["strict"], found["cells"], found["pairs"]) == (False, True, 2, 6)
    first, second = found["comparisons"]
    assert (first["metric"], first["verdict"], first["change"]) == ("rendered_fps", "ok", -5.5)
    assert (second["after"], second["excess"], second["change"]) == (None, None, None)
