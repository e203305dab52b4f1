"""The example of the guide on transports, as third parties have it: found by its entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from testbed.analysis.fairness import fairness
from testbed.analysis.report import write_report
from testbed.analysis.runs import Run, scan_runs

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "h264-twice"
SCENARIO = """\
name: copies
clips: [test:testsrc2]
width: 160
height: 96
fps: 30
duration_s: 3
downlink:
  trace: constant:2000kbps
  loss: {kind: bernoulli, rate: 0.1}
  delay_ms: 20
uplink: {delay_ms: 20}
transports: [h264, h264-twice, %s]
rate: {control: fixed, kbps: 400}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example's distribution is on the path, as pip leaves it."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dist = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines: list[str] = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (dist / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (site / "h264_twice.py").write_bytes((EXAMPLE / "h264_twice.py").read_bytes())
    paths = [str(site), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def testbed(*arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "testbed.cli.main", *arguments],
        env=env, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


testbed.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def runs(installed: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("copies")
    scenario = folder / "copies.yaml"
    scenario.write_text(SCENARIO % (EXAMPLE / "h264-thrice.yaml"), encoding="utf-8")
    testbed("run", str(scenario), "--out", str(folder / "out"), "--jobs", "1", "-q", env=installed)
    return {run.transport: run for run in scan_runs(folder / "out").runs}


def test_the_command_knows_the_example(installed: dict[str, str]) -> None:
    shown = json.loads(testbed("transports", "show", "h264-twice", "--json", env=installed))
    assert shown["summary"] == "h264 of which every media packet leaves twice"
    assert shown["look"]["marker"] == "8"
    meanings = {option["name"]: option["meaning"] for option in shown["options"]}
    assert meanings["copies"] == "how often each media packet leaves, 1-4."
    assert all(meanings.values())


def test_every_media_packet_leaves_twice(runs: dict[str, Run]) -> None:
    assert set(runs) == {"h264", "h264-twice", "h264-thrice"}
    for name, copies in (("h264-twice", 2), ("h264-thrice", 3)):
        kinds = runs[name].packets.query("direction == 'down'").groupby("kind").size()
        assert kinds["fec"] == (copies - 1) * kinds["media"]


def test_copies_spare_retransmissions_within_the_same_rate(runs: dict[str, Run]) -> None:
    told = {row.transport: row for row in fairness(list(runs.values()))}
    shares = {name: row.shares["retransmission"] for name, row in told.items()}
    # One packet in ten is lost; both copies of one packet in a hundred.
    assert shares["h264"] > 0.05
    assert shares["h264-twice"] < shares["h264"] / 3
    assert shares["h264-thrice"] <= shares["h264-twice"]
    assert abs(told["h264-twice"].deviation or 1) < 0.05
    assert {row.mask for row in told.values()} == {"same"}


def test_a_report_shows_both_as_they_say_without_knowing_them(runs: dict[str, Run]) -> None:
    # In this process neither the package nor the file is known: all is in the manifests.
    directory = runs["h264-thrice"].folder.parent.parent
    page = write_report(directory, figures=["rendered-fps"]).html.read_text(encoding="utf-8")
    for label, colour in (("H.264 twice", "#117733"), ("H.264 thrice", "#7B3294")):
        assert f'style="background:{colour}"></span>{label}<' in page
    assert "#117733" in (directory / "figures" / "rendered-fps.svg").read_text().upper()


def test_the_example_is_short() -> None:
    lines = (EXAMPLE / "h264_twice.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) < 80
