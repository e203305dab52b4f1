"""What `morphe train CONFIG` reads for this codec (`backend: grace-style`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import torch

from grace_style.errors import TrainingError
from grace_style.models import shipped
from grace_style.network import GraceConfig
from grace_style.training.draw import Draw
from grace_style.training.trainer import Stage
from morphe_core.training.config import DEVICES, DataConfig, device_of
from morphe_core.training.yamlfields import read_dataclass

BACKEND: Final = "grace-style"
DTYPES: Final = ("fp32", "bf16")


@dataclass(frozen=True, slots=True)
class GraceTraining:
    """A whole training.

    Attributes:
        out: run folder: checkpoint, metrics, weights.
        data: what is trained on, as for the Morphe codec.
        stages: one after the other, at least one.
        backend: `grace-style`.
        name: of the weights file.
        sizes: of the network.
        seed: of everything drawn, 0 or more.
        device: where the network learns, as for the Morphe codec; flow and warping stay on the CPU.
        dtype: of the trunks' arithmetic, one of `DTYPES`.
        threads: of PyTorch; 0 = as PyTorch chooses. Exact resume needs the same number.
        checkpoint_minutes: between checkpoints, above 0.
        report_steps: steps that one line of the metrics sums up, 1 or more.
        start_batches: batches of the closed-form start, 1 or more.
        table_clips: clips that the entropy tables are counted on, 1 or more.
        start: weights to start from instead of the closed form, a shipped name or a file.

    Raises:
        TrainingError: a value out of range.
    """

    out: Path
    data: DataConfig
    stages: tuple[Stage, ...]
    backend: str = BACKEND
    name: str = "grace"
    sizes: GraceConfig = field(default_factory=GraceConfig)
    seed: int = 1
    device: str = "cpu"
    dtype: str = "bf16"
    threads: int = 0
    checkpoint_minutes: float = 3.0
    report_steps: int = 20
    start_batches: int = 40
    table_clips: int = 200
    start: str = ""

    def __post_init__(self) -> None:
        if self.backend != BACKEND:
            raise TrainingError(f"backend {self.backend!r}: allowed is {BACKEND}")
        if self.device not in DEVICES:
            raise TrainingError(f"device {self.device!r}: allowed are {', '.join(DEVICES)}")
        if self.dtype not in DTYPES:
            raise TrainingError(f"dtype {self.dtype!r}: allowed are {', '.join(DTYPES)}")
        for name, least in (
            ("seed", 0), ("threads", 0), ("report_steps", 1), ("start_batches", 1),
            ("table_clips", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise TrainingError(f"{name} {getattr(self, name)}: allowed is {least} or more")
        if not self.checkpoint_minutes > 0:
            raise TrainingError("checkpoint_minutes: allowed is more than 0")
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
        """JSON values, for the run folder."""
        return {
            **asdict(self), "out": str(self.out), "data": {
                "packed": str(self.data.packed),
                "folders": [str(folder) for folder in self.data.folders],
                "exclude": [str(folder) for folder in self.data.exclude],
                "windows": self.data.windows,
            },
        }  # fmt: skip


def read_config(path: Path) -> GraceTraining:
    """The training that a YAML file describes; paths in it are relative to its folder.

    Raises:
        TrainingError: one line that names file, line, field and what is allowed.
    """
    config = read_dataclass(GraceTraining, path)
    if config.start and config.start not in shipped():
        # A path as the others, though a name is not one.
        config = replace(config, start=str(path.parent / config.start))
    return config


def _check_stage(stage: Stage, place: str) -> None:
    if bool(stage.seconds) == bool(stage.steps) or min(stage.seconds, stage.steps) < 0:
        raise TrainingError(f"{place}: exactly one of seconds and steps must be above 0")
    if not stage.learning_rate > 0:
        raise TrainingError(f"{place}.learning_rate: allowed is more than 0")
    if stage.seen_weight < 0:
        raise TrainingError(f"{place}.seen_weight: allowed is 0 or more")
    _check_draw(stage.draw, f"{place}.draw")


def _check_draw(draw: Draw, place: str) -> None:
    for entry in fields(draw):
        if getattr(draw, entry.name) < 0:
            raise TrainingError(f"{place}.{entry.name}: allowed is 0 or more")
    for low, high in (
        ("shortest", "longest"), ("least_bpp", "most_bpp"), ("finest_step", "coarsest_step"),
        ("least_loss", "most_loss"),
    ):  # fmt: skip
        if getattr(draw, low) > getattr(draw, high):
            raise TrainingError(f"{place}.{low}: allowed is {high} or less")
    for name in ("pictures", "clips", "shortest"):
        if getattr(draw, name) < 1:
            raise TrainingError(f"{place}.{name}: allowed is 1 or more")
    for name in ("least_bpp", "finest_step"):
        if not getattr(draw, name) > 0:
            raise TrainingError(f"{place}.{name}: allowed is more than 0")
    for name in ("clean_share", "most_loss"):
        if getattr(draw, name) > 1:
            raise TrainingError(f"{place}.{name}: allowed are 0..1")
