"""What `morphe train CONFIG` reads: data, stages, device, and where the run goes.

A stage's fields are those of `morphe_core.training.trainer.StageConfig`, under the same names; the
trainer takes them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import torch

from morphe_core.errors import TrainingError
from morphe_core.models import shipped
from morphe_core.network import CONFIGS
from morphe_core.training.pipeline import Draw
from morphe_core.training.stage_losses import FIDELITY_LOSSES, LOSSES
from morphe_core.training.trainer import StageConfig
from morphe_core.training.yamlfields import read_dataclass

#: The stages of Appendix A.2: codec; super resolution alone; codec with super resolution frozen;
#: the same under losses. The last one is ours: everything learns.
STAGES: Final = ("base", "sr", "joint", "robust", "whole")
DEVICES: Final = ("auto", "cpu", "cuda")
DTYPES: Final = ("fp32", "bf16")
SCALES: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What is trained on.

    Attributes:
        packed: folder of the packed windows; made from `folders` where it is not there.
        folders: clips and stills, searched with their subfolders.
        exclude: folders of which no file, under whatever name, may be trained on: the test clips.
        windows: about how many windows are cut, 1 or more.

    Raises:
        TrainingError: a value out of range.
    """

    packed: Path
    folders: tuple[Path, ...] = ()
    exclude: tuple[Path, ...] = ()
    windows: int = 3000

    def __post_init__(self) -> None:
        _at_least(self.windows, 1, "windows")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A whole training.

    Attributes:
        out: run folder: checkpoint, metrics, weights.
        data: what is trained on.
        stages: one after the other, at least one.
        backend: size of the network, a name of `morphe_core.network.CONFIGS`.
        seed: of everything drawn, 0 or more.
        device: one of `DEVICES`; `auto` takes a GPU where there is one.
        dtype: type of the trunks' arithmetic, one of `DTYPES`.
        channels_last: memory format of the convolutions; pays on GPUs.
        compile: have PyTorch compile the network; pays on GPUs after a minute or two.
        threads: of PyTorch on the CPU; 0 = as PyTorch chooses. Exact resume needs the same number.
        checkpoint_minutes: between checkpoints, above 0.
        report_steps: steps that one line of the metrics sums up, 1 or more.
        start_batches: batches that the closed-form start is computed from, 1 or more.
        start: weights to start from instead, a shipped name or a file of the same backend.

    Raises:
        TrainingError: a value out of range; the message names it and what is allowed.
    """

    out: Path
    data: DataConfig
    stages: tuple[StageConfig, ...]
    backend: str = "small"
    seed: int = 1
    device: str = "auto"
    dtype: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    threads: int = 0
    checkpoint_minutes: float = 3.0
    report_steps: int = 50
    start_batches: int = 40
    start: str = ""

    def __post_init__(self) -> None:
        _one_of(self.backend, tuple(CONFIGS), "backend")
        _one_of(self.device, DEVICES, "device")
        _one_of(self.dtype, DTYPES, "dtype")
        _at_least(self.seed, 0, "seed")
        _at_least(self.threads, 0, "threads")
        _at_least(self.report_steps, 1, "report_steps")
        _at_least(self.start_batches, 1, "start_batches")
        _above(self.checkpoint_minutes, 0.0, "checkpoint_minutes")
        if not self.stages:
            raise TrainingError("stages: at least one is needed")
        for number, stage in enumerate(self.stages):
            _check_stage(stage, f"stages[{number}]")

    def torch_device(self) -> torch.device:
        """Where the training runs.

        Raises:
            TrainingError: a GPU is asked for and there is none.
        """
        return device_of(self.device)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, for the run folder and the model card."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def device_of(name: str) -> torch.device:
    """The device of a name in `DEVICES`.

    Raises:
        TrainingError: a GPU is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise TrainingError("device cuda: no GPU that PyTorch can use; allowed here: auto, cpu")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def read_config(path: Path) -> TrainingConfig:
    """The training that a YAML file describes; paths in it are relative to its folder.

    Raises:
        TrainingError: one line that names file, line, field and what is allowed.
    """
    config = read_dataclass(TrainingConfig, path)
    if config.start and config.start not in shipped():
        # A path as the others, though a name is not one.
        config = replace(config, start=str(path.parent / config.start))
    return config


def _check_stage(stage: StageConfig, place: str) -> None:
    _one_of(stage.name, STAGES, f"{place}.name")
    _at_least(stage.seconds, 0, f"{place}.seconds")
    _at_least(stage.steps, 0, f"{place}.steps")
    if bool(stage.seconds) == bool(stage.steps):
        raise TrainingError(f"{place}: exactly one of seconds and steps must be above 0")
    _above(stage.learning_rate, 0.0, f"{place}.learning_rate")
    _at_least(stage.batch_factor, 1, f"{place}.batch_factor")
    _check_weights(stage.scales, SCALES, f"{place}.scales")
    if not any(stage.scales.values()):
        raise TrainingError(f"{place}.scales: one share at least must be above 0")
    _check_weights(stage.losses, LOSSES, f"{place}.losses")
    if stage.losses.get("adversarial") and not any(map(stage.losses.get, FIDELITY_LOSSES)):
        raise TrainingError(
            f"{place}.losses.adversarial: weighs against other losses; one of "
            f"{', '.join(FIDELITY_LOSSES)} must be above 0"
        )
    _check_draw(stage.draw, f"{place}.draw")


def _check_draw(draw: Draw, place: str) -> None:
    _above(draw.finest_step, 0.0, f"{place}.finest_step")
    if draw.coarsest_step < draw.finest_step:
        raise TrainingError(
            f"{place}.coarsest_step {draw.coarsest_step:g}: allowed is finest_step "
            f"({draw.finest_step:g}) or more"
        )
    for field in fields(draw):
        share = getattr(draw, field.name)
        if not field.name.endswith("_step") and not 0.0 <= share <= 1.0:
            raise TrainingError(f"{place}.{field.name} {share:g}: allowed are 0..1")


def _check_weights(weights: Mapping[Any, float], known: tuple[Any, ...], place: str) -> None:
    for name, weight in weights.items():
        _one_of(name, known, place)
        _at_least(weight, 0, f"{place}.{name}")


def _one_of(value: object, allowed: tuple[Any, ...], place: str) -> None:
    if value not in allowed:
        raise TrainingError(f"{place} {value!r}: allowed are {', '.join(map(str, allowed))}")


def _at_least(value: float, least: int, place: str) -> None:
    if value < least:
        raise TrainingError(f"{place} {value:g}: allowed is {least} or more")


def _above(value: float, limit: float, place: str) -> None:
    if not value > limit:
        raise TrainingError(f"{place} {value:g}: allowed is more than {limit:g}")


def _plain(value: Any) -> Any:
    """Only what JSON has; numbers as keys become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
