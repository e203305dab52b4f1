from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError
from testbed.protocol.nack import (
    TRANSITIONS,
    Gap,
    GapEvent,
    GaveUp,
    NackGenerator,
    RetransmissionHistory,
)
from testbed.protocol.rtt import RttEstimator

MS = 1_000_000


def rtt_of(ms: int) -> RttEstimator:
    rtt = RttEstimator()
    rtt.on_sample(ms * MS, now_ns=0)
    return rtt


# The receiver's side


def test_the_table_leaves_no_way_back() -> None:
    ends = {Gap.RECOVERED, Gap.GIVEN_UP}
    assert {state for state, _ in TRANSITIONS} == set(Gap) - ends
    assert {event for _, event in TRANSITIONS} == set(GapEvent)
    assert set(itertools.product(set(Gap) - ends, GapEvent)) == set(TRANSITIONS)


def test_nothing_is_asked_for_in_order() -> None:
    nack = NackGenerator()
    for sequence in range(100):
        nack.on_packet(sequence, now_ns=sequence)
        assert nack.requests(now_ns=sequence) == []
        assert nack.next_timer() is None


def test_a_gap_is_asked_for_after_enough_later_packets() -> None:
    nack = NackGenerator(reorder_packets=3)
    for sequence, wanted in ((0, []), (2, []), (3, []), (4, [1])):
        nack.on_packet(sequence, now_ns=MS)
        assert nack.requests(now_ns=MS) == wanted


def test_a_gap_is_asked_for_after_some_time() -> None:
    nack = NackGenerator(reorder_packets=3, reorder_ns=5 * MS)
    nack.on_packet(0, now_ns=0)
    nack.on_packet(3, now_ns=MS)
    assert nack.next_timer() == 6 * MS
    assert nack.requests(now_ns=6 * MS - 1) == []
    assert nack.requests(now_ns=6 * MS) == [1, 2]


def test_without_tolerance_it_asks_at_once() -> None:
    nack = NackGenerator(reorder_packets=1)
    nack.on_packet(0, now_ns=0)
    nack.on_packet(2, now_ns=MS)
    assert nack.next_timer() == MS
    assert nack.requests(now_ns=MS) == [1]


def test_mere_reordering_is_forgiven() -> None:
    nack = NackGenerator(reorder_packets=3)
    for sequence in (0, 2, 1, 3, 4, 5):
        nack.on_packet(sequence, now_ns=0)
        assert nack.requests(now_ns=0) == []
    assert nack.requests(now_ns=1000 * MS) == []
    assert nack.next_timer() is None


def test_the_signalled_first_packet_may_be_the_one_that_is_lost() -> None:
    nack = NackGenerator(reorder_packets=1, first_sequence=5)
    nack.on_packet(7, now_ns=0)
    assert nack.requests(now_ns=0) == [5, 6]


def test_one_request_a_round_trip_and_three_in_all() -> None:
    nack = NackGenerator(rtt=rtt_of(80), reorder_packets=1)
    nack.on_packet(0, now_ns=0)
    nack.on_packet(2, now_ns=0)
    asked = []
    now_ns = 0
    for _ in range(10):
        timer = nack.next_timer()
        if timer is None:
            break
        now_ns = max(timer, now_ns)
        asked += [(now_ns, sequence) for sequence in nack.requests(now_ns=now_ns)]
    # 9/8 of 80 ms apart.
    assert asked == [(0, 1), (90 * MS, 1), (180 * MS, 1)]
    assert now_ns == 270 * MS
    assert nack.given_up() == [GaveUp(1, "tries")]
    assert nack.given_up() == []
    assert nack.missing() == []


def test_a_repair_ends_the_asking_and_measures_the_round_trip() -> None:
    rtt = rtt_of(100)
    nack = NackGenerator(rtt=rtt, reorder_packets=1)
    nack.on_packet(0, now_ns=0)
    nack.on_packet(2, now_ns=0)
    nack.requests(now_ns=0)
    nack.on_packet(1, now_ns=60 * MS, repaired=True)
    assert (rtt.samples, rtt.latest_ns) == (2, 60 * MS)
    assert nack.missing() == []
    assert nack.next_timer() is None
    assert nack.requests(now_ns=1000 * MS) == []
    assert nack.given_up() == []


def test_an_ambiguous_repair_measures_nothing() -> None:
    rtt = rtt_of(80)
    nack = NackGenerator(rtt=rtt, reorder_packets=1)
    nack.on_packet(0, now_ns=0)
    nack.on_packet(2, now_ns=0)
    nack.requests(now_ns=0)
    nack.requests(now_ns=90 * MS)
    nack.on_packet(1, now_ns=95 * MS, repaired=True)
    assert rtt.samples == 1


def test_no_request_that_cannot_be_answered_in_time() -> None:
    nack = NackGenerator(rtt=rtt_of(80), reorder_packets=1)
    nack.on_packet(0, now_ns=0, deadline_ns=50 * MS)
    nack.on_packet(2, now_ns=0, deadline_ns=79 * MS)
    assert nack.requests(now_ns=0) == []
    assert nack.given_up() == [GaveUp(1, "deadline")]


def test_the_last_moment_to_ask() -> None:
    nack = NackGenerator(rtt=rtt_of(80), reorder_packets=1)
    nack.on_packet(0, now_ns=0)
    nack.on_packet(2, now_ns=0, deadline_ns=80 * MS)
    assert nack.requests(now_ns=0) == [1]
    assert nack.next_timer() == 80 * MS
    assert nack.given_up() == []
    assert nack.requests(now_ns=80 * MS) == []
    assert nack.given_up() == [GaveUp(1, "deadline")]


def test_an_earlier_request_may_still_be_answered() -> None:
    nack = NackGenerator(rtt=rtt_of(80), reorder_packets=1)
    nack.on_packet(0, now_ns=0)
    nack.on_packet(2, now_ns=0, deadline_ns=120 * MS)
    assert nack.requests(now_ns=0) == [1]
    assert nack.requests(now_ns=90 * MS) == []  # a second try would come 50 ms late
    assert nack.missing() == [1]
    assert nack.next_timer() == 120 * MS
    nack.on_packet(1, now_ns=110 * MS, repaired=True)
    assert nack.given_up() == []


def test_a_gap_has_the_deadline_of_the_packet_that_reveals_it() -> None:
    nack = NackGenerator(rtt=rtt_of(50), reorder_packets=1)
    nack.on_packet(0, now_ns=0, deadline_ns=400 * MS)
    nack.on_packet(2, now_ns=0, deadline_ns=60 * MS)
    nack.on_packet(4, now_ns=0, deadline_ns=40 * MS)
    assert nack.requests(now_ns=0) == [1]
    assert nack.given_up() == [GaveUp(3, "deadline")]


def test_too_much_missing_gives_up_the_oldest() -> None:
    nack = NackGenerator(max_missing=10)
    nack.on_packet(0, now_ns=0)
    nack.on_packet(6, now_ns=0)
    nack.on_packet(13, now_ns=0)
    assert nack.missing() == [2, 3, 4, 5, *range(7, 13)]
    assert nack.given_up() == [GaveUp(1, "overflow")]
    nack.on_packet(1000, now_ns=0)
    assert nack.missing() == list(range(990, 1000))
    assert nack.given_up()[0] == GaveUp(14, "overflow", 976)


def test_forgetting_is_silent() -> None:
    nack = NackGenerator(reorder_packets=1)
    nack.on_packet(0, now_ns=0)
    nack.on_packet(4, now_ns=0)
    nack.forget_before(3)
    assert nack.requests(now_ns=0) == [3]
    nack.forget_before(10)
    assert nack.missing() == []
    nack.on_packet(12, now_ns=0)
    assert nack.requests(now_ns=0) == [10, 11]
    assert nack.given_up() == []


def test_the_senders_word_shows_a_loss_that_no_packet_shows() -> None:
    nack = NackGenerator(rtt=rtt_of(20), first_sequence=0)
    nack.on_packet(0, now_ns=0)
    nack.on_sent(3, now_ns=0, deadline_ns=100 * MS)
    assert nack.missing() == [1, 2, 3]
    assert nack.requests(now_ns=4 * MS) == []
    assert nack.requests(now_ns=5 * MS) == [1, 2, 3]
    nack.on_packet(2, now_ns=25 * MS, repaired=True)
    assert nack.missing() == [1, 3]


@pytest.mark.parametrize("sequence", [-1, 0, 1001, 2**32 - 1])
def test_the_senders_word_is_not_believed_beyond_what_may_be_missing(sequence: int) -> None:
    nack = NackGenerator(first_sequence=0)
    nack.on_sent(5, now_ns=0)
    nack.on_sent(sequence + 5, now_ns=0)
    assert nack.missing() == list(range(6))


def test_an_old_or_repeated_packet_changes_nothing() -> None:
    nack = NackGenerator()
    nack.on_packet(5, now_ns=0)
    nack.on_packet(4, now_ns=0)
    nack.on_packet(5, now_ns=0)
    assert nack.missing() == []


@given(
    loss=st.floats(0, 0.5),
    rtt_ms=st.integers(10, 200),
    seed=st.integers(0, 1000),
    tolerance=st.integers(1, 4),
)
def test_every_gap_is_settled_within_the_rules(
    loss: float, rtt_ms: int, seed: int, tolerance: int
) -> None:
    """A lossy path both ways; checks tries, spacing and that the timer alone drives it."""
    rng = np.random.default_rng(seed)
    nack = NackGenerator(rtt=rtt_of(rtt_ms), reorder_packets=tolerance)
    least_apart_ns = rtt_ms * MS * 9 // 8
    asked: dict[int, list[int]] = {}
    repairs: list[tuple[int, int]] = []
    sent = [(10 * MS * i, i) for i in range(60)]
    arrived = {0, 59} | {i for _, i in sent if rng.random() >= loss}
    events = [(at, i, False) for at, i in sent if i in arrived]
    given_up: list[GaveUp] = []
    now_ns = 0
    while True:
        timer = nack.next_timer()
        at = [e[0] for e in events[:1]] + [r[0] for r in repairs[:1]]
        at += [timer] if timer is not None else []
        if not at:
            break
        now_ns = max(now_ns, min(at))
        while events and events[0][0] <= now_ns:
            nack.on_packet(events.pop(0)[1], now_ns=now_ns)
        while repairs and repairs[0][0] <= now_ns:
            nack.on_packet(repairs.pop(0)[1], now_ns=now_ns, repaired=True)
        for sequence in nack.requests(now_ns=now_ns):
            asked.setdefault(sequence, []).append(now_ns)
            if rng.random() >= loss:
                arrived.add(sequence)
                repairs.append((now_ns + rtt_ms * MS, sequence))
        given_up += nack.given_up()
    assert nack.missing() == []
    for times in asked.values():
        assert len(times) <= 3
        assert all(b - a >= least_apart_ns for a, b in itertools.pairwise(times))
    lost_for_good = set(range(60)) - arrived
    assert {g.sequence for g in given_up} == lost_for_good
    assert all(len(asked[sequence]) == 3 for sequence in lost_for_good)


@given(st.lists(st.tuples(st.integers(-(2**17), 2**17), st.integers(0, 50)), max_size=200))
def test_hostile_numbers_keep_it_bounded(packets: list[tuple[int, int]]) -> None:
    nack = NackGenerator(max_missing=20)
    now_ns = 0
    for sequence, gap_ms in packets:
        now_ns += gap_ms * MS
        nack.on_packet(sequence, now_ns=now_ns)
        assert len(nack.missing()) <= 20
        assert len(nack.requests(now_ns=now_ns)) <= 20


@pytest.mark.parametrize("option", ["reorder_packets", "reorder_ns", "max_tries", "max_missing"])
def test_bad_options_are_our_mistake(option: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"{option}=-1"):
        NackGenerator(**{option: -1})


# The sender's side


def history(rtt_ms: int = 100, **options: int) -> RetransmissionHistory[str]:
    return RetransmissionHistory(rtt=rtt_of(rtt_ms), **options)


def test_what_was_sent_can_be_sent_again() -> None:
    sent = history()
    for sequence in range(65_534, 65_538):
        sent.remember(sequence, f"packet {sequence}", size_bytes=100, now_ns=0)
    assert sent.resends([65_535, 1, 7], now_ns=MS) == ["packet 65535", "packet 65537"]


def test_resends_are_a_round_trip_apart_and_three_in_all() -> None:
    sent = history(100, max_age_ns=10**12)
    sent.remember(1, "one", size_bytes=100, now_ns=0)
    times = [ms for ms in range(0, 1000, 10) if sent.resends([1], now_ns=ms * MS)]
    assert times == [0, 100, 200]


def test_a_number_asked_for_twice_in_one_message_goes_once() -> None:
    sent = history()
    sent.remember(1, "one", size_bytes=100, now_ns=0)
    assert sent.resends([1, 1, 1], now_ns=0) == ["one"]


def test_old_packets_are_forgotten() -> None:
    sent = history(max_age_ns=100 * MS)
    sent.remember(1, "one", size_bytes=100, now_ns=0)
    sent.remember(2, "two", size_bytes=100, now_ns=50 * MS)
    assert sent.resends([1, 2], now_ns=101 * MS) == ["two"]
    assert (len(sent), sent.size_bytes) == (1, 100)


def test_the_bytes_are_bounded() -> None:
    sent = history(max_bytes=1000)
    for sequence in range(20):
        sent.remember(sequence, str(sequence), size_bytes=300, now_ns=0)
    assert (len(sent), sent.size_bytes) == (3, 900)
    sent.remember(20, "large", size_bytes=5000, now_ns=0)
    assert len(sent) == 1
    assert sent.resends([20], now_ns=0) == ["large"]


def test_half_the_circle_of_numbers_is_kept_at_most() -> None:
    sent = history(max_age_ns=10**12, max_bytes=10**12)
    for sequence in range(100_000):
        sent.remember(sequence, str(sequence), size_bytes=1, now_ns=0)
    assert len(sent) == 32_768
    assert sent.resends([99_999 & 0xFFFF, 99_999 - 32_767 & 0xFFFF], now_ns=0) == [
        "99999",
        "67232",
    ]
    assert sent.resends([99_999 - 32_768 & 0xFFFF], now_ns=0) == []


def test_a_number_used_again_belongs_to_the_newer_packet() -> None:
    sent = history(max_age_ns=100 * MS)
    sent.remember(7, "old", size_bytes=1, now_ns=0)
    sent.remember(65_536 + 7, "new", size_bytes=1, now_ns=90 * MS)
    assert sent.resends([7], now_ns=150 * MS) == ["new"]


def test_what_is_confirmed_lost_is_asked_for_at_once() -> None:
    nack = NackGenerator(first_sequence=0, reorder_packets=1 << 40, reorder_ns=60 * MS)
    nack.on_packet(4, now_ns=0)
    assert nack.requests(now_ns=10 * MS) == []
    nack.confirm(1, now_ns=10 * MS)
    assert nack.next_timer() == 10 * MS
    assert nack.requests(now_ns=10 * MS) == [0, 1]
    assert nack.requests(now_ns=59 * MS) == []
    assert nack.requests(now_ns=60 * MS) == [2, 3]


def test_packets_can_be_revealed_by_something_else() -> None:
    nack = NackGenerator(first_sequence=0)
    nack.reveal(1, now_ns=0)
    nack.reveal(0, now_ns=0)
    assert nack.missing() == [0, 1]
    nack.on_packet(1, now_ns=MS)
    assert nack.missing() == [0]
    NackGenerator().reveal(7, now_ns=0)  # where the numbers start is not known yet


def test_a_gap_that_waits_is_asked_for_in_time_for_its_answer() -> None:
    nack = NackGenerator(
        first_sequence=0, reorder_packets=1 << 40, reorder_ns=500 * MS, reserve_round_trips=2
    )
    nack.rtt.on_sample(40 * MS, now_ns=0)
    nack.on_packet(1, now_ns=0, deadline_ns=200 * MS)
    assert nack.next_timer() == 120 * MS
    nack.on_packet(3, now_ns=130 * MS, deadline_ns=200 * MS)
    assert nack.requests(now_ns=134 * MS) == [0]
    assert nack.requests(now_ns=135 * MS) == [2]
