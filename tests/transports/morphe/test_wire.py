"""GoPs, timestamps and capture times."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RemoteProtocolError
from testbed.transports.morphe.wire import GopClock

RATES = [
    Fraction(15),
    Fraction(25),
    Fraction(30),
    Fraction(30_000, 1001),
    Fraction(60),
    Fraction(7),
]


@given(st.integers(0, 10**7), st.sampled_from(RATES))
def test_a_timestamp_names_its_gop(gop: int, fps: Fraction) -> None:
    clock = GopClock(fps)
    assert clock.gop_of(clock.timestamp(gop)) == gop


@pytest.mark.parametrize("fps", RATES)
def test_other_timestamps_name_none(fps: Fraction) -> None:
    clock = GopClock(fps)
    for timestamp in (1, clock.timestamp(3) - 1, clock.timestamp(1000) + 1):
        with pytest.raises(RemoteProtocolError):
            clock.gop_of(timestamp)


def test_capture_times_are_those_of_the_world() -> None:
    clock = GopClock(Fraction(30_000, 1001))
    assert clock.capture_ns(30_000) == 1001 * 10**9
    assert clock.interval_ns == 33_366_667
