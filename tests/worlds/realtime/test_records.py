"""Which datagram is which, against a slow obvious form."""

from __future__ import annotations

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.endpoint import Datagram
from testbed.worlds.realtime.records import Arrivals, Sent, key_of, match


def slow_match(keys: list[int], seen: list[int]) -> list[int]:
    """Look through everything that nobody has taken yet."""
    taken: set[int] = set()
    found = []
    for key in keys:
        place = next((n for n, other in enumerate(seen) if other == key and n not in taken), -1)
        taken.add(place)
        found.append(place)
    return found


@given(st.lists(st.integers(0, 4), max_size=30), st.lists(st.integers(0, 4), max_size=30))
def test_match_is_the_obvious_form(keys: list[int], seen: list[int]) -> None:
    assert match(keys, seen) == slow_match(keys, seen)


@given(
    keys=st.lists(st.integers(0, 3), max_size=40),
    data=st.data(),
)
def test_in_order_and_without_loss_all_are_found_in_order(keys: list[int], data: st.DataObject):
    foreign = data.draw(st.lists(st.integers(10, 12), max_size=10))
    seen: list[int] = list(keys)
    places = sorted(data.draw(st.lists(st.integers(0, len(seen)), max_size=len(foreign))))
    for shift, (at, key) in enumerate(zip(places, foreign, strict=False)):
        seen.insert(at + shift, key)
    found = match(keys, seen)
    assert found == sorted(found)
    assert -1 not in found
    assert [seen[at] for at in found] == keys


@given(
    count=st.integers(0, 40), kinds=st.integers(1, 6), lost=st.floats(0, 1), seed=st.integers(0, 99)
)
def test_losses_and_reordering_of_distinct_datagrams_are_found_exactly(
    count: int, kinds: int, lost: float, seed: int
) -> None:
    rng = random.Random(seed)
    keys = rng.sample(range(1000), count)
    survivors = [key for key in keys if rng.random() >= lost]
    rng.shuffle(survivors)
    found = match(keys, survivors)
    assert [key for key, at in zip(keys, found, strict=True) if at < 0] == [
        key for key in keys if key not in survivors
    ]
    assert all(survivors[at] == key for key, at in zip(keys, found, strict=True) if at >= 0)


def test_a_duplicate_that_was_lost_leaves_the_other_one() -> None:
    # Three equal datagrams, two came: the first two of them.
    assert match([7, 7, 8, 7], [7, 8, 7]) == [0, 2, 1, -1]


def test_keys_are_eight_bytes_of_blake2b() -> None:
    for data in (b"", b"x", bytes(1500)):
        expected = hashlib.blake2b(data, digest_size=8).digest()
        assert key_of(data).to_bytes(8, "little") == expected


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1))))
def test_arrivals_take_any_time_and_key_in_sixteen_bytes(values: list[tuple[int, int]]) -> None:
    arrivals = Arrivals()
    for at_ns, key in values:
        arrivals.add(at_ns, key)
    assert list(zip(arrivals.times_ns, arrivals.keys, strict=True)) == values
    assert arrivals.times_ns.itemsize + arrivals.keys.itemsize == 16


def test_sent_keeps_the_payload_only_where_it_is_wanted() -> None:
    datagram = Datagram(b"abc", "retransmission", 5, 2, 9, 4, span=3)
    sent = Sent.of(datagram, 77, keep=False)
    assert (sent.at_ns, sent.kind, sent.frame, sent.media_bytes) == (77, "retransmission", 5, 2)
    assert (sent.token, sent.retransmission_of, sent.span) == (9, 4, 3)
    assert (sent.size, sent.key, sent.data) == (3, key_of(b"abc"), None)
    assert Sent.of(datagram, 77, keep=True).data == b"abc"
