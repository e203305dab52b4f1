from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from testbed.cli.main import run_command

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis" / "helpers"))

from synthetic_runs import Cell, write_run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for transport in ("h264", "h265"):
        write_run(tmp_path, Cell(duration_s=0.5), transport, 1)
    return tmp_path


def test_report_writes_and_says_what(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", str(results), "--figure", "delay-cdf"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"{results / 'report.html'}: 2 runs, 2 figure files, 0 broken runs, 0 failed cells",
        f"{results / 'summary.csv'}: one row a run",
        f"{results / 'fairness.csv'}: 2 of 2 rows are off",  # each draws losses of its own
    ]
    assert "reading 2 runs" in said.err
    assert (results / "figures" / "delay-cdf.svg").exists()
    assert not (results / "figures" / "quality.svg").exists()


def test_report_answers_programs(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", str(results), "--figure", "delay-cdf", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["runs"] == 2
    assert answer["report"] == str(results / "report.html")
    assert answer["broken"] == []
    assert [Path(path).suffix for path in answer["figures"]] == [".svg", ".png"]


def test_broken_runs_are_named_and_the_answer_is_no(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = results / "runs" / "broken"
    broken.mkdir()
    assert run_command(["report", str(results), "--figure", "delay-cdf"]) == 1
    said = capsys.readouterr()
    assert f"warning: {broken / 'manifest.json'}: missing" in said.err
    assert "2 runs, 2 figure files, 1 broken runs" in said.out
    assert (results / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder; `testbed run` makes one"),
        (["."], "holds no `runs` folder"),
        (["full", "--figure", "cdf"], "unknown figure 'cdf'; known: delay-cdf"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "full", Cell(duration_s=0.5), "h264", 1)
    assert run_command(["report", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def test_help_needs_no_heavy_import() -> None:
    import subprocess

    heavy = "{'matplotlib', 'pandas', 'scipy', 'pyarrow', 'jinja2', 'numpy'} & set(sys.modules)"
    code = f"import sys, testbed.cli.report; sys.exit(str({heavy}) if {heavy} else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
