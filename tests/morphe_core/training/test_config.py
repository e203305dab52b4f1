from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from morphe_core.errors import TrainingError
from morphe_core.training.config import TrainingConfig, read_config
from morphe_core.training.pipeline import Draw
from morphe_core.training.trainer import StageConfig

LEAST = """
out: runs/first
data: {packed: packed}
stages:
  - {name: base, steps: 10}
"""
WHOLE = """
out: runs/whole
data:
  packed: packed
  folders: [clips, stills]
  exclude: [../test]
  windows: 500
backend: base
seed: 7
device: cpu
dtype: bf16
channels_last: true
compile: true
threads: 2
checkpoint_minutes: 1.5
report_steps: 20
start_batches: 8
start: small
stages:
  - name: base
    seconds: 3600
    learning_rate: 2e-3
    scales: {2: 0.5, 3: 0.5}
    draw: {finest_step: 20, coarsest_step: 100}
  - name: sr
    steps: 2000
    losses: {pixel: 1.0, vif: 8, detail: 4}
  - name: robust
    steps: 100
    draw: {loss_share: 0.5, drop_share: 0.5, max_drop: 0.25}
  - name: whole
    steps: 50
    losses: {pixel: 0.8, flow: 0.2, boundary: 0.05, adversarial: 0.1}
    draw: {spare_share: 0.7}
"""


def read(folder: Path, text: str) -> TrainingConfig:
    path = folder / "train.yaml"
    path.write_text(text)
    return read_config(path)


def test_a_short_file_is_enough(tmp_path: Path) -> None:
    config = read(tmp_path, LEAST)
    assert config.out == tmp_path / "runs/first"
    assert config.data.packed == tmp_path / "packed"
    assert config.stages == (StageConfig("base", steps=10),)
    assert (config.backend, config.seed, config.dtype) == ("small", 1, "fp32")
    assert config.start == ""


def test_everything_can_be_said(tmp_path: Path) -> None:
    config = read(tmp_path, WHOLE)
    assert config.data.folders == (tmp_path / "clips", tmp_path / "stills")
    assert config.data.exclude == (tmp_path / "../test",)
    base, sr, robust, whole = config.stages
    assert base == StageConfig(
        "base",
        seconds=3600.0,
        learning_rate=0.002,
        scales={2: 0.5, 3: 0.5},
        draw=Draw(finest_step=20.0, coarsest_step=100.0),
    )
    assert sr.losses == {"pixel": 1.0, "vif": 8.0, "detail": 4.0}
    assert robust.draw == Draw(loss_share=0.5, drop_share=0.5, max_drop=0.25)
    assert whole.name == "whole"
    assert whole.losses == {"pixel": 0.8, "flow": 0.2, "boundary": 0.05, "adversarial": 0.1}
    assert whole.draw == Draw(spare_share=0.7)
    assert (config.checkpoint_minutes, config.threads, config.compile) == (1.5, 2, True)


def test_weights_to_start_from_are_a_shipped_name_or_a_path_like_the_others(tmp_path: Path) -> None:
    def start(written: str) -> str:
        return read(tmp_path, f"start: {written}\n{LEAST}").start

    assert start("small") == "small"
    assert start("runs/first/small.safetensors") == str(tmp_path / "runs/first/small.safetensors")
    assert start("../other.safetensors") == str(tmp_path / "../other.safetensors")
    assert start("/elsewhere/x.safetensors") == "/elsewhere/x.safetensors"


def test_it_can_be_kept_as_json(tmp_path: Path) -> None:
    kept = json.loads(json.dumps(read(tmp_path, WHOLE).as_dict()))
    assert kept["stages"][0]["scales"] == {"2": 0.5, "3": 0.5}
    assert kept["data"]["packed"] == str(tmp_path / "packed")
    assert set(kept) == set(TrainingConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("out: runs/first", "dir: x", "2: dir: unknown key; known here: backend, channels_last,"),
        ("data:", "backend: huge\ndata:", "backend 'huge': allowed are small, base"),
        ("data:", "device: tpu\ndata:", "device 'tpu': allowed are auto, cpu, cuda"),
        ("data:", "dtype: fp16\ndata:", "dtype 'fp16': allowed are fp32, bf16"),
        ("data:", "seed: -1\ndata:", "seed -1: allowed is 0 or more"),
        ("data:", "threads: -2\ndata:", "threads -2: allowed is 0 or more"),
        ("data:", "report_steps: 0\ndata:", "report_steps 0: allowed is 1 or more"),
        ("data:", "start_batches: 0\ndata:", "start_batches 0: allowed is 1 or more"),
        ("data:", "start: 7\ndata:", r"start: must be .* \(got '7'\)"),
        ("data:", "checkpoint_minutes: 0\ndata:", "checkpoint_minutes 0: allowed is more than 0"),
        ("packed: packed", "packed: p, windows: 0", "data: windows 0: allowed is 1 or more"),
        ("packed: packed", "folders: [a]", "data.packed: is missing"),
        ("  - {name: base, steps: 10}", "  []", "stages: at least one is needed"),
        ("base", "fine", r"stages\[0\].name 'fine': allowed are base, sr, joint, robust, whole"),
        ("steps: 10", "steps: 10, seconds: 5", r"stages\[0\]: exactly one of seconds and steps"),
        (", steps: 10", "", r"stages\[0\]: exactly one of seconds and steps must be above 0"),
        ("steps: 10", "steps: -3", r"stages\[0\].steps -3: allowed is 0 or more"),
        ("steps: 10", "seconds: -3", r"stages\[0\].seconds -3: allowed is 0 or more"),
        ("10}", "10, learning_rate: 0}", r"stages\[0\].learning_rate 0: allowed is more than 0"),
        ("10}", "10, batch_factor: 0}", r"stages\[0\].batch_factor 0: allowed is 1 or more"),
        ("10}", "10, scales: {4: 1}}", r"stages\[0\].scales 4: allowed are 1, 2, 3"),
        ("10}", "10, scales: {2: -1}}", r"stages\[0\].scales.2 -1: allowed is 0 or more"),
        ("10}", "10, scales: {2: 0}}", r"stages\[0\].scales: one share at least"),
        ("10}", "10, losses: {vmaf: 1}}", r"stages\[0\].losses 'vmaf': allowed are pixel, vif, d"),
        ("10}", "10, losses: {gan: 1}}", "pixel, vif, detail, flow, boundary, adversarial$"),
        ("10}", "10, losses: {flow: -1}}", r"stages\[0\].losses.flow -1: allowed is 0 or more"),
        (
            "10}",
            "10, losses: {flow: 1, adversarial: 0.1}}",
            r"losses.adversarial: weighs against .*; one of pixel, vif, detail must be above 0$",
        ),
        ("10}", "10, draw: {max_drop: 2}}", r"stages\[0\].draw.max_drop 2: allowed are 0..1"),
        ("10}", "10, draw: {spare_share: -1}}", r"draw.spare_share -1: allowed are 0..1"),
        ("10}", "10, draw: {finest_step: 0}}", "draw.finest_step 0: allowed is more than 0"),
        ("10}", "10, draw: {coarsest_step: 9}}", r"coarsest_step 9: allowed is finest_step \(16\)"),
        ("10}", "10, draw: {drop: 0.1}}", r"draw.drop: unknown key; known here: coarsest_step,"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in LEAST
    with pytest.raises(TrainingError, match=message) as caught:
        read(tmp_path, LEAST.replace(old, new, 1))
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(str(tmp_path / "train.yaml"))


def test_device_follows_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def device(name: str, *, gpu: bool) -> torch.device:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        return read(tmp_path, f"device: {name}\n{LEAST}").torch_device()

    assert device("auto", gpu=False) == torch.device("cpu")
    assert device("auto", gpu=True) == torch.device("cuda")
    assert device("cpu", gpu=True) == torch.device("cpu")
    assert device("cuda", gpu=True) == torch.device("cuda")
    with pytest.raises(TrainingError, match="device cuda: no GPU that PyTorch can use"):
        device("cuda", gpu=False)
