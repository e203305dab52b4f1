from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from morphe_core.errors import TrainingError
from morphe_core.network import Network, NetworkConfig
from morphe_core.training import loop
from morphe_core.training import trainer as trainer_module
from morphe_core.training.data import Windows
from morphe_core.training.pipeline import Batch, Coded, Draw, prepare
from morphe_core.training.trainer import StageConfig, Trainer, initialise
from morphe_core.vgc.motion import field_of
from morphe_core.vgc.pictures import to_patches
from morphe_core.vgc.quantiser import quantise
from morphe_core.vgc.small import DecodedI, DecodedP
from tests.morphe_core.training.conftest import TINY

THIRD = {3: 1.0}
BASE = StageConfig("base", steps=3, scales=THIRD)
SR = StageConfig("sr", steps=2, scales=THIRD, losses={"pixel": 1.0, "detail": 0.5})
ROBUST = StageConfig(
    "robust", steps=3, scales=THIRD, draw=Draw(loss_share=0.5), losses={"pixel": 0.1}
)
#: As the last stage learns: everything at once.
ALL = replace(ROBUST, name="whole", losses={"pixel": 1.0})
#: With all that looks at more than a picture, and what that needs.
PAPER = {"pixel": 0.8, "flow": 0.2, "boundary": 0.1, "adversarial": 0.1}


class StoppedError(Exception):
    """What a stopped process stands for."""


@pytest.fixture(autouse=True)
def _tiny_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "BATCH_BY_SCALE", {3: 2})


def network(config: NetworkConfig = TINY) -> Network:
    torch.manual_seed(4)
    return Network(config)


def started(
    windows: Windows,
    folder: Path,
    stages: list[StageConfig],
    clock: Callable[[], float],
    checkpoint_seconds: float = 180.0,
) -> Trainer:
    return Trainer(
        network(), windows, stages, folder, seed=6, clock=clock, report_steps=2,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip


def ticking() -> Callable[[], float]:
    """A clock that goes on by a second each time it is read."""
    return itertools.count(0.0, 1.0).__next__


def silent(_: str) -> None:
    """Where reports go."""


def run_and_stop(trainer: Trainer, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until `after` steps are done; then the process dies."""
    original, steps = trainer.step, itertools.count()

    def step(stage: StageConfig) -> dict[str, float]:
        if next(steps) == after:
            raise StoppedError
        return original(stage)

    monkeypatch.setattr(trainer, "step", step)
    with pytest.raises(StoppedError):
        trainer.run(silent)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    parts = {"network": trainer.network, "i": trainer.i_rate, "p": trainer.p_rate}
    return {
        f"{name}.{key}": value.clone()
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }


def logged(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, object]]:
    """The log without what differs from run to run."""
    return [
        {key: value for key, value in entry.items() if key != "seconds"} for entry in logged(folder)
    ]


# -- learning -----------------------------------------------------------------------------------


def test_the_cost_falls_from_a_bad_start(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transforms start as the first samples of a block, which is a very bad codec."""
    stage = StageConfig("base", steps=30, learning_rate=0.02, scales=THIRD)
    stage = replace(stage, draw=Draw(finest_step=40, coarsest_step=41, loss_share=0, drop_share=0))
    trainer = started(windows, tmp_path, [stage], ticking())
    costs = []
    original = trainer.step

    def step(stage: StageConfig) -> dict[str, float]:
        facts = original(stage)
        costs.append(facts["cost"])
        return facts

    monkeypatch.setattr(trainer, "step", step)
    trainer.run(silent)
    assert len(costs) == 30
    # In octaves.
    assert np.mean(costs[-8:]) < np.mean(costs[:8]) - 0.5


@pytest.mark.parametrize("factor", [1, 2])
def test_a_batch_is_a_multiple_of_the_usual(
    windows: Windows, tmp_path: Path, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = replace(BASE, batch_factor=factor)
    trainer = started(windows, tmp_path, [stage], ticking())
    sizes = []
    original = trainer.pipeline.run

    def run(batch: Batch, draw: Draw) -> Coded:
        sizes.append(batch.size)
        return original(batch, draw)

    monkeypatch.setattr(trainer.pipeline, "run", run)
    trainer.step(stage)
    assert sizes == [factor * trainer_module.BATCH_BY_SCALE[3]]


def test_the_closed_form_start_is_much_better_than_none(windows: Windows, tmp_path: Path) -> None:
    stage = replace(BASE, draw=Draw(loss_share=0, drop_share=0))
    facts = {}
    for name in ("none", "klt"):
        trainer = started(windows, tmp_path, [stage], ticking())
        if name == "klt":
            initialise(trainer.network, windows, batches=2, seed=1)
        facts[name] = trainer.step(stage)
    assert facts["klt"]["psnr"] > facts["none"]["psnr"] + 3


def test_the_closed_form_start_keeps_most_of_any_transform(windows: Windows) -> None:
    """Eckart-Young: no ten directions hold more of the pictures that were seen than SVD's."""
    made = network()
    initialise(made, windows, batches=2, seed=1)
    tokenizer = made.tokenizer
    for basis, synthesis in (
        (tokenizer.i_basis, tokenizer.i_synthesis),
        (tokenizer.p_basis, tokenizer.p_synthesis),
    ):
        rows = basis.detach()
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=0, atol=1e-5)
        assert torch.equal(synthesis.detach(), rows.T)
    generator = np.random.default_rng(1)
    parts = [
        to_patches(prepare(*windows.batch(12, generator), 2 + n, torch.device("cpu")).first)
        for n in range(2)
    ]
    vectors = np.concatenate([p.permute(0, 2, 3, 1).reshape(-1, 96).numpy() for p in parts])
    best = np.linalg.svd(vectors.astype(float), compute_uv=False)[:10]
    kept = np.square(vectors @ tokenizer.i_basis.detach().numpy().T).sum()
    assert kept == pytest.approx(np.square(best).sum(), rel=1e-4)


def test_the_closed_form_start_of_p_fits_its_residuals(windows: Windows) -> None:
    made = network()
    initialise(made, windows, batches=1, seed=1)
    tokenizer = made.tokenizer
    seen = prepare(*windows.batch(12, np.random.default_rng(1)), 2, torch.device("cpu"))
    step = torch.full((1, 1, 1, 1), 28.0)
    with torch.no_grad():
        values = quantise(tokenizer.analyse_i(seen.first), step) * step
        decoded = tokenizer.synthesise_i(values, torch.ones_like(values[:, :1]), step, None)
        predicted = tokenizer.predict(decoded, field_of(seen.motion, seen.camera))
        residual = tokenizer.p_residual(seen.rest, predicted)
    vectors = residual.permute(0, 2, 3, 1).reshape(-1, 768).double().numpy()
    best = np.linalg.svd(vectors, compute_uv=False)[:12]
    kept = np.square(vectors @ tokenizer.p_basis.detach().numpy().T).sum()
    assert kept == pytest.approx(np.square(best).sum(), rel=1e-4)


@pytest.mark.parametrize("scale", [1, 3])
def test_pictures_are_compared_with_their_own_sources(
    windows: Windows, tmp_path: Path, scale: int
) -> None:
    """A codec that loses nothing leaves super resolution an error of what interpolation loses."""
    trainer = started(windows, tmp_path, [SR], ticking())
    pictures, flow = windows.batch(3, np.random.default_rng(1))
    seen = prepare(pictures, flow, scale, torch.device("cpu"))
    nothing = torch.zeros(3, TINY.tokenizer.width, *seen.motion.shape[2:])
    features = nothing.repeat_interleave(2, dim=3)
    zero = torch.zeros_like(features[:, :1])
    coded = Coded(
        DecodedI(seen.first, features), DecodedP(seen.rest, features), zero, zero,
        torch.ones(3, 1, 1, 1), torch.zeros(3, dtype=torch.bool),
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(4):
            facts = trainer._loss(SR, seen, coded)[1]
            if scale == 1:
                assert facts["sr_pixel"] == 0
                assert facts["sr_detail"] == pytest.approx(0, abs=1e-3)
            else:
                assert 0 < facts["sr_pixel"] < 2
                assert 0 < facts["sr_detail"] < 0.5


@pytest.mark.parametrize("name", ["base", "sr", "robust", "whole"])
def test_a_stage_trains_its_own_weights_and_no_others(
    windows: Windows, tmp_path: Path, name: str
) -> None:
    stage = {"base": BASE, "sr": SR, "robust": ROBUST, "whole": ALL}[name]
    trainer = started(windows, tmp_path, [stage], ticking())
    before = weights(trainer)
    trainer.run(silent)
    after = weights(trainer)
    # What is frozen costs no gradients either.
    if name != "whole":
        frozen = trainer.network.tokenizer if name == "sr" else trainer.network.super_resolution
        assert all(value.grad is None for value in frozen.parameters())
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    upscalers = {key for key in before if "super_resolution" in key}
    seen = {key for key in upscalers if "super_resolution.3." in key}
    if name in ("sr", "whole"):
        # Only that of the factor seen.
        assert changed & upscalers
        assert changed & upscalers <= seen
    if name == "sr":
        assert changed <= upscalers
        return
    assert name == "whole" or not changed & upscalers
    for part in ("i_basis", "p_synthesis", "i_analyse", "p_decode"):
        assert any(part in key for key in changed), part
    assert any(key.startswith(("i.", "p.")) for key in changed)


def test_the_last_stage_minds_what_is_shown_and_what_is_sent(
    windows: Windows, tmp_path: Path
) -> None:
    """Its loss is that of the codec and that of super resolution, and both parts feel it."""
    trainer = started(windows, tmp_path, [ALL], ticking())
    seen = prepare(*windows.batch(2, np.random.default_rng(1)), 3, torch.device("cpu"))
    losses, gradients = {}, {}
    for stage in (ALL, replace(ALL, losses={}), replace(ALL, name="sr")):
        trainer.generator.bit_generator.state = np.random.default_rng(3).bit_generator.state
        trainer.network.zero_grad()
        coded = trainer.pipeline.run(seen, stage.draw)
        loss = trainer._loss(stage, seen, coded)[0]
        loss.backward()
        key = "codec" if not stage.losses else stage.name
        losses[key] = float(loss.detach())
        gradients[key] = [
            torch.cat([(v.grad if v.grad is not None else 0 * v).flatten() for v in part])
            for part in (
                list(trainer.network.tokenizer.parameters()),
                list(trainer.network.upscaler(3).parameters()),
            )
        ]
    assert losses["whole"] == pytest.approx(losses["codec"] + losses["sr"], rel=1e-5)
    codec, upscaler = gradients["whole"]
    assert codec.any()
    assert upscaler.any()
    torch.testing.assert_close(codec, gradients["codec"][0] + gradients["sr"][0])
    assert torch.equal(upscaler, gradients["sr"][1])
    assert not gradients["codec"][1].any()


def test_the_last_stage_goes_on_where_it_was_stopped(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stage that trained the codec only: what was frozen then learns now."""
    stages = [replace(BASE, steps=1), replace(ALL, steps=2)]
    whole = started(windows, tmp_path / "whole", stages, ticking())
    whole.run(silent)
    first = started(windows, tmp_path / "cut", stages, ticking(), checkpoint_seconds=0.5)
    run_and_stop(first, 2, monkeypatch)
    again = started(windows, tmp_path / "cut", stages, ticking())
    again.run(silent)
    for name, value in weights(again).items():
        assert torch.equal(value, weights(whole)[name]), name


def test_super_resolution_learns(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a run on the same batches whose learning rate is next to nothing."""
    monkeypatch.setattr(loop, "WARM_UP_STEPS", 1)
    calm = Draw(finest_step=60, coarsest_step=61, loss_share=0, drop_share=0)
    errors = {}
    for rate in (1e-9, 0.02):
        stage = replace(SR, steps=8, learning_rate=rate, draw=calm, losses={"pixel": 1.0})
        folder = tmp_path / str(rate)
        trainer = started(windows, folder, [stage], ticking())
        trainer.run(silent)
        errors[rate] = np.array([entry["sr_pixel"] for entry in logged(folder)], float)
    assert (errors[0.02][-2:] < 0.9 * errors[1e-9][-2:]).all()


# -- the discriminator ---------------------------------------------------------------------------


def adversarial_stages() -> list[StageConfig]:
    """It comes with the second stage, is not asked in the third, and goes on in the fourth."""
    stages = [
        replace(ROBUST, steps=1), replace(ALL, steps=3, losses=PAPER), replace(BASE, steps=1),
        replace(SR, steps=2, losses={"vif": 1.0, "adversarial": 0.1}),
    ]  # fmt: skip
    return [replace(stage, draw=Draw(loss_share=0.5, no_before=0.3)) for stage in stages]


def told_apart(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The discriminator's weights, its own state and its optimiser's moments."""
    assert trainer.discriminator is not None
    state = trainer.discriminator.state()
    moments = {
        f"optimiser.{number}.{name}": value
        for number, values in state["optimiser"]["state"].items()
        for name, value in values.items()
    }
    return {name: value.clone() for name, value in (state["judge"] | moments).items()}


@pytest.fixture(scope="module")
def judged(
    windows: Windows, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], Path]:
    """Weights, discriminator and folder of such stages without a stop."""
    folder = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "BATCH_BY_SCALE", {3: 2})
        trainer = started(windows, folder, adversarial_stages(), ticking())
        assert trainer.discriminator is None
        trainer.run(silent)
    return weights(trainer), told_apart(trainer), folder


@pytest.mark.parametrize("stop_after", [1, 3, 5, 6])
def test_a_stopped_run_goes_on_to_the_same_discriminator(
    windows: Windows,
    tmp_path: Path,
    judged: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], Path],
    stop_after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = started(windows, tmp_path, adversarial_stages(), ticking(), checkpoint_seconds=0.5)
    run_and_stop(first, stop_after, monkeypatch)
    torch.manual_seed(77)
    again = Trainer(
        Network(TINY), windows, adversarial_stages(), tmp_path, seed=6, clock=ticking(),
        report_steps=2,
    )  # fmt: skip
    again.run(silent)
    for found, wanted in zip((weights(again), told_apart(again)), judged[:2], strict=True):
        assert set(found) == set(wanted)
        for name, value in wanted.items():
            assert torch.equal(found[name], value), name
    assert timeless(tmp_path) == timeless(judged[2])


def test_the_discriminator_learns_only_where_it_is_asked(windows: Windows, tmp_path: Path) -> None:
    seen = []
    stages = adversarial_stages()
    for count in range(1, 5):
        trainer = started(windows, tmp_path, stages[:count], ticking())
        trainer.run(silent)
        kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        assert ("discriminator" in kept) == (count > 1)
        seen.append(None if trainer.discriminator is None else told_apart(trainer))
    assert seen[0] is None
    judges = [{k: v for k, v in one.items() if "optimiser" not in k} for one in seen[1:] if one]
    # `base` has no such loss.
    assert all(torch.equal(judges[1][name], value) for name, value in judges[0].items())
    assert any(not torch.equal(judges[2][name], value) for name, value in judges[0].items())


def test_stages_with_a_discriminator_can_be_added_to_a_finished_run(
    windows: Windows,
    tmp_path: Path,
    judged: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], Path],
) -> None:
    for count in (2, 2, 4):
        trainer = started(windows, tmp_path, adversarial_stages()[:count], ticking())
        trainer.run(silent)
    for found, wanted in zip((weights(trainer), told_apart(trainer)), judged[:2], strict=True):
        for name, value in wanted.items():
            assert torch.equal(found[name], value), name


def test_the_discriminator_follows_the_stages_learning_rate(
    windows: Windows, tmp_path: Path
) -> None:
    trainer = started(windows, tmp_path, adversarial_stages()[1:2], ticking())
    assert trainer.discriminator is not None
    trainer._set_learning_rate(trainer.stages[0])
    wanted = trainer.optimiser.param_groups[1]["lr"]
    assert [group["lr"] for group in trainer.discriminator.optimiser.param_groups] == [wanted]


def test_a_run_without_the_adversarial_loss_keeps_no_discriminator(
    unbroken: tuple[dict[str, torch.Tensor], Path],
) -> None:
    assert "discriminator" not in torch.load(unbroken[1] / "checkpoint.pt", weights_only=True)


def test_a_damaged_discriminator_is_refused(windows: Windows, tmp_path: Path) -> None:
    stages = adversarial_stages()[1:2]
    started(windows, tmp_path, stages, ticking()).save()
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del kept["discriminator"]["judge"]
    torch.save(kept, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: does not fit this training"):
        started(windows, tmp_path, stages, ticking()).run(silent)


# -- keeping ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(
    windows: Windows, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, torch.Tensor], Path]:
    """Weights and folder of three stages without a stop."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "BATCH_BY_SCALE", {3: 2})
        trainer = started(windows, folder, [BASE, SR, ROBUST], ticking())
        trainer.run(silent)
    return weights(trainer), folder


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 7])
def test_a_stopped_run_goes_on_to_the_same_weights(
    windows: Windows,
    tmp_path: Path,
    unbroken: tuple[dict[str, torch.Tensor], Path],
    stop_after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = [BASE, SR, ROBUST]
    first = started(windows, tmp_path, stages, ticking(), checkpoint_seconds=0.5)
    run_and_stop(first, stop_after, monkeypatch)
    # Nothing of the new process is as in the old one.
    torch.manual_seed(77)
    other = Network(TINY)
    again = Trainer(other, windows, stages, tmp_path, seed=99, clock=ticking(), report_steps=2)
    again.run(silent)
    assert again.progress.total_steps == 8
    wanted, folder = unbroken
    for name, value in weights(again).items():
        assert torch.equal(value, wanted[name]), name
    # The log has the same numbers too; only times differ.
    assert timeless(tmp_path) == timeless(folder)


def test_steps_since_the_last_checkpoint_are_run_again(
    windows: Windows,
    tmp_path: Path,
    unbroken: tuple[dict[str, torch.Tensor], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = [BASE, SR, ROBUST]
    first = started(windows, tmp_path, stages, ticking(), checkpoint_seconds=1.5)
    original, steps = first.step, itertools.count()

    def step(stage: StageConfig) -> dict[str, float]:
        facts = original(stage)
        if next(steps) == 6:  # the checkpoint was written at the start of this stage
            raise StoppedError
        return facts

    monkeypatch.setattr(first, "step", step)
    with pytest.raises(StoppedError):
        first.run(silent)
    again = started(windows, tmp_path, stages, ticking())
    again.run(silent)
    for name, value in weights(again).items():
        assert torch.equal(value, unbroken[0][name]), name


@pytest.mark.parametrize("stop_after", [2, 7])
@pytest.mark.parametrize("cut", ["", '{"stage": "rob'])
def test_what_a_killed_run_logged_after_its_checkpoint_is_not_there_twice(
    windows: Windows,
    tmp_path: Path,
    unbroken: tuple[dict[str, torch.Tensor], Path],
    stop_after: int,
    cut: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Checkpoints are at the ends of stages, here at none or at step 5; logged are 2, 5 and 7."""
    stages = [BASE, SR, ROBUST]
    first = started(windows, tmp_path, stages, ticking())
    run_and_stop(first, stop_after, monkeypatch)
    assert logged(tmp_path)[-1]["step"] == stop_after
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write(cut)
    started(windows, tmp_path, stages, ticking()).run(silent)
    assert timeless(tmp_path) == timeless(unbroken[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "metrics.jsonl"]


def test_a_damaged_log_is_refused_before_training(windows: Windows, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nabc\n{"step": 2}\n')
    with pytest.raises(TrainingError, match=r'metrics\.jsonl:2: must be an object with a "step"'):
        started(windows, tmp_path, [BASE], ticking()).run(silent)


def test_a_finished_run_does_nothing_more(
    windows: Windows, unbroken: tuple[dict[str, torch.Tensor], Path]
) -> None:
    wanted, folder = unbroken
    again = started(windows, folder, [BASE, SR, ROBUST], ticking())
    entries = logged(folder)
    again.run(silent)
    assert logged(folder) == entries
    for name, value in weights(again).items():
        assert torch.equal(value, wanted[name]), name


def test_pytorchs_own_generator_goes_on_too(windows: Windows, tmp_path: Path) -> None:
    started(windows, tmp_path, [replace(BASE, steps=1)], ticking()).run(silent)
    wanted = torch.rand(4)
    again = started(windows, tmp_path, [replace(BASE, steps=1)], ticking())
    torch.manual_seed(123)
    again.run(silent)
    assert torch.equal(torch.rand(4), wanted)


def test_stages_can_be_added_to_a_finished_run(
    windows: Windows, tmp_path: Path, unbroken: tuple[dict[str, torch.Tensor], Path]
) -> None:
    for stages in ([BASE], [BASE], [BASE, SR, ROBUST]):
        trainer = started(windows, tmp_path, stages, ticking())
        trainer.run(silent)
    for name, value in weights(trainer).items():
        assert torch.equal(value, unbroken[0][name]), name


def test_the_log_counts_steps_and_names_stages(
    unbroken: tuple[dict[str, torch.Tensor], Path],
) -> None:
    entries = logged(unbroken[1])
    assert [(entry["stage"], entry["step"]) for entry in entries] == [
        ("base", 2), ("sr", 5), ("robust", 7),
    ]  # fmt: skip
    for entry in entries:
        assert {"cost", "psnr", "i_bits", "p_bits", "norm"} <= set(entry)
        assert all(np.isfinite(value) for value in entry.values() if isinstance(value, float))
    assert "sr_pixel" in entries[1]


def test_no_half_written_checkpoint_stays(unbroken: tuple[dict[str, torch.Tensor], Path]) -> None:
    assert sorted(path.name for path in unbroken[1].iterdir()) == ["checkpoint.pt", "metrics.jsonl"]


def test_a_stage_may_last_for_a_time(windows: Windows, tmp_path: Path) -> None:
    stage = replace(BASE, seconds=4.0, steps=0)
    trainer = started(windows, tmp_path, [stage], ticking())
    trainer.run(silent)
    assert trainer.progress.total_steps == 4
    assert trainer.progress.total_seconds == 4.0


def test_the_learning_rate_rises_and_then_falls(windows: Windows, tmp_path: Path) -> None:
    stage = StageConfig("base", steps=400, learning_rate=0.01, scales=THIRD)
    trainer = started(windows, tmp_path, [stage], ticking())
    rates = []
    for step in range(400):
        trainer.progress.step = step
        trainer._set_learning_rate(stage)
        rates.append([group["lr"] for group in trainer.optimiser.param_groups])
    trunks = np.array(rates)[:, 1]
    assert trunks.argmax() == pytest.approx(49, abs=2)
    assert trunks[0] == pytest.approx(0.01 / 50)
    assert 0.009 < trunks.max() < 0.01
    assert (np.diff(trunks[50:]) < 0).all()
    assert trunks[-1] == pytest.approx(0.02 * 0.01, rel=0.01)
    # Transforms are slower, the rate model faster.
    np.testing.assert_allclose(np.array(rates)[:, [0, 2]] / trunks[:, None], [[0.1, 10.0]] * 400)


@pytest.mark.parametrize(
    "other",
    [
        replace(TINY, sr_width=12),
        replace(TINY, tokenizer=replace(TINY.tokenizer, i_channels=11)),
        replace(TINY, tokenizer=replace(TINY.tokenizer, decoder_blocks=2)),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(
    windows: Windows, tmp_path: Path, other: NetworkConfig
) -> None:
    stage = replace(BASE, steps=1)
    started(windows, tmp_path, [stage], ticking()).save()
    wrong = Trainer(network(other), windows, [stage], tmp_path, seed=1, clock=ticking())
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: does not fit this training") as error:
        wrong.run(silent)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"abc", b"PK\x03\x04" + bytes(100), b"\x80\x02N."])
def test_a_damaged_checkpoint_is_refused(windows: Windows, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    trainer = started(windows, tmp_path, [BASE], ticking())
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: does not fit this training") as error:
        trainer.run(silent)
    assert "\n" not in str(error.value)


def test_a_step_that_is_not_finite_changes_nothing(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = started(windows, tmp_path, [BASE], ticking())
    before = weights(trainer)
    original = trainer._loss

    def loss(
        stage: StageConfig, batch: Batch, coded: Coded
    ) -> tuple[torch.Tensor, dict[str, float]]:
        value, facts = original(stage, batch, coded)
        return value * float("nan"), facts

    monkeypatch.setattr(trainer, "_loss", loss)
    trainer.step(BASE)
    for name, value in weights(trainer).items():
        assert torch.equal(value, before[name]), name
