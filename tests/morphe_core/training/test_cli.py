"""`train_from_config`: from a file to weights, and on from these."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from morphe_core.errors import TrainingError, WeightsError
from morphe_core.models import load_model, save_model
from morphe_core.network import Network
from morphe_core.training import cli, export
from morphe_core.training import trainer as trainer_module
from morphe_core.training.config import read_config
from morphe_core.training.data import Windows
from morphe_core.training.export import collect_tokens
from morphe_core.training.trainer import Trainer
from morphe_core.vgc.bitstream import Part
from morphe_core.vgc.config import EncoderConfig
from morphe_core.vgc.entropy import EntropyModel, decode_rows, encode_rows
from morphe_core.vgc.tokens import CAMERA_SHAPE, MOTION_CHANNELS, MOTION_MAX, GopTokens
from tests.morphe_core.training.conftest import TINY

Begin = Callable[[Network, Path], None]
LEAST = """
out: {out}
data: {{packed: {packed}}}
device: cpu
start_batches: 1
report_steps: 1
{more}
stages:
  - {{name: {stage}, steps: 1, scales: {{3: 1}}, losses: {losses}}}
"""


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network, batches and tables that take seconds."""
    monkeypatch.setattr(cli, "CONFIGS", {"small": TINY})
    monkeypatch.setattr(trainer_module, "BATCH_BY_SCALE", {3: 2})
    monkeypatch.setattr(cli, "fit_entropy", fit_entropy)


def fit_entropy(
    network: Network, windows: Windows, *, gops: int, generator: np.random.Generator
) -> EntropyModel:
    """As `training.export.fit_entropy`, with networks that are not trained."""
    assert gops == cli.TABLE_GOPS
    gop = next(collect_tokens(network, windows, gops=1, generator=generator))
    return EntropyModel.fit([gop], steps=0)


def written(
    folder: Path, packed: Path, out: str, *, more: str = "", stage: str = "base",
    losses: str = "{pixel: 1}",
) -> Path:  # fmt: skip
    path = folder / f"{out}.yaml"
    path.write_text(LEAST.format(out=out, packed=packed, more=more, stage=stage, losses=losses))
    return path


def train(path: Path) -> tuple[Path, list[str]]:
    lines: list[str] = []
    clock = itertools.count(0.0, 1.0).__next__
    return cli.train_from_config(path, clock=clock, report=lines.append), lines


@pytest.fixture(scope="module")
def first(windows_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that one step from the closed form gave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "CONFIGS", {"small": TINY})
        patch.setattr(trainer_module, "BATCH_BY_SCALE", {3: 2})
        patch.setattr(cli, "fit_entropy", fit_entropy)
        folder = tmp_path_factory.mktemp("runs")
        made, lines = train(written(folder, windows_folder, "first"))
    assert made == folder / "first" / "small.safetensors"
    assert lines[0] == "closed-form start"
    assert lines[-1] == f"wrote {made}"
    return made


def test_weights_say_how_they_were_made(first: Path) -> None:
    model = load_model(str(first))
    assert model.name == "small"
    assert model.facts["start"] == "closed form"
    assert model.facts["stages"] == ["base"]
    assert (model.facts["steps"], model.facts["windows"]) == (1, 3)
    assert json.loads((first.parent / "config.json").read_text())["start"] == ""


def test_training_starts_from_weights_that_are_there(
    first: Path, windows_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, torch.Tensor]] = []
    run = Trainer.run

    def watched(self: Trainer, *rest: object) -> None:
        begun.append({name: v.clone() for name, v in self.network.state_dict().items()})
        run(self, *rest)

    monkeypatch.setattr(Trainer, "run", watched)
    (tmp_path / "first.safetensors").write_bytes(first.read_bytes())
    path = written(tmp_path, windows_folder, "next", more="start: first.safetensors", stage="whole")
    made, lines = train(path)
    model = load_model(str(first))
    assert lines[0] == f"start from {tmp_path / 'first.safetensors'}, {model.sha256[:12]}"
    wanted = model.network.state_dict()
    assert set(begun[0]) == set(wanted)
    for name, value in wanted.items():
        assert torch.equal(begun[0][name], value), name
    # It learns, though weights as they are loaded do not; and no folder is told to the world.
    facts = load_model(str(made)).facts
    assert facts["start"] == "first.safetensors"
    assert str(tmp_path) not in json.dumps(facts)
    after = load_model(str(made)).network.state_dict()
    for part in ("tokenizer.i_basis", "tokenizer.p_decode", "super_resolution.3."):
        assert any(not torch.equal(after[n], v) for n, v in wanted.items() if part in n), part
    # A run that is there goes on with its own weights.
    (tmp_path / "first.safetensors").unlink()
    again, lines = train(path)
    assert again == made
    assert not any(line.startswith(("start", "closed")) for line in lines)
    for name, value in load_model(str(made)).network.state_dict().items():
        assert torch.equal(value, after[name]), name


def test_the_discriminator_is_not_in_the_weights(
    first: Path, windows_folder: Path, tmp_path: Path
) -> None:
    losses = "{pixel: 1, flow: 0.2, boundary: 0.1, adversarial: 0.1}"
    path = written(tmp_path, windows_folder, "next", stage="whole", losses=losses)
    made, _ = train(path)
    kept = torch.load(tmp_path / "next" / "checkpoint.pt", weights_only=True)
    assert "discriminator" in kept
    with safe_open(first, "pt") as plain, safe_open(made, "pt") as other:
        assert set(other.keys()) == set(plain.keys())
    figures = {file.name for file in (tmp_path / "next" / "figures").iterdir()}
    assert {"loss.svg", "loss.png"} <= figures


@pytest.fixture
def begin(windows_folder: Path, windows: Windows, tmp_path: Path) -> Begin:
    """Start a network from weights, as `train_from_config` does where no run is there."""

    def begun(network: Network, start: Path) -> None:
        path = written(tmp_path, windows_folder, "x", more=f"start: {start}")
        cli._start_model(network, read_config(path))

    return begun


def test_weights_of_another_backend_are_refused(first: Path, begin: Begin, tmp_path: Path) -> None:
    model, other = load_model(str(first)), tmp_path / "other.safetensors"
    save_model(other, name="base", network=model.network, entropy=model.entropy, facts={})
    with pytest.raises(TrainingError, match=r"other\.safetensors: is of base, not of small$"):
        begin(Network(TINY), other)


def test_weights_of_other_sizes_are_refused_in_one_line(first: Path, begin: Begin) -> None:
    larger = Network(replace(TINY, sr_width=12))
    before = {name: value.clone() for name, value in larger.state_dict().items()}
    with pytest.raises(TrainingError, match=r"small has other sizes now$") as caught:
        begin(larger, first)
    assert "\n" not in str(caught.value)
    for name, value in larger.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_to_start_from_is_looked_at_before_windows_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "open_windows", lambda *_, **__: pytest.fail("windows were cut"))
    path = written(tmp_path, tmp_path / "packed", "x", more="start: gone.safetensors")
    with pytest.raises(WeightsError, match=r"gone\.safetensors"):
        train(path)


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_weights_that_cannot_be_read_are_named(
    begin: Begin, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "gone.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"gone\.safetensors") as caught:
        begin(Network(TINY), path)
    assert "\n" not in str(caught.value)


def test_a_set_that_is_not_there_needs_clips_to_cut_it_from(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"data\.packed .*none: holds no packed set, and data"):
        train(written(tmp_path, tmp_path / "none", "out"))


def test_tables_are_counted_on_tokens_that_an_encoder_would_make(windows: Windows) -> None:
    """They fit the model that is fitted to them, and their camera is that of the windows."""
    torch.manual_seed(3)
    network = Network(TINY).requires_grad_(False)
    gops = list(collect_tokens(network, windows, gops=8, generator=np.random.default_rng(1)))
    assert len(gops) == 8
    for gop in gops:
        assert gop.motion.shape == (gop.grid.rows, gop.grid.cols // 2, MOTION_CHANNELS)
        assert gop.camera.shape == CAMERA_SHAPE
        assert np.abs(gop.camera).max() <= MOTION_MAX
        # The windows' textures move steadily, by less than two pixels a picture of the source.
        assert gop.camera.any()
        steady = np.abs(np.array([[-1, 1, 2, 3, 4, 5, 6, 7, 8]]).T) / 8 * gop.camera[-1]
        assert np.abs(gop.camera - steady).max() <= 2
    model = EntropyModel.fit(gops[:1], steps=0)
    rows = range(gops[0].grid.rows)
    payload = encode_rows(model, gops[0], rows, part=Part.JOINT)
    found = decode_rows(
        model, payload, grid=gops[0].grid, rows=rows, part=Part.JOINT,
        i_quality=gops[0].i_quality, p_quality=gops[0].p_quality,
    )  # fmt: skip
    np.testing.assert_array_equal(found.motion, gops[0].motion)
    np.testing.assert_array_equal(found.camera[0], gops[0].camera)


def test_tables_are_counted_on_tokens_that_were_rounded_by_cost(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the highest price, as the tables of a network that knows nothing say little.
    monkeypatch.setattr(export, "EncoderConfig", lambda: EncoderConfig(rounding=4.0))
    torch.manual_seed(3)
    network = Network(TINY).requires_grad_(False)

    def collected(rounded_by: EntropyModel | None) -> list[GopTokens]:
        generator = np.random.default_rng(2)
        found = collect_tokens(network, windows, gops=8, generator=generator, rounded_by=rounded_by)
        return list(found)

    plain = collected(None)
    rounded = collected(EntropyModel.fit(plain, steps=0))
    kept = [np.array_equal(one.i, other.i) for one, other in zip(plain, rounded, strict=True)]
    assert 0 < sum(kept) < len(kept)  # some are rounded plainly
    for one, other in zip(plain, rounded, strict=True):
        np.testing.assert_array_equal(one.motion, other.motion)
        assert (one.i_quality, one.p_quality) == (other.i_quality, other.p_quality)
    gone = [
        ((one.i != 0) & (other.i == 0) & other.i_sent[..., None]).any()
        for one, other in zip(plain, rounded, strict=True)
    ]
    assert any(gone)
    assert not any(g for g, same in zip(gone, kept, strict=True) if same)
