"""Many clips, one after the other or side by side; a broken one costs only itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from morphe_core.errors import MorpheError
from testbed.codec.evaluate import ClipResult, Plan, Report, evaluate_clip, steps
from testbed.codec.reading import open_reference
from testbed.codec.sheets import anchor_panels, drop_panels, write_sheet
from testbed.errors import OutputError, TestbedError
from testbed.workers import sigint_blocked, worker_pool


@dataclass(frozen=True, slots=True)
class Failure:
    """A clip that could not be measured.

    Attributes:
        source: what the user called it.
        message: one line.
        error: the error, or None when the worker died or the error was none of ours.
    """

    source: str
    message: str
    error: TestbedError | MorpheError | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One clip to measure.

    Attributes:
        source: file, catalogue name or test pattern.
        plan: what to measure.
        sheets: folder for the sheets, or None.
        report: told of progress; a function of a module, as it may run in another process.
        threads: of the networks; 0 = PyTorch's own choice.
    """

    source: str
    plan: Plan
    sheets: Path | None
    report: Report
    threads: int


def run_batch(
    sources: Sequence[str], plan: Plan, *, jobs: int, sheets: Path | None, report: Report
) -> tuple[list[ClipResult], list[Failure]]:
    """Measure every clip.

    Args:
        sources: files, catalogue names or test patterns.
        plan: what to measure.
        jobs: worker processes, >= 1; with 1 everything runs in this process.
        sheets: folder for side-by-side sheets, or None.
        report: told of progress, in the worker processes; a function of a module.

    Returns:
        Results and failures, each in the order of `sources`.

    Raises:
        OutputError: a sheet or the cache cannot be written.
    """
    jobs = max(1, min(jobs, len(sources)))
    threads = max(1, len(os.sched_getaffinity(0)) // jobs) if jobs > 1 else 0
    tasks = [Task(source, plan, sheets, report, threads) for source in sources]
    outcomes = map(_settled, tasks) if jobs == 1 else _side_by_side(tasks, jobs)
    results: dict[str, ClipResult] = {}
    failures: dict[str, Failure] = {}
    for source, outcome in zip(sources, outcomes, strict=True):
        if isinstance(outcome, Failure):
            failures[source] = outcome
            if isinstance(outcome.error, OutputError):
                raise outcome.error
        else:
            results[source] = outcome
    return list(results.values()), list(failures.values())


def _side_by_side(tasks: Sequence[Task], jobs: int) -> Iterator[ClipResult | Failure]:
    outcomes: dict[int, ClipResult | Failure] = {}
    with worker_pool(jobs) as pool:
        running: dict[Future[ClipResult | Failure], int] = {}
        for index, task in enumerate(tasks):
            with sigint_blocked():
                running[pool.submit(_settled, task)] = index
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                index = running.pop(future)
                try:
                    outcomes[index] = future.result()
                except BrokenProcessPool:
                    outcomes[index] = Failure(tasks[index].source, "the worker process died")
    return iter([outcomes[index] for index in range(len(tasks))])


def _settled(task: Task) -> ClipResult | Failure:
    """The result, or what went wrong."""
    try:
        return _measure(task)
    except (TestbedError, MorpheError) as error:
        return _failed(task, Failure(task.source, " ".join(str(error).split()), error))
    except Exception as error:
        if os.environ.get("TESTBED_DEBUG") == "1":
            raise
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        text = " ".join(what.split())
        return _failed(task, Failure(task.source, f"internal error ({text})"))


def _failed(task: Task, failure: Failure) -> Failure:
    task.report(f"{task.source}: FAILED: {failure.message}")
    return failure


def _measure(task: Task) -> ClipResult:
    if task.threads and task.plan.profiles:
        import torch

        torch.set_num_threads(task.threads)
    total, done = steps(task.plan), 0

    def report(text: str) -> None:
        nonlocal done
        done += 1
        task.report(f"[{done}/{total}] {text}")

    result = evaluate_clip(task.source, task.plan, report)
    if task.sheets is not None:
        plan = task.plan
        reference = open_reference(
            task.source, height=plan.height, frames=plan.frames, base=plan.base
        )
        for shown in result.shown:
            names = plan.anchors if plan.anchor_kbps else ()
            panels = anchor_panels(shown, reference, result.rows, names)
            write_sheet(task.sheets / f"sheet--{result.clip}.png", shown, reference, panels)
            if shown.dropped:
                path = task.sheets / f"drop--{result.clip}.png"
                write_sheet(path, shown, reference, drop_panels(shown, reference))
    return result
