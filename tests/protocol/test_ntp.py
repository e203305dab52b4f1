from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.ntp import VIRTUAL_EPOCH_NTP_S, compact_ntp_of, ns_of_compact_ntp, ntp_of

times = st.integers(0, 10**15)  # eleven days: the compact form wraps many times


def test_the_epoch_is_new_year_2026() -> None:
    elapsed = datetime(2026, 1, 1, tzinfo=UTC) - datetime(1900, 1, 1, tzinfo=UTC)
    assert elapsed.total_seconds() == VIRTUAL_EPOCH_NTP_S


def test_half_a_second_is_half_of_the_fraction() -> None:
    assert ntp_of(500_000_000) == VIRTUAL_EPOCH_NTP_S << 32 | 1 << 31
    assert compact_ntp_of(500_000_000) == (VIRTUAL_EPOCH_NTP_S & 0xFFFF) << 16 | 0x8000


@given(times, st.integers(-(10**13), 10**13))
def test_compact_time_comes_back_within_its_resolution(now_ns: int, away_ns: int) -> None:
    back_ns = ns_of_compact_ntp(compact_ntp_of(now_ns), near_ns=now_ns + away_ns)
    assert 0 <= now_ns - back_ns <= 10**9 / 65536 + 1


@pytest.mark.parametrize("now_ns", [0, 1, 10**9, 10**18])
def test_ntp_time_fits_its_field(now_ns: int) -> None:
    assert 0 <= ntp_of(now_ns) < 1 << 64
