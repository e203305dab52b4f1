"""Rate control over time, as it was recorded: a change on purpose is recorded anew, and says why.

The recordings are made by `testbed gate --record`; docs/guides/rate-control.md has the commands.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cli.main import run_command

RECORDED = Path(__file__).resolve().parents[2] / "results" / "reference" / "rate-control"


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "runs"), [("rate-steps", 12), ("rfc8867-5.6", 4)])
def test_the_course_of_every_controller_is_the_recorded_one(
    scenario: str, runs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "now"
    assert run_command(["run", scenario, "--out", str(out), "--jobs", "1", "--quiet"]) == 0
    capsys.readouterr()
    code = run_command(["gate", str(RECORDED / f"{scenario}.json"), str(out)])
    said = capsys.readouterr().out
    assert code == 0, said
    assert f"{runs} pairs of runs" in said
