"""What `morphe train CONFIG` does for this codec: pack, start, train, count, write weights."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch

from grace_style.models import SUFFIX, save_model
from grace_style.network import Network
from grace_style.training.config import GraceTraining, read_config
from grace_style.training.fit import fit_tables
from grace_style.training.trainer import Trainer, initialise
from morphe_core.training.cli import open_windows
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
    """
    config = read_config(path)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.json").write_text(json.dumps(config.as_dict(), indent=1))
    if config.threads:
        torch.set_num_threads(config.threads)
        cv2.setNumThreads(config.threads)
    torch.manual_seed(config.seed)
    network = Network(config.sizes)
    windows = open_windows(config.data, seed=config.seed, report=report)
    trainer = Trainer(
        network, windows, list(config.stages), config.out, seed=config.seed, clock=clock,
        checkpoint_seconds=60 * config.checkpoint_minutes, report_steps=config.report_steps,
    )  # fmt: skip
    if not (config.out / "checkpoint.pt").exists():
        report("closed-form start")
        initialise(network, windows, batches=config.start_batches, seed=config.seed)
        trainer.start_rates(config.start_batches, config.stages[0].draw)
    network.use_half(config.dtype == "bf16")
    trainer.run(report)
    return export(network, windows, config, trainer, report)


def export(
    network: Network, windows: Windows, config: GraceTraining, trainer: Trainer, report: Report
) -> Path:
    """Count the entropy tables and write the weights file of a finished training."""
    report(f"counting entropy tables on {config.table_clips} clips")
    trainer.settle()
    network.eval().requires_grad_(False)
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
        "steps": progress.total_steps,
        "seconds": round(progress.total_seconds),
        "stages": len(config.stages),
        "windows": len(windows),
        "sources": len(windows.sources),
        "machine": platform.machine(),
        "torch": torch.__version__.split("+")[0],
    }
