"""Training: a step lowers the cost, a run resumes exactly, and its weights code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from grace_style.decoder import Decoder
from grace_style.encoder import Encoder
from grace_style.errors import TrainingError, WeightsError
from grace_style.flow import FlowEstimator
from grace_style.models import load_model, save_model
from grace_style.network import Network
from grace_style.tables import EntropyModel
from grace_style.training.cli import train_from_config
from grace_style.training.config import read_config
from grace_style.training.draw import Draw, Pool, lose
from grace_style.training.parallel import each
from grace_style.training.rate import ElementRate
from grace_style.training.trainer import Stage, Trainer, initialise
from morphe_core.training.data import SIDE, WINDOW_FRAMES, Windows
from tests.grace_style.conftest import CHANNELS, SMALL, picture, random_elements


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed set of a few windows."""
    generator = np.random.default_rng(0)
    pictures = np.stack(
        [
            [
                picture(generator, SIDE, SIDE, number * speed).reshape(-1, SIDE)
                for number in range(WINDOW_FRAMES)
            ]
            for speed in (0, 1, 3)
        ]
    )
    out = tmp_path_factory.mktemp("set")
    np.save(out / "pictures.npy", pictures)
    np.save(out / "flow.npy", np.zeros((3, 9, 2, SIDE // 8, SIDE // 8), np.float16))
    (out / "sources.json").write_text('[{"name": "made", "sha256": "0", "windows": 3}]')
    return out


DRAW = Draw(pictures=2, clips=2, shortest=4, longest=6, clean_share=0.5)


def trainer(folder: Path, out: Path, steps: int) -> Trainer:
    torch.manual_seed(1)
    network = Network(SMALL)
    windows = Windows(folder)
    initialise(network, windows, batches=1, seed=1)
    ticks = iter(range(10_000))
    return Trainer(
        network, windows, [Stage(steps=steps, draw=DRAW)], out, seed=3,
        clock=lambda: float(next(ticks)), checkpoint_seconds=1.0, report_steps=2,
    )  # fmt: skip


def test_a_run_that_was_stopped_ends_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    whole = trainer(folder, tmp_path / "whole", 4)
    whole.run(lambda _: None)
    part = trainer(folder, tmp_path / "part", 4)
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part.run(stop)
    again = trainer(folder, tmp_path / "part", 4)
    again.run(lambda _: None)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value, rtol=0, atol=0)


def test_training_lowers_the_cost(folder: Path, tmp_path: Path) -> None:
    made = trainer(folder, tmp_path, 24)
    made.start_rates(3, DRAW)
    costs: list[float] = []
    made.run(lambda line: costs.append(float(line.split("cost ")[1].split()[0])))
    assert np.mean(costs[-4:]) < np.mean(costs[:4])


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_a_checkpoint_of_something_else_is_refused(
    folder: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(TrainingError, match="does not fit this training"):
        trainer(folder, tmp_path, 1).run(lambda _: None)


def test_flow_is_the_same_on_any_number_of_threads(folder: Path) -> None:
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        pool = Pool(Windows(folder), DRAW, np.random.default_rng(2), torch.device("cpu"))
        found.append(torch.stack(pool.pictures()[1]))
    assert found[0].abs().max() > 0
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_clips_go_to_and_fro_and_make_room(folder: Path) -> None:
    pool = Pool(Windows(folder), DRAW, np.random.default_rng(2), torch.device("cpu"))
    first = list(pool.clips)
    for _ in range(3):
        pictures, flows = pool.pictures()
        assert len(pictures) == len(flows) == 2
        assert flows[0].shape == (2, 2, SIDE // 8, SIDE // 8)
        pool.go_on(pool.here, torch.tensor([0.1, 0.1]))
    assert all(clip is not old for clip in pool.clips for old in first)
    clip = pool.clips[0]
    np.testing.assert_array_equal(clip.picture(9), clip.packed[9])
    np.testing.assert_array_equal(clip.picture(11), clip.packed[7])
    np.testing.assert_array_equal(clip.picture(18), clip.packed[0])


def test_flow_to_and_fro_is_that_of_the_pictures(folder: Path) -> None:
    pool = Pool(Windows(folder), DRAW, np.random.default_rng(2), torch.device("cpu"))
    clip, estimate = pool.clips[0], FlowEstimator()
    for at in (*range(20), 37, 3):
        fresh = FlowEstimator()(clip.picture(at)[:SIDE], clip.picture(at - 1)[:SIDE])
        np.testing.assert_array_equal(clip.flow(at, estimate), fresh)
    assert len(clip.flows) == 18


def test_losses_are_drawn_as_published(folder: Path) -> None:
    draw = Draw(clips=50)
    pool = Pool(Windows(folder), draw, np.random.default_rng(2), torch.device("cpu"))
    shares = torch.cat([pool.draw_loss() for _ in range(40)])
    assert float((shares == 0).float().mean()) == pytest.approx(0.8, abs=0.03)
    some = shares[shares > 0]
    assert 0.1 <= float(some.min()) < 0.13
    assert 0.57 < float(some.max()) <= 0.6


def test_lost_elements_are_a_share_of_all() -> None:
    from grace_style.network import Latents

    ones = torch.ones(2, 8, 20, 20)
    lost = lose(
        Latents(ones, ones, ones, ones), torch.tensor([0.0, 0.4]),
        torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert bool((lost.residual_here[0] == 1).all())
    assert float(lost.residual_here[1].mean()) == pytest.approx(0.6, abs=0.03)


def test_the_estimated_bits_are_near_those_of_the_packets(entropy: EntropyModel) -> None:
    """A model started from the elements' own statistics, against tables counted on the same."""
    from grace_style.activity import classes_of
    from grace_style.rate import ElementCosts

    generator = np.random.default_rng(1)
    rate = ElementRate(CHANNELS)
    moments = torch.zeros(3, *rate.some.shape)
    pictures = [random_elements(generator, (CHANNELS, 12, 16), 0.1) for _ in range(8)]
    for elements in pictures:
        tensor = torch.from_numpy(elements.astype(np.float32))[None]
        moments += rate.moments(tensor, 4)
    rate.start(moments)
    costs = ElementCosts(entropy.residual, entropy.residual_map, CHANNELS)
    real = sum(float(costs.elements(e, classes_of(e, (3, 4))).sum()) for e in pictures)
    with torch.no_grad():
        told = sum(
            float(rate(*[torch.from_numpy(e.astype(np.float32))[None]] * 2, 4)) for e in pictures
        )
    assert told == pytest.approx(real, rel=0.1)


CONFIG = """
backend: grace-style
out: out
threads: 1
start_batches: 1
table_clips: 1
sizes: {channels: 12, motion_width: 8, motion_blocks: 1, encoder_width: 8, encoder_blocks: 1,
        decoder_width: 8, decoder_blocks: 1, filter_width: 8, filter_blocks: 1}
data: {packed: %s}
stages:
  - steps: 2
    draw: {pictures: 1, clips: 1}
  - steps: 1
    seen_weight: 1.0
    draw: {pictures: 1, clips: 1, clean_share: 0.0}
"""


def test_a_training_from_a_file_ends_in_weights_that_code(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CONFIG % folder)
    path = train_from_config(tmp_path / "small.yaml", clock=lambda: 0.0, report=lambda _: None)
    model = load_model(str(path))
    assert (model.facts["steps"], model.facts["start"]) == (3, "closed form")
    assert model.facts["device"] == "cpu"
    encoder = Encoder(model, width=128, height=96)
    decoder = Decoder(model, width=128, height=96)
    generator = np.random.default_rng(1)
    for number in range(3):
        coded = encoder.encode(picture(generator, 128, 96, number), wire_bytes=700, header_bytes=40)
        shown = decoder.decode(coded.packets, frame=number)
        np.testing.assert_array_equal(shown, encoder.reference)


def test_a_training_starts_from_weights(
    folder: Path, tmp_path: Path, entropy: EntropyModel
) -> None:
    torch.manual_seed(3)
    before = Network(SMALL)
    with torch.no_grad():
        for value in before.parameters():
            value.copy_(value.half())
    save_model(tmp_path / "before.safetensors", before, entropy, {})
    text = (CONFIG % folder).replace("steps: 2", "steps: 1\n    learning_rate: 1.0e-9")
    (tmp_path / "more.yaml").write_text(text + "start: before.safetensors\n")
    path = train_from_config(tmp_path / "more.yaml", clock=lambda: 0.0, report=lambda _: None)
    model = load_model(str(path))
    assert model.facts["start"] == "before.safetensors"
    for name, value in before.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[name], value, rtol=0.01, atol=0.01)


def test_a_start_of_another_size_or_nowhere_is_refused(folder: Path, tmp_path: Path) -> None:
    for start, says in (("grace", "other sizes than `sizes`"), ("none.st", "nor a file")):
        (tmp_path / "bad.yaml").write_text(CONFIG % folder + f"start: {start}\n")
        with pytest.raises((TrainingError, WeightsError), match=says):
            train_from_config(tmp_path / "bad.yaml", clock=lambda: 0.0, report=lambda _: None)


@pytest.mark.parametrize("threads", [1, 3])
def test_pictures_of_a_batch_come_in_order(threads: int) -> None:
    torch.set_num_threads(threads)
    assert each(lambda value: value * value, list(range(20))) == [n * n for n in range(20)]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("threads: 1", "device: tpu", "device 'tpu': allowed are auto, cpu, cuda"),
        ("backend: grace-style", "backend: small", "allowed is grace-style"),
        ("steps: 2", "steps: 0", "exactly one of seconds and steps"),
        ("clips: 1}", "clips: 0}", "draw.clips: allowed is 1 or more"),
        ("clean_share: 0.0", "clean_share: 2.0", "clean_share: allowed are 0..1"),
        ("threads: 1", "threads: -1", "threads -1: allowed is 0 or more"),
        ("seen_weight: 1.0", "seen_weight: -1", "seen_weight: allowed is 0 or more"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text((CONFIG % "nowhere").replace(old, new, 1))
    with pytest.raises(TrainingError, match=says) as caught:
        read_config(path)
    assert "bad.yaml" in str(caught.value)
