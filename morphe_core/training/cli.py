"""What `morphe train CONFIG` does: pack, start, train, count tables, write weights."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from morphe_core.errors import TrainingError
from morphe_core.models import Model, load_model, save_model
from morphe_core.network import CONFIGS, Network
from morphe_core.training.config import DataConfig, TrainingConfig, read_config
from morphe_core.training.data import Windows, find_sources, pack
from morphe_core.training.export import fit_entropy
from morphe_core.training.loop import Clock
from morphe_core.training.report import draw_report
from morphe_core.training.trainer import Trainer, initialise

Report = Callable[[str], None]
#: Windows on which the entropy tables are counted.
TABLE_GOPS = 1200


def train_from_config(path: Path, *, clock: Clock, report: Report = print) -> Path:
    """Run the training that a YAML file describes, or go on with it.

    Args:
        path: the configuration, see `training.config`.
        clock: seconds that only grow; the core reads no clock by itself.
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
    torch.manual_seed(config.seed)
    network = _network(config)
    fresh = not (config.out / "checkpoint.pt").exists()
    # Before windows are cut, which takes long: it may be what is wrong.
    start = _start_model(network, config) if fresh else None
    windows = open_windows(config.data, seed=config.seed, report=report)
    trainer = Trainer(
        network, windows, list(config.stages), config.out, seed=config.seed, clock=clock,
        checkpoint_seconds=60 * config.checkpoint_minutes, report_steps=config.report_steps,
    )  # fmt: skip
    if fresh:
        _start(network, start, windows, config, report)
    trainer.run(report)
    draw_report(config.out)
    return export(network, windows, config, trainer, report)


def export(
    network: Network, windows: Windows, config: TrainingConfig, trainer: Trainer, report: Report
) -> Path:
    """Count the entropy tables and write the weights file of a finished training."""
    report(f"counting entropy tables on {TABLE_GOPS} windows")
    network.eval().requires_grad_(False)
    network.use_half(False)
    generator = np.random.default_rng(config.seed)
    entropy = fit_entropy(network, windows, gops=TABLE_GOPS, generator=generator)
    target = config.out / f"{config.backend}.safetensors"
    facts = _facts(config, windows, trainer)
    save_model(target, name=config.backend, network=network, entropy=entropy, facts=facts)
    report(f"wrote {target}")
    return target


def open_windows(data: DataConfig, *, seed: int, report: Report = print) -> Windows:
    """The packed windows; cut now if they are not there.

    Raises:
        TrainingError: there are none, and no clips to cut them from.
    """
    if not (data.packed / "sources.json").exists():
        if not data.folders:
            raise TrainingError(
                f"data.packed {data.packed}: holds no packed set, and data.folders names no "
                "clips to cut one from"
            )
        sources = find_sources(data.folders, data.exclude)
        report(f"cutting windows from {len(sources)} sources")
        pack(sources, data.packed, windows=data.windows, seed=seed, report=report)
    return Windows(data.packed)


def _network(config: TrainingConfig) -> Network:
    network = Network(CONFIGS[config.backend]).to(config.torch_device())
    if config.channels_last:
        network.channels_last()
    network.use_half(config.dtype == "bf16")
    if config.compile:
        network.tokenizer.compile()
        for upscaler in network.super_resolution.values():
            upscaler.compile()
    return network


def _start_model(network: Network, config: TrainingConfig) -> Model | None:
    """The weights to start from; None = the closed form."""
    if not config.start:
        return None
    model = load_model(config.start)
    if model.name != config.backend:
        raise TrainingError(f"start {config.start}: is of {model.name}, not of {config.backend}")
    if model.network.config != network.config:
        # Weights of the same name from another time.
        raise TrainingError(f"start {config.start}: {model.name} has other sizes now")
    return model


def _start(
    network: Network, start: Model | None, windows: Windows, config: TrainingConfig, report: Report
) -> None:
    """Where training begins: weights that are there, or the closed form."""
    if start is None:
        report("closed-form start")
        initialise(network, windows, batches=config.start_batches, seed=config.seed)
        return
    report(f"start from {config.start}, {start.sha256[:12]}")
    network.load_state_dict(start.network.state_dict())


def _facts(config: TrainingConfig, windows: Windows, trainer: Trainer) -> dict[str, Any]:
    """What the weights file says about its making."""
    progress = trainer.progress
    return {
        "seed": config.seed,
        # Its name alone: the folders above it say nothing elsewhere.
        "start": Path(config.start).name or "closed form",
        "steps": progress.total_steps,
        "seconds": round(progress.total_seconds),
        "stages": [stage.name for stage in config.stages],
        "windows": len(windows),
        "sources": len(windows.sources),
        "device": device_name(config.torch_device()),
        "machine": platform.machine(),
        "torch": torch.__version__.split("+")[0],
    }


def device_name(device: torch.device) -> str:
    """As the weights file names it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
