"""What `morphe train CONFIG` does for this codec: pack, start, train, count, write weights."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch

from grace_style.errors import TrainingError
from grace_style.models import SUFFIX, Model, load_model, save_model
from grace_style.network import Network
from grace_style.training.config import GraceTraining, read_config
from grace_style.training.fit import fit_tables
from grace_style.training.trainer import Trainer, initialise
from morphe_core.training.cli import device_name, open_windows
from morphe_core.training.data import Windows
from morphe_core.training.loop import Clock

Report = Callable[[str], None]


def train_from_config(path: Path, *, clock: Clock, report: Report = print) -> Path:
    """Run the training that a YAML file describes, or go on with it.

    Args:
        path: the configuration, see `training.config`.
        clock: seconds that only grow; nothing here reads a clock by itself.
        report: takes one line at a time.

    Returns:
        The weights file.

    Raises:
        TrainingError: the configuration or the data cannot be used.
        WeightsError: the weights to start from cannot be read.
    """
    config = read_config(path)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.json").write_text(json.dumps(config.as_dict(), indent=1))
    if config.threads:
        torch.set_num_threads(config.threads)
    cv2.setNumThreads(1)  # pictures are worked on side by side instead, see `parallel`
    torch.manual_seed(config.seed)
    network = Network(config.sizes).to(config.torch_device())
    fresh = not (config.out / "checkpoint.pt").exists()
    # Before windows are cut, which takes long: it may be what is wrong.
    start = _start_model(network, config) if fresh else None
    windows = open_windows(config.data, seed=config.seed, report=report)
    trainer = Trainer(
        network, windows, list(config.stages), config.out, seed=config.seed, clock=clock,
        checkpoint_seconds=60 * config.checkpoint_minutes, report_steps=config.report_steps,
    )  # fmt: skip
    if fresh:
        if start is None:
            report("closed-form start")
            initialise(network, windows, batches=config.start_batches, seed=config.seed)
        else:
            report(f"start from {config.start}, {start.sha256[:12]}")
            network.load_state_dict(start.network.state_dict())
        trainer.start_rates(config.start_batches, config.stages[0].draw)
    network.use_half(config.dtype == "bf16")
    trainer.run(report)
    return export(network, windows, config, trainer, report)


def _start_model(network: Network, config: GraceTraining) -> Model | None:
    """The weights to start from; None = the closed form."""
    if not config.start:
        return None
    model = load_model(config.start)
    if model.network.config != network.config:
        raise TrainingError(f"start {config.start}: its network has other sizes than `sizes` says")
    return model


def export(
    network: Network, windows: Windows, config: GraceTraining, trainer: Trainer, report: Report
) -> Path:
    """Count the entropy tables and write the weights file of a finished training."""
    report(f"counting entropy tables on {config.table_clips} clips")
    trainer.settle()
    network.cpu().eval().requires_grad_(False)
    network.use_half(False)
    with torch.no_grad():
        for value in network.parameters():  # as the weights file has them
            value.copy_(value.half().float())
    draw = config.stages[-1].draw
    entropy = fit_tables(network, windows, draw, count=config.table_clips, seed=config.seed)
    target = config.out / f"{config.name}{SUFFIX}"
    save_model(target, network, entropy, _facts(config, windows, trainer))
    report(f"wrote {target}")
    return target


def _facts(config: GraceTraining, windows: Windows, trainer: Trainer) -> dict[str, Any]:
    """What the weights file says about its making."""
    progress = trainer.progress
    return {
        "seed": config.seed,
        # Its name alone: the folders above it say nothing elsewhere.
        "start": Path(config.start).name or "closed form",
        "steps": progress.total_steps,
        "seconds": round(progress.total_seconds),
        "stages": len(config.stages),
        "windows": len(windows),
        "sources": len(windows.sources),
        "device": device_name(config.torch_device()),
        "machine": platform.machine(),
        "torch": torch.__version__.split("+")[0],
    }
