from pathlib import Path

import numpy as np
import pytest

from testbed.errors import InputError
from testbed.experiments.inputs import check_keywords, read_delays, scaled
from testbed.experiments.matrix import Scale
from testbed.network.trace import OpportunityTrace, RateTrace
from testbed.traces import ResolvedTrace


def resolved(trace: OpportunityTrace | RateTrace) -> ResolvedTrace:
    return ResolvedTrace("t", trace, "here")


def test_a_mahimahi_trace_keeps_its_mean_when_scaled() -> None:
    # 100 opportunities of 12032 bits in 2 s: 601.6 kbps.
    trace = OpportunityTrace(np.arange(20, 2001, 20, dtype=np.int64))
    half = scaled(resolved(trace), Scale(factor=0.5))
    assert half.trace.mean_kbps == pytest.approx(300.8)
    assert (half.name, half.notes) == ("t-x0.5", ("rates scaled by 0.5",))
    to_mean = scaled(resolved(trace), Scale(mean_kbps=1000))
    assert to_mean.trace.mean_kbps == pytest.approx(1000, rel=1e-5)


def test_what_needs_no_scaling_is_left_alone() -> None:
    trace = resolved(RateTrace(np.array([10**6]), np.array([500.0])))
    assert scaled(trace, Scale()) is trace
    assert scaled(trace, Scale(mean_kbps=500)) is trace


def test_outages_keep_their_length() -> None:
    rates = np.array([800.0, 0.0, 400.0])
    trace = resolved(RateTrace(np.array([10**6, 3 * 10**6, 10**6]), rates))
    after = scaled(trace, Scale(factor=0.1)).trace
    assert isinstance(after, RateTrace)
    assert after.rates_kbps.tolist() == [80.0, 0.0, 40.0]
    assert after.durations_us.tolist() == [10**6, 3 * 10**6, 10**6]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; it needs one delay in ms a line"),
        ("1\nx\n", "d.txt:2: 'x' is not a delay in ms"),
        ("1\n-2\n", "d.txt:2: delay must be >= 0 (got -2)"),
        ("1\ninf\n", "d.txt:2: delay must be >= 0"),
        ("nan\n", "d.txt:1: delay must be >= 0"),
    ],
)
def test_bad_delay_files_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "d.txt").write_text(content)
    with pytest.raises(InputError) as error:
        read_delays(tmp_path / "d.txt")
    assert message in str(error.value)


def test_unreadable_delay_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read: No such file"):
        read_delays(tmp_path / "none.txt")


def test_factories_are_asked_before_the_session() -> None:
    class Controller:
        def __init__(self, *, capacity_kbps: object, factor: float = 1.0) -> None:
            if factor > 1:
                raise ValueError("factor: must be <= 1")

    check_keywords(Controller, "rate control x", {"factor": 0.5})
    with pytest.raises(InputError, match=r"rate control x: unknown option 'foo'; known: factor$"):
        check_keywords(Controller, "rate control x", {"foo": 1})
    with pytest.raises(InputError, match="unknown option 'capacity_kbps'"):
        check_keywords(Controller, "rate control x", {"capacity_kbps": 1})
    with pytest.raises(InputError, match="rate control x: factor: must be <= 1"):
        check_keywords(Controller, "rate control x", {"factor": 2})
