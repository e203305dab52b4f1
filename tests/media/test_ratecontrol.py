"""The rate control against an encoder that is its own size model, with and without errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.media import ratecontrol
from testbed.media.ratecontrol import FrameControl, LeakyBucket, SizeModel

INTRA = SizeModel(6.4, 0.7, 0.14)
INTER = SizeModel(3.5, 0.8, 0.19)
PIXELS = 640 * 360
FPS = 25.0


def _run(
    targets: list[float],
    *,
    off_log2: float = 0.0,
    noise: float = 0.0,
    motion: float = 2.0,
    debt_bits: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Bits and quantisers of a model encoder whose sizes are 2 ** off_log2 of the prediction."""
    control = FrameControl(INTRA, INTER, pixels=PIXELS, fps=FPS, vbv_ms=500, debt_bits=debt_bits)
    rng = np.random.default_rng(3)
    bits, qps = [], []
    for number, target in enumerate(targets):
        key = number == 0
        feature = 6.0 if key else motion
        qp = control.choose(target, key=key, feature=feature)
        model, seen = (INTRA, feature) if key else (INTER, feature + ratecontrol.MOTION_FLOOR)
        size = 2 ** (model.log2_bits(seen, PIXELS, qp) + off_log2 + noise * rng.normal())
        control.record(round(size), target)
        bits.append(round(size))
        qps.append(qp)
    return np.array(bits), np.array(qps)


@pytest.mark.parametrize("off_log2", [-1.0, 0.0, 1.0])
def test_the_rate_is_met_although_the_model_is_off_by_a_factor_of_two(off_log2: float) -> None:
    bits, _ = _run([400.0] * 250, off_log2=off_log2)
    seconds = bits[25:].reshape(-1, 25).sum(1) / 1000
    assert np.abs(seconds - 400).max() < 8


def test_the_rate_is_met_under_noise() -> None:
    bits, _ = _run([400.0] * 500, noise=0.6)
    assert bits.sum() / 20 / 1000 == pytest.approx(400, rel=0.03)


def test_a_step_is_followed_within_a_second() -> None:
    bits, _ = _run([400.0] * 100 + [200.0] * 100 + [500.0] * 100)
    assert bits[125:200].sum() / 3000 == pytest.approx(200, rel=0.05)
    assert bits[225:300].sum() / 3000 == pytest.approx(500, rel=0.05)


def test_a_key_frame_gets_its_share_of_the_bucket() -> None:
    bits, _ = _run([400.0])
    assert bits[0] == pytest.approx(ratecontrol.KEY_SHARE * 400_000 * 0.5, rel=0.01)


def test_a_key_frame_is_smaller_when_the_bucket_is_full() -> None:
    full = 0.9 * 400_000 * 0.5
    bits, _ = _run([400.0], debt_bits=full)
    assert bits[0] == pytest.approx(0.1 * 400_000 * 0.5, rel=0.01)


def test_the_quantiser_moves_in_bounded_steps() -> None:
    _, qps = _run([400.0] * 20 + [4000.0] * 40 + [50.0] * 40)
    steps = np.diff(qps)
    assert steps.min() >= -ratecontrol.STEP_DOWN - 1e-9
    assert steps.max() <= ratecontrol.STEP_UP + 1e-9
    assert qps.min() >= ratecontrol.QP_MIN
    assert qps.max() <= ratecontrol.QP_MAX


def test_a_still_scene_earns_no_long_burst() -> None:
    bucket = LeakyBucket(fps=FPS, vbv_ms=500)
    for _ in range(1000):
        bucket.add(8, 400.0)
    assert bucket.debt_bits == pytest.approx(-ratecontrol.CREDIT_SHARE * 200_000)


def test_debt_is_bits_less_the_share_of_the_target() -> None:
    bucket = LeakyBucket(fps=FPS, vbv_ms=500)
    bucket.add(100_000, 400.0)
    bucket.add(16_000, 400.0)
    assert bucket.debt_bits == 100_000 - 16_000
    # 84 kbit at 400 kbps are 210 ms, and the steps are 125 ms.
    assert bucket.rounded_debt_ms(400.0) == 250
    assert bucket.rounded_debt_ms(100.0) == 500


def test_same_calls_same_choices() -> None:
    targets = [400.0, 380.0, 420.0] * 30
    first, second = _run(targets, noise=0.5), _run(targets, noise=0.5)
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()


@given(
    st.lists(st.floats(1, 1e5), min_size=1, max_size=30),
    st.lists(st.floats(0, 255), min_size=30, max_size=30),
    st.lists(st.integers(1, 10**7), min_size=30, max_size=30),
)
def test_any_history_gives_a_quantiser_in_range(
    targets: list[float], features: list[float], sizes: list[int]
) -> None:
    control = FrameControl(INTRA, INTER, pixels=256, fps=30.0, vbv_ms=500, debt_bits=0)
    for number, target in enumerate(targets):
        qp = control.choose(target, key=number == 0, feature=features[number])
        assert ratecontrol.QP_MIN <= qp <= ratecontrol.QP_MAX
        assert math.isfinite(qp)
        control.record(sizes[number], target)


def test_repeated_pictures_leave_their_share_to_the_next_one_that_moves() -> None:
    """A 25 fps source at 60 fps: two pictures in five move, and the rate is still met."""
    control = FrameControl(INTRA, INTER, pixels=PIXELS, fps=60.0, vbv_ms=500, debt_bits=0.0)
    bits, qps = [], []
    for number in range(1200):
        key, moves = number == 0, number % 5 in (0, 2)
        qp = control.choose(400.0, key=key, feature=6.0 if key else 2.0 * moves)
        model, seen = (INTRA, 6.0) if key else (INTER, 2.0 + ratecontrol.MOTION_FLOOR)
        size = round(2 ** model.log2_bits(seen, PIXELS, qp)) if key or moves else 80
        control.record(size, 400.0)
        bits.append(size)
        if number > 300:
            qps.append(qp)
    assert sum(bits[300:]) / 15 == pytest.approx(400e3, rel=0.03)
    # One and two repeated pictures in turn: the quantiser moves by one step at most.
    assert max(qps) - min(qps) <= ratecontrol.STEP_DOWN + 0.1
