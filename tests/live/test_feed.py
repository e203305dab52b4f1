"""One producer, many readers: nothing is held up, nothing grows without end."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewing import HEADING, sample, shown

from testbed.errors import LocalProtocolError
from testbed.live.feed import KEPT_SAMPLES, TRANSITIONS, End, Feed, State, Status


def test_ten_minutes_of_samples_are_kept() -> None:
    assert KEPT_SAMPLES == 6000
    feed = Feed(HEADING, kept_samples=3)
    for number in range(1, 6):
        feed.sample(sample(number))
    samples, serial = feed.samples_after(0, timeout_s=0)
    assert [s.time_ns // 100_000_000 for s in samples] == [3, 4, 5]
    assert serial == 5


@given(st.lists(st.integers(0, 4), max_size=12))
def test_a_reader_that_keeps_up_sees_every_sample_once(bursts: list[int]) -> None:
    feed, seen, serial, number = Feed(HEADING, kept_samples=5), [], 0, 0
    for burst in bursts:
        for _ in range(burst):
            number += 1
            feed.sample(sample(number))
        new, serial = feed.samples_after(serial, timeout_s=0)
        seen += [s.time_ns // 100_000_000 for s in new]
    assert seen == list(range(1, number + 1))


def test_of_pictures_there_is_only_the_latest(feed: Feed) -> None:
    assert feed.shown_after(0, timeout_s=0) == (None, 0)
    for slot in range(1000):
        feed.show(shown(slot))
    latest, serial = feed.shown_after(0, timeout_s=0)
    assert latest is not None
    assert (latest.slot, serial) == (999, 1000)
    assert feed.shown_after(serial, timeout_s=0) == (None, 1000)
    assert feed.latest() is latest


def test_a_waiting_reader_is_woken_by_what_it_waits_for(feed: Feed) -> None:
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.append(feed.shown_after(0, timeout_s=60)[0]))
    reader.start()
    feed.sample(sample(1))  # not this
    picture = shown(7)
    feed.show(picture)
    reader.join(30)
    assert got == [picture]


@pytest.mark.parametrize("wake", [Feed.finish, Feed.release, lambda feed: feed.fail("why")])
def test_at_the_end_no_reader_waits(feed: Feed, wake: object) -> None:
    readers = [
        threading.Thread(target=feed.samples_after, args=(0,), kwargs={"timeout_s": 600})
        for _ in range(3)
    ]
    for reader in readers:
        reader.start()
    wake(feed)  # type: ignore[operator]
    for reader in readers:
        reader.join(30)
        assert not reader.is_alive()


def test_a_session_ends_once(feed: Feed) -> None:
    assert feed.status == Status(State.RUNNING, "")
    assert not feed.status.over
    feed.fail("the sender\nwent away")
    assert feed.status == Status(State.FAILED, "the sender went away")
    for again in (feed.finish, lambda: feed.fail("again")):
        with pytest.raises(LocalProtocolError, match="it is failed"):
            again()
    assert feed.status == Status(State.FAILED, "the sender went away")


def test_every_end_of_a_running_session_is_in_the_table() -> None:
    assert set(TRANSITIONS) == {(State.RUNNING, end) for end in End}
    assert set(TRANSITIONS.values()) == set(State) - {State.RUNNING}


def test_after_the_end_nothing_is_taken(feed: Feed) -> None:
    feed.finish()
    feed.sample(sample(1))
    feed.show(shown(1))
    assert feed.samples_after(0, timeout_s=0) == ([], 0)
    assert feed.latest() is None


def test_a_producer_is_not_held_up_by_readers_that_sleep(feed: Feed) -> None:
    gate = threading.Event()

    def read_and_sleep() -> None:
        feed.shown_after(0, timeout_s=60)
        gate.wait(60)

    readers = [threading.Thread(target=read_and_sleep) for _ in range(4)]
    for reader in readers:
        reader.start()
    time.sleep(0)
    for slot in range(100):
        feed.show(shown(slot))
    assert feed.shown_after(0, timeout_s=0)[1] == 100  # reached while all of them sleep
    gate.set()
    for reader in readers:
        reader.join(30)


@pytest.mark.parametrize(
    ("field", "value"),
    [("sent_kbps", float("nan")), ("capacity_kbps", float("inf")), ("loss_share", 1.01),
     ("loss_share", -0.1)],
)  # fmt: skip
def test_what_is_no_number_is_no_sample(field: str, value: float) -> None:
    with pytest.raises(LocalProtocolError, match=field):
        sample(1, **{field: value})
