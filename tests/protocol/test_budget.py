"""A source that spends its share, with repairs on top, under the budget."""

import itertools

import pytest

from testbed.protocol.budget import LEAST_SHARE, STEP, UPDATE_NS, RepairBudget

FRAME_NS = 33_333_333
TARGET = 400.0


def spend(
    budget: RepairBudget,
    *,
    seconds: float,
    repair: float,
    kind: str = "retransmission",
    error: float = 1.0,
) -> tuple[float, list[float]]:
    """Wire rate in kbit/s and the media's target of each frame; the encoder is off by `error`."""
    bits, targets = 0.0, []
    frames = round(seconds * 30)
    for index in range(frames):
        target = budget.media_kbps(TARGET, now_ns=index * FRAME_NS)
        targets.append(target)
        size = round(target * error * 1e3 / 30 / 8)
        budget.on_sent(size, kind="media")
        if repair:
            budget.on_sent(round(size * repair), kind=kind)
        bits += 8 * (size + round(size * repair))
    return bits / seconds / 1e3, targets


def test_without_repairs_the_target_is_the_medias() -> None:
    """Also with a key frame of 180 ms, and an encoder that is off by as much as ours are."""
    for error in (0.98, 1.02):
        budget = RepairBudget(meets_sum=True)
        budget.on_sent(9_000, kind="media")
        _, targets = spend(budget, seconds=3, repair=0.0, error=error)
        assert set(targets) == {TARGET}


@pytest.mark.parametrize("error", [0.9, 0.945, 1.1])
def test_an_encoder_that_keeps_off_its_target_is_told_another(error: float) -> None:
    kbps, targets = spend(RepairBudget(meets_sum=True), seconds=10, repair=0.0, error=error)
    assert targets[0] == TARGET
    assert kbps == pytest.approx(TARGET, rel=0.03)
    _, targets = spend(RepairBudget(meets_sum=False), seconds=10, repair=0.0, error=error)
    assert set(targets) == {TARGET}


@pytest.mark.parametrize("kind", ["fec", "retransmission"])
@pytest.mark.parametrize("repair", [0.05, 0.25, 1.0])
@pytest.mark.parametrize("error", [0.9, 1.0, 1.1])
def test_the_sum_meets_the_target_within_ten_seconds(
    kind: str, repair: float, error: float
) -> None:
    budget = RepairBudget(meets_sum=True)
    kbps, _ = spend(budget, seconds=10, repair=repair, kind=kind, error=error)
    assert kbps == pytest.approx(TARGET, rel=0.03)


def test_a_share_that_is_known_is_taken_out_from_the_first_frame() -> None:
    budget = RepairBudget(meets_sum=True)
    first = budget.media_kbps(TARGET, foreseen=0.5, now_ns=0)
    assert first == pytest.approx(TARGET / 1.5, rel=STEP)


def test_shares_are_coarse_and_rare() -> None:
    budget = RepairBudget(meets_sum=True)
    _, targets = spend(budget, seconds=4, repair=0.3)
    changes = sum(a != b for a, b in itertools.pairwise(targets))
    assert 0 < changes <= 4e9 / UPDATE_NS
    for target in targets:
        steps = target / TARGET / STEP
        assert steps == pytest.approx(round(steps))


def test_a_controller_that_watches_the_network_pays_for_retransmissions_itself() -> None:
    budget = RepairBudget(meets_sum=False)
    _, targets = spend(budget, seconds=2, repair=0.3)
    assert set(targets) == {TARGET}
    _, targets = spend(RepairBudget(meets_sum=False), seconds=2, repair=0.25, kind="fec")
    assert targets[-1] == pytest.approx(TARGET / 1.25, rel=STEP)


def test_the_media_keep_something() -> None:
    budget = RepairBudget(meets_sum=True)
    _, targets = spend(budget, seconds=5, repair=9.0)
    assert min(targets) == pytest.approx(LEAST_SHARE * TARGET)
