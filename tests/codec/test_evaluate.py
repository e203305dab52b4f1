"""What is measured, how often things are encoded, and what the rows say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from testbed.codec import evaluate
from testbed.codec.anchors import measure_anchor
from testbed.codec.drops import DropCondition
from testbed.codec.evaluate import Plan, anchor_rates, evaluate_clip, steps
from testbed.codec.losses import LossCondition
from testbed.codec.reading import open_reference
from tests.codec.fakecodec import UNITS, FakeCore

FRAMES = 20
LOSSES = (LossCondition(0.25, 1, 1), LossCondition(0.25, 1, 2), LossCondition(0.5, 4, 1))
PLAN = Plan(
    kbps=(150.0, 300.0), losses=LOSSES, frames=FRAMES,
    anchors=("x264-lowlatency",), anchor_kbps=(100.0, 200.0), sheet_kbps=150.0,
)  # fmt: skip


def test_every_condition_has_its_row_and_each_rate_one_encode(fake_core: FakeCore) -> None:
    said: list[str] = []
    result = evaluate_clip("carphone", PLAN, said.append)
    assert len(said) == steps(PLAN)
    found = Counter((row.codec, row.target_kbps, row.loss, row.burst, row.seed)
                    for row in result.rows)  # fmt: skip
    expected = [("x264-lowlatency", rate, 0.0, 1.0, 0) for rate in (100.0, 200.0)]
    for rate in (150.0, 300.0):
        expected.append(("morphe", rate, 0, 1, 0))
        expected += [("morphe", rate, c.rate, c.burst, c.seed) for c in LOSSES]
    assert found == Counter(expected)
    assert len(fake_core.encoders) == 2
    assert [len(encoder.budgets) for encoder in fake_core.encoders] == [3, 3]
    # One decode a row, and one more for the picture that is shown.
    assert len(fake_core.decoders) == 2 * (1 + len(LOSSES)) + 1


def test_rates_are_those_on_the_wire_whatever_is_lost(fake_core: FakeCore) -> None:
    rows = evaluate_clip("carphone", PLAN, lambda _: None).rows
    for row in rows:
        if row.codec == "morphe":
            assert row.kbps == pytest.approx(row.target_kbps, rel=0.03)
    assert len({row.kbps for row in rows if row.target_kbps == 150}) == 1


def test_loss_hurts_and_seeds_differ(fake_core: FakeCore) -> None:
    rows = evaluate_clip("carphone", PLAN, lambda _: None).rows
    mine = {(row.loss, row.seed): row for row in rows if row.target_kbps == 150}
    assert mine[0, 0].psnr > mine[0.25, 1].psnr
    assert mine[0.25, 1].psnr != mine[0.25, 2].psnr
    received = [decoder.received for decoder in fake_core.decoders]
    assert received[0] == [UNITS] * 3
    assert sum(received[1]) < 3 * UNITS


def test_the_anchor_at_the_same_bytes_lies_between_its_neighbours(fake_core: FakeCore) -> None:
    rows = evaluate_clip("carphone", PLAN, lambda _: None).rows
    reference = open_reference("carphone", height=720, frames=FRAMES)
    low, high = (
        measure_anchor("x264-lowlatency", reference.clip, FRAMES, rate) for rate in (100, 200)
    )
    for row in rows:
        if row.target_kbps == 150:
            assert low.scores["vmaf"] < row.same_bytes["x264-lowlatency"] < high.scores["vmaf"]
        else:
            assert row.same_bytes == {}


def test_the_picture_shown_is_one_of_the_run(fake_core: FakeCore) -> None:
    result = evaluate_clip("carphone", PLAN, lambda _: None)
    (shown,) = result.shown
    reference = open_reference("carphone", height=720, frames=FRAMES)
    assert (shown.source == reference.clip.frame(shown.index)).all()
    assert shown.row.target_kbps == 150
    luma = shown.width * shown.height
    assert np.abs(shown.morphe[:luma].astype(int) - shown.source[:luma]).mean() < 25


def test_steadiness_is_that_without_loss(fake_core: FakeCore) -> None:
    result = evaluate_clip("carphone", replace(PLAN, losses=()), lambda _: None)
    assert [(codec, rate) for codec, rate, _ in result.steadiness] == [
        ("morphe", 150), ("morphe", 300),
    ]  # fmt: skip
    # The fake shows one picture a GoP: all its change is at the boundaries.
    assert all(found.flicker > 1 for _, _, found in result.steadiness)
    assert all(found.u_shift != 0 for _, _, found in result.steadiness)


DROPS = tuple(
    DropCondition(share, selection, "all")
    for share in (0.2, 0.4)
    for selection in ("energy", "random")
)


def test_what_is_dropped_is_encoded_once_more_and_measured_without_loss(
    fake_core: FakeCore,
) -> None:
    said: list[str] = []
    plan = replace(PLAN, losses=LOSSES[:1], drops=DROPS, anchors=())
    result = evaluate_clip("carphone", plan, said.append)
    assert len(said) == steps(plan)
    assert "carphone: morphe at 150 kbps, energy, 20 % of all" in said
    found = [(row.drop, row.selection, row.drop_scope) for row in result.rows
             if row.target_kbps == 150 and not row.loss]  # fmt: skip
    assert found == [(0, "", ""), *((d.share, d.selection, d.scope) for d in DROPS)]
    assert len(fake_core.encoders) == 2 * (1 + len(DROPS))
    dropped = [row for row in result.rows if row.drop]
    assert not any(row.loss for row in dropped)
    # Both ways to choose start from the same budgets, whatever is sent of them.
    budgets = [encoder.budgets for encoder in fake_core.encoders[: 1 + len(DROPS)]]
    assert all(one == budgets[0] for one in budgets)
    for row in dropped:
        assert row.kbps < 0.95 * row.target_kbps
    assert len(result.steadiness) == 2


def test_the_most_that_is_dropped_is_shown(fake_core: FakeCore) -> None:
    result = evaluate_clip("carphone", replace(PLAN, losses=(), drops=DROPS), lambda _: None)
    (shown,) = result.shown
    found = [(row.drop, row.selection, row.target_kbps) for row, _ in shown.dropped]
    assert found == [(0.4, "energy", 150), (0.4, "random", 150)]
    assert all((picture != shown.morphe).any() for _, picture in shown.dropped)


def test_anchors_alone_need_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(evaluate, "load_core", fail)
    rows = evaluate_clip("carphone", replace(PLAN, profiles=(), losses=()), lambda _: None).rows
    assert [row.codec for row in rows] == ["x264-lowlatency"] * 2


def test_rows_are_json(fake_core: FakeCore) -> None:
    row = evaluate_clip("carphone", replace(PLAN, losses=(), anchors=()), lambda _: None).rows[0]
    assert set(row.as_json()) == {
        "clip", "codec", "target_kbps", "kbps", "loss", "burst", "seed", "vmaf", "ssim", "psnr",
        "vmaf_neg", "same_bytes", "drop", "selection", "drop_scope",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ((400,), (200, 400, 800)),
        ((100, 400), (50, 100, 200, 400, 800)),
        ((60,), (50, 100)),
        ((50, 2000), (25, 50, 100, 200, 400, 800, 1600, 3200)),
    ],
)
def test_anchor_rates_enclose_the_targets(
    targets: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert anchor_rates(targets) == expected
