"""What is left when a process of a session in real time is killed? Kills each of them, many times.

    python tools/kill_worlds.py --times 20

Two cells run through the runner, as `testbed run --jobs 1` does it. In the first one a process is
killed (SIGKILL) at a random moment of its session. Afterwards the first cell must have failed with
one line, the second one must be whole, and nothing may be left: no process, no network namespace,
no mount, no unfinished folder. Prints one line a kill and a table; exit code 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from typing import Any, Final

from testbed.experiments.cell import Cell
from testbed.experiments.executor import Failure, run_suite
from testbed.experiments.runner import mahimahi, relay
from testbed.experiments.scenario import load_scenario
from testbed.experiments.store import is_whole
from testbed.experiments.suite import expand
from testbed.worlds.realtime.children import Children
from testbed.worlds.realtime.world import BUSY_VARIABLE
from testbed.worlds.session import SessionResult, SessionSpec, TableSink

#: Whom to kill, by world. The "worker" is the runner's own process.
VICTIMS: Final = {
    "relay": ("sender", "receiver", "relay", "worker"),
    "mahimahi": ("sender", "receiver", "mm-link", "worker"),
}
#: Tells worker processes whom to kill; inherited by everything that a session starts, so what is
#: left of it is found by it.
_VARIABLE: Final = "TESTBED_KILL"
#: A session that has been running for a moment, and one that is nearly over.
_EARLIEST_S: Final = 0.3
_LATEST_S: Final = 1.6
#: How long the kernel and orphans may take to notice.
_GONE_S: Final = 40.0
_LOOK_S: Final = 0.05

SCENARIO: Final = """\
name: killed
description: Short sessions, of which all but the last one lose a process
clips: ["test:testsrc2"]
width: 160
height: 96
fps: 15
duration_s: 1.5
warmup_s: 0
downlink:
  trace: [model:driving@10s#1]
  mean_kbps: 1000
  mode: opportunities
  queue: {kind: droptail, packets: 60}
  delay_ms: 10
uplink: {delay_ms: 10}
transports: [h264]
rate: {control: fixed, kbps: 200}
seeds: [1, 2]
quality: []
"""


# --- in the runner's worker -------------------------------------------------------------------


def killed_relay(spec: SessionSpec, sink: TableSink, *, base: Path) -> SessionResult:
    """The relay world, in which the sessions of the doomed cells lose a process."""
    with _killing(spec):
        return relay(spec, sink, base=base)


def killed_mahimahi(spec: SessionSpec, sink: TableSink, *, base: Path) -> SessionResult:
    """The mahimahi world, in which the sessions of the doomed cells lose a process."""
    with _killing(spec):
        return mahimahi(spec, sink, base=base)


@contextmanager
def _killing(spec: SessionSpec) -> Iterator[None]:
    plan = json.loads(os.environ[_VARIABLE])
    doom = plan["dooms"].get(str(spec.seed))
    if doom is None:
        yield
        return
    victim, after_s = doom
    real = Children.launch

    def launch(self: Children, name: str, *arguments: Any) -> None:
        real(self, name, *arguments)
        if name == "sender":  # the last one: from here on the session runs
            kill = threading.Timer(after_s, _kill, (victim, plan["mark"], self.pids))
            kill.daemon = True
            kill.start()

    Children.launch = launch  # type: ignore[method-assign]
    try:
        yield
    finally:
        Children.launch = real  # type: ignore[method-assign]


def _kill(victim: str, mark: str, pids: dict[str, int]) -> None:
    if victim == "worker":
        found = [os.getpid()]
    elif victim == "mm-link":
        found = [pid for pid, name in marked(mark).items() if name == "mm-link"][:1]
    else:
        found = [pids[victim]]
    for pid in found:
        os.kill(pid, signal.SIGKILL)


# --- outside ----------------------------------------------------------------------------------


def marked(mark: str) -> dict[int, str]:
    """Names by id of the processes whose environment has `mark`; zombies have none."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "comm").read_text().strip()
        except (OSError, UnicodeDecodeError):  # it ended meanwhile
            continue
    return found


def namespaces() -> set[str]:
    """The network namespaces that any process lives in."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                found.add(str((entry / "ns" / "net").readlink()))
            except OSError:
                continue
    return found


@dataclass
class Result:
    """What became of a suite whose sessions lost processes.

    Attributes:
        lines: how the doomed cells failed, in order.
        wrong: what should not be, one line each; empty when all is well.
    """

    lines: list[str]
    wrong: list[str] = field(default_factory=list)


class Silent:
    """A reporter that says nothing."""

    def started(self, cell: Cell) -> None:
        """Nothing."""

    def finished(self, cell: Cell) -> None:
        """Nothing."""

    def failed(self, failure: Failure) -> None:
        """Nothing."""


def attempt(world: str, dooms: Sequence[tuple[str, float]], folder: Path) -> Result:
    """Run a cell for each doom and one more, kill, look at what is left.

    Args:
        world: "relay" or "mahimahi".
        dooms: whom to kill (one of `VICTIMS`), and how many seconds after the sender's start.
        folder: an empty one.
    """
    ensure_running()  # before the mark is set: multiprocessing's tracker stays with this process
    scenario = folder / "killed.yaml"
    scenario.write_text(SCENARIO)
    out = folder / "out"
    mark = f"testbed-killed-{uuid.uuid4().hex}"
    mounts, nets = Path("/proc/self/mounts").read_text(), namespaces()
    plan = {"dooms": dict(enumerate(dooms, start=1)), "mark": mark}
    # Lateness is not the point here: a busy machine would make the last cell fail.
    with _environment({_VARIABLE: json.dumps(plan), BUSY_VARIABLE: "10000"}):
        cells = expand(load_scenario(scenario, seeds=len(dooms) + 1), world=world)
        session = killed_relay if world == "relay" else killed_mahimahi
        outcome = run_suite(cells, out=out, jobs=1, reporter=Silent(), session=session)
    result = Result([failure.message for failure in outcome.failed])
    wrong = result.wrong
    *doomed, spared = sorted(cells, key=lambda cell: cell.seed)
    if [failure.cell.run for failure in outcome.failed] != [cell.run for cell in doomed]:
        wrong.append(f"{len(doomed)} cells should have failed: {result.lines}")
    wrong += [f"{line!r} is more than one line" for line in result.lines if "\n" in line]
    wrong += [f"seed {cell.seed} is whole" for cell in doomed if is_whole(out, cell.run)]
    if not is_whole(out, spared.run):
        wrong.append("the last cell is not whole")
    wrong += [f"folder {p.name} is left" for p in (out / "runs").iterdir() if p.name[0] == "."]
    wrong += [f"process {pid} ({name}) is left" for pid, name in _gone(mark).items()]
    if Path("/proc/self/mounts").read_text() != mounts:
        wrong.append("a mount is left")
    if left := _new_namespaces(nets):
        wrong.append(f"network namespaces are left: {sorted(left)}")
    return result


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _gone(mark: str) -> dict[int, str]:
    """Wait until no marked process is there; those that stay."""
    until = time.monotonic() + _GONE_S
    while (left := marked(mark)) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return left


def _new_namespaces(before: set[str]) -> set[str]:
    """Network namespaces that came since and stay."""
    until = time.monotonic() + 5.0
    while (new := namespaces() - before) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return new


def main() -> int:
    """Kill and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5, help="kills of each process")
    parser.add_argument("--world", choices=sorted(VICTIMS), action="append", help="default: all")
    parser.add_argument("--seed", type=int, default=None, help="of the moments")
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)  # noqa: S311 - moments, no secrets
    table: dict[tuple[str, str], list[Result]] = {}
    for world in chosen.world or sorted(VICTIMS):
        for victim in VICTIMS[world]:
            for number in range(1, chosen.times + 1):
                after_s = rng.uniform(_EARLIEST_S, _LATEST_S)
                with tempfile.TemporaryDirectory(prefix="testbed-kill-") as name:
                    result = attempt(world, [(victim, after_s)], Path(name))
                table.setdefault((world, victim), []).append(result)
                line, verdict = "; ".join(result.lines), "; ".join(result.wrong) or "clean"
                print(f"{world} {victim} {number}: at {after_s:.2f} s: {line} [{verdict}]")
                sys.stdout.flush()
    print("\n| world | killed | times | clean | failed with |\n|---|---|---|---|---|")
    for (world, victim), results in table.items():
        lines = Counter(line for result in results for line in result.lines)
        shown = ", ".join(f"{line} ({count})" for line, count in lines.most_common(3))
        clean = sum(not result.wrong for result in results)
        print(f"| {world} | {victim} | {len(results)} | {clean} | {shown} |")
    return int(any(result.wrong for results in table.values() for result in results))


if __name__ == "__main__":
    sys.exit(main())
