"""When a missing end is missed."""

from testbed.transports.morphe.arrival import Estimate, GopArrivals

MS = 1_000_000


def test_an_estimate_follows_the_mean_and_forgets_its_first_doubt() -> None:
    estimate = Estimate()
    estimate.add(80)
    assert (estimate.mean_ns, estimate.late_ns) == (80, 240)
    for _ in range(40):
        estimate.add(80)
    assert estimate.mean_ns == 80
    assert estimate.late_ns < 95


def feed(arrivals: GopArrivals, gops: int, *, spacing_ms: int = 5, jitter_ms: int = 0) -> None:
    for gop in range(gops):
        start_ns = gop * 300 * MS + 50 * MS
        arrivals.on_start(50 * MS, position=0)
        for n in range(10):
            extra = jitter_ms * (n % 2) * MS
            arrivals.on_packet(gop, gop * 10 + n, now_ns=start_ns + n * spacing_ms * MS + extra)


def test_nothing_is_known_at_first() -> None:
    arrivals = GopArrivals(slack_ns=5 * MS)
    assert arrivals.end_missed_ns(last_ns=0, left=3) is None
    assert arrivals.all_missed_ns(0, packets=10) is None
    arrivals.on_packet(0, 0, now_ns=0)
    arrivals.on_packet(0, 1, now_ns=0)  # a pair
    assert arrivals.end_missed_ns(last_ns=0, left=3) is None


def test_on_a_steady_path_an_end_is_missed_soon() -> None:
    arrivals = GopArrivals(slack_ns=5 * MS)
    feed(arrivals, 8)
    missed_ns = arrivals.end_missed_ns(last_ns=1000 * MS, left=2)
    assert missed_ns is not None
    assert 1015 * MS <= missed_ns < 1018 * MS
    all_ns = arrivals.all_missed_ns(1000 * MS, packets=10)
    assert all_ns is not None
    assert 1100 * MS < all_ns < 1130 * MS


def test_on_a_path_that_stalls_it_takes_longer() -> None:
    steady, shaky = GopArrivals(slack_ns=0), GopArrivals(slack_ns=0)
    feed(steady, 8)
    feed(shaky, 8, jitter_ms=4)
    one, other = (a.end_missed_ns(last_ns=0, left=1) for a in (steady, shaky))
    assert one is not None
    assert other is not None
    assert other > one + 8 * MS


def test_losses_and_old_packets_do_not_stretch_the_spacing() -> None:
    arrivals = GopArrivals(slack_ns=0)
    for n in (0, 1, 4, 5, 3, 9, 10):
        arrivals.on_packet(0, n, now_ns=n * 5 * MS)
    assert arrivals.spacing_ns == 5 * MS
