"""Runs cells in worker processes: progress, resume, and damage that stays where it happens.

At most one cell a worker is handed out at a time. When a worker process dies, the pool reports
every cell under way as broken; those cells then run again one by one, so that only the guilty one
is lost. Ctrl-C reaches the parent alone: it ends the workers with their encoders and clears their
unfinished folders, and the next call goes on from the whole ones.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from testbed.errors import InputError, OutputError, TestbedError
from testbed.experiments.cell import Cell
from testbed.experiments.runner import SessionRunner, run_cell, simulator
from testbed.experiments.store import (
    discard_unfinished,
    is_whole,
    locked,
    prepare_output,
    record_failures,
)
from testbed.workers import sigint_blocked, worker_pool
from testbed.worlds.session import takes_tap


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that did not end.

    Attributes:
        cell: which.
        kind: class of the exception, or "crash".
        message: one line.
        details: traceback, for `failures.json`; "" for the user's mistakes.
    """

    cell: Cell
    kind: str
    message: str
    details: str = ""

    def as_json(self) -> dict[str, Any]:
        """The entry of `failures.json`."""
        cell = self.cell
        return {
            "run": cell.run,
            "scenario": cell.scenario,
            "transport": cell.transport,
            "seed": cell.seed,
            "cell_id": cell.cell_id,
            "cell": dict(cell.conditions),
            "kind": self.kind,
            "error": self.message,
            "details": self.details,
        }


@dataclass(slots=True)
class Outcome:
    """What became of a suite.

    Attributes:
        made: cells that ran now.
        kept: cells that were whole before.
        failed: cells that did not end.
        again: cells that were whole before but had no capture, and so were run once more; each is
            in `made` or in `failed` as well.
    """

    made: list[Cell] = field(default_factory=list)
    kept: list[Cell] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    again: list[Cell] = field(default_factory=list)


class InterruptedSuiteError(TestbedError):
    """Ctrl-C; what is whole stays."""

    exit_code = 130


class Reporter(Protocol):
    """Is told what happens, in the order in which it happens."""

    def started(self, cell: Cell) -> None:
        """A cell was handed to a worker."""

    def finished(self, cell: Cell) -> None:
        """Its folder is whole."""

    def failed(self, failure: Failure) -> None:
        """It will not be."""


@dataclass(frozen=True, slots=True)
class _Report:
    """What a worker sends back: nothing went wrong, or what did."""

    kind: str = ""
    message: str = ""
    details: str = ""
    output_error: bool = False


def run_suite(
    cells: Sequence[Cell],
    *,
    out: Path,
    jobs: int,
    reporter: Reporter,
    session: SessionRunner = simulator,
    capture: bool = False,
) -> Outcome:
    """Run every cell that is not whole yet.

    Args:
        cells: from `testbed.experiments.suite.expand`, of one or several scenarios.
        out: results folder; made if it is not there.
        jobs: worker processes, >= 1.
        reporter: is told of progress.
        session: the world; a function of a module.
        capture: leave a capture of its packets in every run; a run that is whole without one is
            run again.

    Raises:
        InputError: a capture is asked of a world that makes none.
        OutputError: the folder cannot be used, or the disk is full.
        InterruptedSuiteError: Ctrl-C.
    """
    if capture and not takes_tap(session):
        raise InputError("this world makes no captures; run without --capture")
    outcome = Outcome()
    prepare_output(out)
    with locked(out):
        discard_unfinished(out)
        todo: list[Cell] = []
        for cell in {cell.run: cell for cell in cells}.values():
            if is_whole(out, cell.run, capture=capture):
                outcome.kept.append(cell)
                continue
            todo.append(cell)
            if is_whole(out, cell.run):
                outcome.again.append(cell)
        try:
            _Scheduler(todo, out, jobs, reporter, session, outcome, capture=capture).run()
        except KeyboardInterrupt:
            _record(out, cells, outcome)
            whole = len(outcome.kept) + len(outcome.made)
            raise InterruptedSuiteError(
                f"interrupted: {whole} of {len(outcome.kept) + len(todo)} runs are whole; "
                "the same command goes on from there"
            ) from None
        finally:
            discard_unfinished(out)
        _record(out, cells, outcome)
    return outcome


def _record(out: Path, cells: Sequence[Cell], outcome: Outcome) -> None:
    # In the order of the suite, not in that in which workers happened to finish.
    order = {cell.run: index for index, cell in enumerate(cells)}
    outcome.made.sort(key=lambda cell: order[cell.run])
    outcome.failed.sort(key=lambda failure: order[failure.cell.run])
    failed = [failure.as_json() for failure in outcome.failed]
    record_failures(out, failed, [cell.run for cell in cells])


class _Scheduler:
    """Hands cells to workers, first one of each encode group, then the rest."""

    def __init__(
        self,
        todo: Sequence[Cell],
        out: Path,
        jobs: int,
        reporter: Reporter,
        session: SessionRunner,
        outcome: Outcome,
        *,
        capture: bool,
    ) -> None:
        self.waiting = deque(first_of_each_group(todo))
        self.out = out
        self.jobs = max(1, min(jobs, len(todo)))
        self.reporter = reporter
        self.session = session
        self.capture = capture
        self.outcome = outcome
        self.warm: set[str] = set()  # encode groups with a cell behind them

    def run(self) -> None:
        suspects: list[Cell] = []
        while self.waiting:
            suspects += self._run_pool(self.waiting, self.jobs)
            # After a crash the pool is gone: those under way prove themselves one at a time.
            for cell in suspects:
                if self._run_pool(deque([cell]), 1):
                    self._failed(cell, _Report("crash", "the worker process died"))
            suspects = []

    def _run_pool(self, queue: deque[Cell], jobs: int) -> list[Cell]:
        """Run cells from `queue` until it is empty or a worker dies.

        Returns:
            The cells that were under way when a worker died.
        """
        running: dict[Future[_Report], Cell] = {}
        with worker_pool(jobs) as pool:
            while queue or running:
                while len(running) < jobs and (cell := self._next(queue, running.values())):
                    try:
                        with sigint_blocked():
                            future = pool.submit(_work, cell, self.out, self.session, self.capture)
                    except BrokenProcessPool:
                        queue.appendleft(cell)
                        return list(running.values())
                    running[future] = cell
                    self.reporter.started(cell)
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        report = future.result()
                    except BrokenProcessPool:
                        return list(running.values())
                    self._settle(running.pop(future), report)
        return []

    def _next(self, queue: deque[Cell], running: Iterable[Cell]) -> Cell | None:
        """The next cell whose encodes nobody is making at this moment."""
        busy = {cell.encode_group for cell in running} - self.warm
        for cell in queue:
            if cell.encode_group not in busy:
                queue.remove(cell)
                return cell
        return None

    def _settle(self, cell: Cell, report: _Report) -> None:
        self.warm.add(cell.encode_group)
        if not report.kind:
            self.outcome.made.append(cell)
            self.reporter.finished(cell)
        elif report.output_error:
            raise OutputError(report.message)
        else:
            self._failed(cell, report)

    def _failed(self, cell: Cell, report: _Report) -> None:
        failure = Failure(cell, report.kind, report.message, report.details)
        self.outcome.failed.append(failure)
        self.reporter.failed(failure)


def first_of_each_group(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with one of each encode group in front; the order is kept otherwise.

    The first ones fill the encode cache, so that the rest need not encode the same again.
    """
    seen: set[str] = set()
    first: list[Cell] = []
    rest: list[Cell] = []
    for cell in cells:
        (rest if cell.encode_group in seen else first).append(cell)
        seen.add(cell.encode_group)
    return first + rest


# --- worker processes -------------------------------------------------------------------------


def _work(cell: Cell, out: Path, session: SessionRunner, capture: bool) -> _Report:
    """Run a cell; whatever it raises comes back as a report."""
    try:
        run_cell(cell, out=out, session=session, capture=capture)
    except OutputError as error:
        return _Report("OutputError", str(error), output_error=True)
    except TestbedError as error:
        return _Report(type(error).__name__, _one_line(error))
    except Exception as error:
        return _Report(type(error).__name__, _one_line(error), traceback.format_exc())
    return _Report()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
