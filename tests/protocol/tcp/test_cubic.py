"""CUBIC against the curves of RFC 9438."""

from __future__ import annotations

import pytest

from testbed.protocol.tcp.cubic import ALPHA, BETA, INITIAL_WINDOW, C, Cubic

MS = 1_000_000
SECOND = 1_000_000_000


def after_a_loss(window: float) -> Cubic:
    cubic = Cubic()
    cubic.on_acknowledged(round(window - INITIAL_WINDOW), rtt_ns=100 * MS, now_ns=0)
    assert cubic.window == window
    cubic.on_loss()
    return cubic


def drive(cubic: Cubic, *, rtt_ns: int, seconds: float, start_ns: int = 0) -> dict[float, float]:
    """A window's worth of acknowledgements a round trip; the window at each of them."""
    seen = {}
    now = start_ns
    while now < start_ns + seconds * SECOND:
        packets = int(cubic.window)
        for n in range(packets):
            cubic.on_acknowledged(1, rtt_ns=rtt_ns, now_ns=now + rtt_ns * n // packets)
        now += rtt_ns
        seen[(now - start_ns) / SECOND] = cubic.window
    return seen


def test_slow_start_doubles_every_round_trip() -> None:
    cubic = Cubic()
    windows = [cubic.window]
    for trip in range(4):
        for _ in range(int(cubic.window)):
            cubic.on_acknowledged(1, rtt_ns=100 * MS, now_ns=trip * 100 * MS)
        windows.append(cubic.window)
    assert windows == [10, 20, 40, 80, 160]


def test_a_loss_takes_away_three_tenths() -> None:
    cubic = after_a_loss(1000)
    assert cubic.window == cubic.threshold == pytest.approx(700)
    assert not cubic.in_slow_start


def test_the_window_follows_the_curve_of_section_4_2() -> None:
    # W(t) = C (t - K)^3 + W_max with K = cbrt(W_max (1 - beta) / C); the paths at which CUBIC's
    # region is not Reno's: a large window and a long round trip.
    most, rtt_ns = 2000.0, 100 * MS
    cubic = after_a_loss(most)
    wait = (most * (1 - BETA) / C) ** (1 / 3)
    for at, window in drive(cubic, rtt_ns=rtt_ns, seconds=1.6 * wait).items():
        expected = C * (at - wait) ** 3 + most
        assert window == pytest.approx(expected, rel=0.01), at


def test_it_stands_still_around_the_earlier_maximum() -> None:
    most = 2000.0
    wait = (most * (1 - BETA) / C) ** (1 / 3)
    seen = drive(after_a_loss(most), rtt_ns=100 * MS, seconds=wait + 2)
    around = [window for at, window in seen.items() if abs(at - wait) < 1]
    assert max(around) - min(around) < 2 * C * 1.2**3


def test_reno_friendly_region_of_section_4_3() -> None:
    # A short round trip and a small window: the linear growth of alpha segments a round trip.
    most, rtt_ns = 40.0, 10 * MS
    seen = drive(after_a_loss(most), rtt_ns=rtt_ns, seconds=0.2)
    for at, window in seen.items():
        trips = at * SECOND / rtt_ns
        assert window == pytest.approx(most * BETA + ALPHA * trips, rel=0.02), at


def test_fast_convergence_of_section_4_7() -> None:
    # A second loss below the earlier maximum: the new maximum is remembered as less than it was.
    slower, plain = after_a_loss(2000), after_a_loss(1400)
    slower.on_loss()  # at 1400, below 2000
    for cubic in (slower, plain):
        cubic.window = cubic.threshold = 980.0
    low = drive(slower, rtt_ns=100 * MS, seconds=12)
    high = drive(plain, rtt_ns=100 * MS, seconds=12)
    assert max(low.values()) < max(high.values())
    plateau = 1400 * (1 + BETA) / 2
    wait = ((plateau - 980) / C) ** (1 / 3)
    at = min(low, key=lambda seconds: abs(seconds - wait))
    assert low[at] == pytest.approx(plateau, rel=0.01)


def test_a_timeout_starts_again_with_one_segment() -> None:
    cubic = after_a_loss(1000)
    cubic.on_timeout()
    assert cubic.window == 1
    assert cubic.threshold == pytest.approx(700 * BETA)
    assert cubic.in_slow_start


def test_windows_never_fall_below_what_can_recover() -> None:
    cubic = Cubic()
    for _ in range(50):
        cubic.on_loss()
    assert cubic.window == 2
