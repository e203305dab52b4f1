"""Loss models against closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testbed.errors import InputError
from testbed.network.loss import make_loss
from testbed.network.loss.markov import from_mean_burst
from testbed.network.loss.simple import read_mask
from testbed.network.packet import Packet
from testbed.network.spec import LossSpec

N = 200_000
S = 1_000_000_000


def mask(kind: str, options: dict[str, Any], *, n: int = N, per_frame: int = 1) -> np.ndarray:
    """Fate of n packets 1 ms apart, `per_frame` to a frame."""
    model = make_loss(LossSpec(kind, options), np.random.default_rng(11))
    packet = Packet(100)
    lost = np.zeros(n, dtype=bool)
    for number in range(n):
        packet.number = number
        packet.frame = number // per_frame
        lost[number] = model.lost(packet, number * 1_000_000)
    return lost


def bursts(lost: np.ndarray) -> np.ndarray:
    """Lengths of the runs of losses."""
    edges = np.diff(np.concatenate(([0], lost.astype(int), [0])))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.25, 1.0])
def test_bernoulli(rate: float) -> None:
    lost = mask("bernoulli", {"rate": rate})
    assert lost.mean() == pytest.approx(rate, abs=4 * (rate * (1 - rate) / N) ** 0.5)
    if 0 < rate < 1:  # runs of independent losses are geometric
        assert bursts(lost).mean() == pytest.approx(1 / (1 - rate), rel=0.02)


@pytest.mark.parametrize(("rate", "mean_burst"), [(0.05, 2), (0.15, 4), (0.25, 8), (0.5, 1.0)])
def test_mean_burst_form(rate: float, mean_burst: float) -> None:
    lost = mask("gilbert-elliott", {"rate": rate, "mean_burst": mean_burst})
    assert lost.mean() == pytest.approx(rate, rel=0.06)
    assert bursts(lost).mean() == pytest.approx(mean_burst, rel=0.05)


def test_rate_zero_never_loses() -> None:
    assert not mask("gilbert-elliott", {"rate": 0.0, "mean_burst": 4}, n=5000).any()


def test_mean_burst_solves_the_stationary_equations() -> None:
    p, r = from_mean_burst(0.15, 4)
    assert p / (p + r) == pytest.approx(0.15)
    assert 1 / r == pytest.approx(4)
    assert from_mean_burst(0.5, 1) == (1.0, 1.0)  # the limit: every second packet


@pytest.mark.parametrize(
    ("p", "r", "h", "k"), [(0.068, 0.852, 0.5, 0.96), (0.02, 0.1, 0.2, 1.0), (0.3, 0.3, 0.0, 0.9)]
)
def test_gilbert_elliott(p: float, r: float, h: float, k: float) -> None:
    lost = mask("gilbert-elliott", {"p": p, "r": r, "h": h, "k": k})
    bad = p / (p + r)
    good_loss, bad_loss = 1 - k, 1 - h
    mean = bad * bad_loss + (1 - bad) * good_loss
    assert lost.mean() == pytest.approx(mean, rel=0.05)
    # Covariance of neighbours: the chain forgets by 1-p-r a step.
    expected = (1 - bad) * bad * (bad_loss - good_loss) ** 2 * (1 - p - r)
    measured = np.mean(lost[1:] & lost[:-1]) - lost.mean() ** 2
    assert measured == pytest.approx(expected, abs=0.003)


def test_gilbert_elliott_starts_stationary() -> None:
    options = {"rate": 0.3, "mean_burst": 50}
    first = []
    for seed in range(4000):
        model = make_loss(LossSpec("gilbert-elliott", options), np.random.default_rng(seed))
        first.append(model._bad)  # type: ignore[attr-defined]
    assert np.mean(first) == pytest.approx(0.3, abs=0.03)


def test_per_frame_state_moves_once_a_frame() -> None:
    # h = 0, k = 1: a frame is lost as a whole or not at all.
    lost = mask("gilbert-elliott", {"rate": 0.2, "mean_burst": 3, "per": "frame"}, per_frame=10)
    frames = lost.reshape(-1, 10)
    assert np.all(frames.all(axis=1) == frames.any(axis=1))
    assert frames[:, 0].mean() == pytest.approx(0.2, rel=0.1)
    assert bursts(frames[:, 0]).mean() == pytest.approx(3, rel=0.1)


def test_per_frame_states_do_not_depend_on_the_size_of_frames() -> None:
    options = {"p": 0.1, "r": 0.3, "per": "frame"}
    small = mask("gilbert-elliott", options, n=2000, per_frame=2)[::2]
    large = mask("gilbert-elliott", options, n=9000, per_frame=9)[::9]
    assert np.array_equal(small, large)


def test_late_copies_and_frameless_packets_meet_the_newest_state() -> None:
    options = {"p": 0.5, "r": 0.5, "per": "frame"}
    one = make_loss(LossSpec("gilbert-elliott", options), np.random.default_rng(5))
    for number, newest in enumerate(range(0, 400, 2)):
        fates = {
            one.lost(Packet(9, number=3 * number + offset, frame=frame), 0)
            for offset, frame in enumerate((newest, 0, -1))
        }
        assert len(fates) == 1


def test_conditional_against_its_chain() -> None:
    # rattan's pattern: after i losses in a row, the next is lost with pattern[i].
    pattern = [0.05, 0.5, 0.25, 0.0]
    lost = mask("conditional", {"pattern": pattern})
    # State = losses in a row; stationary weights by counting how often a run gets that far.
    reach = np.cumprod([1.0, *pattern[:3]])
    assert lost.mean() == pytest.approx(reach[1:].sum() / reach.sum(), rel=0.04)
    assert bursts(lost).max() == 3  # the last 0 caps it
    after_one = lost[1:-1] & ~lost[:-2]
    assert lost[2:][after_one].mean() == pytest.approx(0.5, abs=0.02)


def test_last_entry_of_a_pattern_repeats() -> None:
    lost = mask("conditional", {"pattern": [0.1, 0.8]})
    assert bursts(lost).mean() == pytest.approx(1 / 0.2, rel=0.05)


def test_mask_repeats() -> None:
    for bits in ("0 1,1\n0", [0, 1, 1, 0], (0, 1, 1, 0)):
        assert mask("mask", {"bits": bits}, n=6).tolist() == [0, 1, 1, 0, 0, 1]


def test_mask_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mask.txt"
    file.write_text("0100\n0001\n")
    assert read_mask(file) == (0, 1, 0, 0, 0, 0, 0, 1)
    assert mask("mask", {"file": str(file)}, n=9).tolist() == [0, 1, 0, 0, 0, 0, 0, 1, 0]
    file.write_text("01\n0a\n")
    with pytest.raises(InputError, match=r"mask.txt, line 2: 'a'; must be 0 or 1"):
        read_mask(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not a text file"):
        read_mask(file)
    file.write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_mask(file)


def test_random_outage_has_exponential_times() -> None:
    lost = mask("outage", {"mean_up_s": 0.3, "mean_down_s": 0.1})  # sampled every ms for 200 s
    assert lost.mean() == pytest.approx(0.25, abs=0.03)
    lengths = bursts(lost)
    assert lengths.mean() == pytest.approx(100, rel=0.15)
    assert lengths.std() == pytest.approx(100, rel=0.2)  # as large as the mean: exponential
    assert not lost[0]


def test_periodic_outage_is_where_it_says() -> None:
    model = make_loss(LossSpec("periodic-outage", {"offset_s": 3}), np.random.default_rng(0))
    packet = Packet(1)
    inside = [t for t in range(40 * 4) if model.lost(packet, t * S // 4)]
    # 0.5 s every 15 s from 3 s on, sampled every 250 ms.
    assert inside == [12, 13, 72, 73, 132, 133]
    edges = [
        model.lost(packet, t) for t in (48 * S - 1, 48 * S, 48_500_000_000 - 1, 48_500_000_000)
    ]
    assert edges == [False, True, True, False]
