from __future__ import annotations

import pytest

from testbed.protocol.rtt import RttEstimator

MS = 1_000_000


def test_before_the_first_sample() -> None:
    rtt = RttEstimator(initial_ns=80 * MS)
    assert (rtt.latest_ns, rtt.smoothed_ns, rtt.min_ns, rtt.samples) == (80 * MS,) * 3 + (0,)


def test_smoothing_by_one_fifth() -> None:
    rtt = RttEstimator()
    smoothed = []
    for i, sample_ms in enumerate([100, 150, 100]):
        rtt.on_sample(sample_ms * MS, now_ns=i)
        smoothed.append(rtt.smoothed_ns)
    assert smoothed == [100 * MS, 110 * MS, 108 * MS]
    assert rtt.latest_ns == 100 * MS


def test_the_minimum_forgets_after_ten_seconds() -> None:
    rtt = RttEstimator()
    minima = []
    for second, sample_ms in enumerate([50, 40, 60, 55, 70, 70, 70, 70, 70, 70, 70, 70, 70, 70]):
        rtt.on_sample(sample_ms * MS, now_ns=second * 1000 * MS)
        minima.append(rtt.min_ns // MS)
    assert minima == [50, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 55, 55]


@pytest.mark.parametrize("rtt_ns", [0, -5])
def test_impossible_samples_are_ignored(rtt_ns: int) -> None:
    rtt = RttEstimator()
    rtt.on_sample(rtt_ns, now_ns=0)
    assert rtt.samples == 0
