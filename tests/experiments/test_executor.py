import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from testbed.analysis.runs import scan_runs
from testbed.errors import OutputError
from testbed.experiments.cell import Cell
from testbed.experiments.executor import Failure, Outcome, first_of_each_group, run_suite
from testbed.experiments.scenario import load_scenario
from testbed.experiments.store import is_whole, prepare_output
from testbed.experiments.suite import expand

Write = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


class Log:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def started(self, cell: Cell) -> None:
        self.events.append(("started", cell.run))

    def finished(self, cell: Cell) -> None:
        self.events.append(("finished", cell.run))

    def failed(self, failure: Failure) -> None:
        self.events.append(("failed", failure.cell.run))


def run(cells: list[Cell], out: Path, session: Any, jobs: int = 1) -> tuple[Outcome, Log]:
    log = Log()
    return run_suite(cells, out=out, jobs=jobs, reporter=log, session=session), log


@pytest.fixture
def cells(write: Write, fakes: Any) -> list[Cell]:
    return expand(load_scenario(write("rate: [0, 0.05]", "rate: 0.05")))


def test_a_suite_is_run_and_then_kept(cells: list[Cell], tmp_path: Path, fakes: Any) -> None:
    out = tmp_path / "out"
    outcome, log = run(cells, out, fakes.good)
    assert len(outcome.made) == len(cells) == 6
    assert [e for e, _ in log.events].count("finished") == 6
    before = {p: p.stat().st_ino for p in (out / "runs").iterdir()}
    outcome, log = run(cells, out, fakes.fails_on_seed_2)
    assert (outcome.made, len(outcome.kept), outcome.failed, log.events) == ([], 6, [], [])
    assert {p: p.stat().st_ino for p in (out / "runs").iterdir()} == before

    runs = scan_runs(out)
    assert not runs.broken
    assert {r.name for r in runs.runs} == {c.run for c in cells}
    manifest = runs.runs[0].manifest
    assert manifest["scenario"] == "tiny"
    assert manifest["inputs"]["trace"]["sha256"]
    assert manifest["inputs"]["clip"]["sha256"] == fakes.FakeClip.sha256
    assert manifest["versions"]["numpy"]
    assert manifest["host"]["cores"] >= 1
    assert manifest["facts"]["loss_down"]["lost"] >= 0
    assert runs.runs[0].summary["metrics_version"] >= 1


def test_jobs_do_not_change_a_byte(cells: list[Cell], tmp_path: Path, fakes: Any) -> None:
    for jobs in (1, 2):
        run(cells, tmp_path / str(jobs), fakes.good, jobs)
    for cell in cells:
        for table in ("frames", "packets", "control", "link"):
            one, two = (
                tmp_path / jobs / "runs" / cell.run / f"{table}.parquet" for jobs in ("1", "2")
            )
            assert one.read_bytes() == two.read_bytes()


def test_a_failed_cell_costs_only_itself(cells: list[Cell], tmp_path: Path, fakes: Any) -> None:
    out = tmp_path / "out"
    outcome, _ = run(cells, out, fakes.fails_on_seed_2, 2)
    assert {f.cell.seed for f in outcome.failed} == {2}
    assert len(outcome.made) == 4
    listed = json.loads((out / "failures.json").read_text())
    assert {f["seed"] for f in listed} == {2}
    assert listed[0]["error"] == "this cell fails"
    assert listed[0]["kind"] == "RuntimeError"
    assert "fakeworld.py" in listed[0]["details"]
    assert not list((out / "runs").glob(".*"))

    outcome, _ = run(cells, out, fakes.good)
    assert (len(outcome.made), len(outcome.kept)) == (2, 4)
    assert not (out / "failures.json").exists()


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_dead_worker_costs_only_its_cell(
    cells: list[Cell], tmp_path: Path, fakes: Any, jobs: int
) -> None:
    out = tmp_path / "out"
    outcome, _ = run(cells, out, fakes.dies_on_seed_2, jobs)
    assert {(f.cell.seed, f.kind) for f in outcome.failed} == {(2, "crash")}
    assert {c.run for c in outcome.made} == {c.run for c in cells if c.seed != 2}
    assert all(is_whole(out, c.run) == (c.seed != 2) for c in cells)
    assert not list((out / "runs").glob(".*"))


def test_a_full_disk_ends_the_suite_with_one_line(
    cells: list[Cell], fakes: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        with pytest.raises(OutputError, match=r"packets.parquet: cannot write: No space left"):
            run(cells, folder / "out", fakes.fills_the_disk, 2)
        assert list((folder / "out" / "runs").iterdir()) == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_equal_encodes_are_not_made_at_the_same_time(
    cells: list[Cell], tmp_path: Path, fakes: Any
) -> None:
    assert len({c.encode_group for c in cells}) == 2
    order = first_of_each_group(cells)
    assert {c.encode_group for c in order[:2]} == {c.encode_group for c in cells}
    assert sorted(c.run for c in order) == sorted(c.run for c in cells)

    _, log = run(cells, tmp_path / "out", fakes.good, 4)
    group = {c.run: c.encode_group for c in cells}
    under_way: list[str] = []
    finished: set[str] = set()
    for event, name in log.events:
        if event == "started":
            assert group[name] in finished or group[name] not in under_way
            under_way.append(group[name])
        else:
            under_way.remove(group[name])
            finished.add(group[name])


SCRIPT = """
import signal, sys
# A runner in the background may have started us with SIGINT ignored, which a shell then inherits.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {folder!r})
import fakeworld, testbed.media.clips
testbed.media.clips.open_clip = fakeworld.open_clip
from testbed.experiments.runner import WORLDS
WORLDS.register("fake")(getattr(fakeworld, sys.argv[1]))
from testbed.cli.main import run_command
sys.exit(run_command(sys.argv[2:]))
"""


def start(world: str, *arguments: str) -> subprocess.Popen[str]:
    script = SCRIPT.format(folder=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, world, "run", "--world", "fake", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def children_of(pid: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_was_whole_is_kept_after_the_suite_was_stopped(
    write: Write, tmp_path: Path, fakes: Any, how: signal.Signals
) -> None:
    scenario, out = write("rate: [0, 0.05]", "rate: 0.05"), tmp_path / "out"
    arguments = (str(scenario), "--out", str(out), "--jobs", "1")
    process = start("waits_on_seed_3", *arguments)
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(4)]  # seeds 1 and 2 of two transports
    assert lines[3].startswith("[4/6] ")
    child = process.stderr.readline()
    assert child.startswith("child ")
    started = children_of(process.pid) | {int(child.split()[1])}
    process.send_signal(how)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    whole = {p.name for p in (out / "runs").iterdir() if not p.name.startswith(".")}
    assert len(whole) == 4
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert errors == (
            "error: interrupted: 4 of 6 runs are whole; the same command goes on from there\n"
        )
        assert {p.name for p in (out / "runs").iterdir()} == whole
    for one in started:  # with their parent the workers go, and with them what they started
        wait_for_end(one)

    process = start("good", *arguments, "--quiet")
    answer, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "6 of 6 runs are whole, 4 of them from before" in answer
    assert not list((out / "runs").glob(".*"))


def wait_for_end(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    try:
        ended, _, _ = select.select([handle], [], [], 60)
        assert ended, f"process {pid} is still there"
    finally:
        os.close(handle)


def test_an_interrupted_cell_is_not_listed_as_failed(tmp_path: Path, fakes: Any) -> None:
    prepare_output(tmp_path / "out")
    outcome, log = run([], tmp_path / "out", fakes.good)
    assert (outcome.made, outcome.kept, outcome.failed, log.events) == ([], [], [], [])
    assert not (tmp_path / "out" / "failures.json").exists()


def test_tables_can_be_read_with_their_types(cells: list[Cell], tmp_path: Path, fakes: Any) -> None:
    run(cells[:1], tmp_path, fakes.good)
    table = pq.read_table(tmp_path / "runs" / cells[0].run / "frames.parquet")
    assert str(table.schema.field("capture_ns").type) == "int64"
    assert table["render_ns"].null_count > 0
