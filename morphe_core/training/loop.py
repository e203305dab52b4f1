"""A training in stages: checkpoints, exact resume, and a log of numbers.

A run folder holds `metrics.jsonl` (one line each reporting interval) and `checkpoint.pt`
(everything that the next step depends on). Started again in the same folder, training goes on at
the step of the checkpoint and gives the same weights as a run that was never stopped (on the same
machine and number of threads). What a step is, and what it depends on, is for whoever trains.
"""

from __future__ import annotations

import json
import math
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch

from morphe_core.errors import TrainingError
from morphe_core.training.report import METRICS_FILE, read_log

#: Steps over which the learning rate rises at the start of a stage.
WARM_UP_STEPS = 50
#: What PyTorch raises on a file that is no checkpoint, beside a `RuntimeError`.
_UNREADABLE = (pickle.UnpicklingError, EOFError, IndexError)

Clock = Callable[[], float]


class TimedStage(Protocol):
    """What the loop asks of a stage: its length and its learning rate at its highest."""

    @property
    def seconds(self) -> float:
        """Length by the clock; 0: by `steps`."""

    @property
    def steps(self) -> int:
        """Length in steps; the learning rate falls along whichever is given."""

    @property
    def learning_rate(self) -> float:
        """At its highest; it falls to a fiftieth along a cosine."""


S = TypeVar("S", bound=TimedStage)


@dataclass(slots=True)
class Progress:
    """Where training stands."""

    stage: int = 0
    step: int = 0
    total_steps: int = 0
    stage_seconds: float = 0.0
    total_seconds: float = 0.0


class StagedTraining(ABC, Generic[S]):
    """Runs stages.

    Args:
        stages: one after the other.
        folder: of the run.
        device: where the checkpoint is read to.
        clock: seconds that only grow.
        checkpoint_seconds: between checkpoints.
        report_steps: steps that one line of the log sums up.

    Attributes:
        progress: where training stands.
        optimiser: its groups have a `factor` to the learning rate; `_begin_stage` sets it.
    """

    optimiser: torch.optim.Optimizer

    def __init__(
        self, stages: Sequence[S], folder: Path, *, device: torch.device, clock: Clock,
        checkpoint_seconds: float, report_steps: int,
    ) -> None:  # fmt: skip
        self.stages, self.folder, self.device = stages, folder, device
        self.progress = Progress()
        self._clock = clock
        self._checkpoint_seconds = checkpoint_seconds
        self._report_steps = report_steps
        self._sums: dict[str, list[float]] = {}

    # -- for whoever trains ----------------------------------------------------------------------

    @abstractmethod
    def step(self, stage: S) -> dict[str, float]:
        """One step of a stage; returns what is worth logging."""

    @abstractmethod
    def _begin_stage(self) -> None:
        """Set `optimiser` for the stage of `progress`; what was learnt stays."""

    def _enter_stage(self, stage: S) -> None:
        """The stage runs from here on, begun or resumed."""

    @abstractmethod
    def _label(self, stage: S) -> Any:
        """Of a stage in the log."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """What the next step depends on beside the optimiser and the progress."""

    @abstractmethod
    def _load(self, state: dict[str, Any]) -> None:
        """The inverse of `_state`; calls `_resume_stage` when the network is in place."""

    def _use_learning_rate(self, rate: float) -> None:
        """For the next step."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]

    # -- running ---------------------------------------------------------------------------------

    def run(self, report: Callable[[str], None] = print) -> None:
        """Run what is left of the stages."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self._trim_log()
        while self.progress.stage < len(self.stages):
            self._run_stage(self.stages[self.progress.stage], report)
            done = self.progress
            self.progress = Progress(done.stage + 1, 0, done.total_steps, 0.0, done.total_seconds)
            if self.progress.stage < len(self.stages):
                self._begin_stage()
            self.save()
        self.save()

    def _run_stage(self, stage: S, report: Callable[[str], None]) -> None:
        self._enter_stage(stage)
        last = saved = self._clock()
        while not self._done(stage):
            self._set_learning_rate(stage)
            facts = self.step(stage)
            now = self._clock()
            self.progress.step += 1
            self.progress.total_steps += 1
            self.progress.stage_seconds += now - last
            self.progress.total_seconds += now - last
            last = now
            for name, value in facts.items():
                self._sums.setdefault(name, []).append(value)
            if self.progress.step % self._report_steps == 0:
                report(self._log(stage))
            if now - saved > self._checkpoint_seconds:
                self.save()
                saved = last = self._clock()

    def _done(self, stage: S) -> bool:
        if stage.seconds:
            return self.progress.stage_seconds >= stage.seconds
        return self.progress.step >= stage.steps

    def _set_learning_rate(self, stage: S) -> None:
        done = (
            self.progress.stage_seconds / stage.seconds
            if stage.seconds
            else self.progress.step / max(1, stage.steps)
        )
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        warm = min(1.0, (self.progress.step + 1) / WARM_UP_STEPS)
        self._use_learning_rate(stage.learning_rate * cosine * warm)

    # -- keeping ---------------------------------------------------------------------------------

    def _log(self, stage: S) -> str:
        entry: dict[str, Any] = {
            "stage": self._label(stage),
            "step": self.progress.total_steps,
            "seconds": round(self.progress.total_seconds, 1),
        }
        entry.update({name: round(float(np.mean(v)), 5) for name, v in self._sums.items() if v})
        self._sums = {}
        with (self.folder / METRICS_FILE).open("a") as file:
            file.write(json.dumps(entry) + "\n")
        return " ".join(f"{name} {value}" for name, value in entry.items())

    def save(self) -> None:
        """Write the checkpoint: to a temporary name, then renamed."""
        state = {
            **self._state(),
            "optimiser": self.optimiser.state_dict(),
            "progress": asdict(self.progress),
            "sums": self._sums,
        }
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.progress = Progress(**state["progress"])
            self._load(state)
            self._sums = state["sums"]
        except (*_UNREADABLE, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = (str(error).splitlines() or ["damaged"])[0]
            raise TrainingError(f"{path}: does not fit this training ({reason})") from None

    def _resume_stage(self, state: dict[str, Any]) -> bool:
        """The optimiser as it was; False: the stage begins.

        A stage that has not begun starts afresh, also if it was added to a finished run.
        """
        begun = self.progress.step > 0
        if self.progress.stage < len(self.stages):
            self._begin_stage()
            if begun:
                self.optimiser.load_state_dict(state["optimiser"])
        return begun

    def _trim_log(self) -> None:
        """Drop what was logged after the checkpoint: these steps are run, and logged, again."""
        path = self.folder / METRICS_FILE
        if not path.exists():
            return
        entries = [entry for entry in read_log(path) if entry["step"] <= self.progress.total_steps]
        part = path.with_suffix(".part")
        part.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
        part.replace(path)
