"""GoPs out of whatever the network made of their packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.nasc.packetizer import Descriptor, pack_descriptor
from morphe_core.nasc.reassembly import Reassembly
from morphe_core.vgc.bitstream import Kind
from tests.morphe_core.nasc.unitmaking import gop_packets, gop_units, unit

Arrival = tuple[int, int, bytes]
GOPS = 4
TOKENS, RESIDUALS = 5, 2


def stream(*, size: int = 50, most_bytes: int = 1440) -> list[Arrival]:
    """GoP, sequence number and payload of each packet of a few GoPs."""
    made: list[Arrival] = []
    for gop in range(GOPS):
        packets = gop_packets(
            gop, tokens=TOKENS, residuals=RESIDUALS, size=size, most_bytes=most_bytes
        )
        made += [(gop, len(made) + n, packet.payload) for n, packet in enumerate(packets)]
    return made


def push_all(reassembly: Reassembly, arrivals: list[Arrival]) -> None:
    for arrival in arrivals:
        reassembly.push(*arrival)


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Arrival], set[int]]:
    """Packets as they arrive, and the sequence numbers of those that do."""
    sent = stream(
        size=draw(st.sampled_from([50, 900])), most_bytes=draw(st.sampled_from([400, 1440]))
    )
    kept = [packet for packet in sent if not draw(st.booleans()) or draw(st.booleans())]
    twice = draw(st.lists(st.sampled_from(kept), max_size=6)) if kept else []
    return draw(st.permutations(kept + twice)), {sequence for _, sequence, _ in kept}


@given(networks())
def test_loss_duplication_and_reordering(network: tuple[list[Arrival], set[int]]) -> None:
    arrivals, came = network
    sent = list(stream_like(arrivals))
    reassembly = Reassembly()
    push_all(reassembly, arrivals)
    assert reassembly.duplicates == len(arrivals) - len(came)
    assert reassembly.refused == 0
    for gop in range(GOPS):
        mine = [packet for packet in sent if packet[0] == gop]
        partial = reassembly.get(gop)
        known = [sequence for _, sequence, _ in mine if sequence in came]
        if partial is not None:
            tokens = range(mine[0][1], mine[0][1] + partial.tokens)
            assert partial.missing_tokens() == [s for s in tokens if s not in came]
            assert partial.complete is (len(known) == len(mine))
        else:
            assert not known
        expected = whole_units(mine, came)
        taken = reassembly.take()
        if any(data[0] >> 3 & 1 == 0 for data in expected):
            assert list(taken.units) == expected
            assert taken.header is not None
            assert taken.header.frames == 9
        else:
            assert taken.units == ()  # residuals alone are no picture
    assert reassembly._bytes == 0


def stream_like(arrivals: list[Arrival]) -> list[Arrival]:
    """The whole stream that the arrivals are from."""
    longest = max((len(payload) for _, _, payload in arrivals), default=0)
    for size, most_bytes in ((50, 400), (50, 1440), (900, 400), (900, 1440)):
        sent = stream(size=size, most_bytes=most_bytes)
        if set(arrivals) <= set(sent) and (not arrivals or longest <= most_bytes):
            return sent
    raise AssertionError("not of any stream")


def whole_units(mine: list[Arrival], came: set[int]) -> list[bytes]:
    """Units of which every piece came."""
    units: list[bytes] = []
    piece, whole = b"", True
    for _, sequence, payload in mine:
        piece, whole = piece + payload[4:], whole and sequence in came
        if payload[3] & 1:  # a unit ends
            units += [piece] if whole else []
            piece, whole = b"", True
    return units


@given(st.lists(st.tuples(st.integers(-3, 40), st.integers(-5, 80), st.binary(max_size=60))))
def test_garbage_is_counted_and_never_raises(garbage: list[Arrival]) -> None:
    reassembly = Reassembly()
    push_all(reassembly, garbage)
    assert reassembly.refused + reassembly.stale + reassembly.duplicates <= len(garbage)
    for _ in range(45):
        assert reassembly.take().units == ()


@given(st.data())
def test_garbage_between_good_packets_changes_nothing_that_was_kept(data: st.DataObject) -> None:
    sent = stream()
    hurt = data.draw(st.lists(st.sampled_from(sent), max_size=10))
    reassembly = Reassembly()
    for gop, sequence, payload in sent:
        reassembly.push(gop, sequence, payload)
        for other, number, good in hurt:
            at = data.draw(st.integers(4, len(good) - 1))
            bad = good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]
            assert reassembly.push(other, number, bad) is None
    for gop in range(GOPS):
        assert list(reassembly.take().units) == gop_units(gop, tokens=TOKENS, residuals=RESIDUALS)


def test_truncated_packets_are_refused() -> None:
    payload = stream()[0][2]
    reassembly = Reassembly()
    for length in range(len(payload)):
        assert reassembly.push(0, 0, payload[:length]) is None
    assert reassembly.refused == len(payload)


def test_packets_that_contradict_the_first_are_refused() -> None:
    reassembly = Reassembly()
    first, second = gop_packets(0, tokens=2)
    assert reassembly.push(0, 10, first.payload) is not None
    assert reassembly.push(0, 12, second.payload) is None  # it must be number 11
    more = pack_descriptor(Descriptor(1, 3, 2, starts=True, ends=True)) + second.payload[4:]
    assert reassembly.push(0, 11, more) is None
    assert reassembly.push(0, 11, second.payload) is not None
    assert reassembly.refused == 2


def test_numbers_of_two_gops_do_not_overlap() -> None:
    reassembly = Reassembly()
    push_all(reassembly, [(1, 10 + n, p.payload) for n, p in enumerate(gop_packets(1))])
    (later, *_), (earlier, *_) = gop_packets(2), gop_packets(0)
    assert reassembly.push(2, 15, later.payload) is None
    assert reassembly.push(0, 5, earlier.payload) is None
    assert reassembly.push(0, 4, earlier.payload) is not None
    assert reassembly.push(2, 16, later.payload) is not None


def test_a_unit_of_another_gop_or_kind_is_refused() -> None:
    reassembly = Reassembly()
    (packet,) = gop_packets(5, tokens=1)
    assert reassembly.push(4, 0, packet.payload) is None
    tokens = pack_descriptor(Descriptor(0, 1, 1, starts=True, ends=True))
    assert reassembly.push(5, 0, tokens + unit(5, 0, 1, kind=Kind.RESIDUAL)) is None
    assert reassembly.push(5, 0, packet.payload) is not None


def test_indices_of_units_wrap() -> None:
    reassembly = Reassembly()
    reassembly.next_gop = 65_535
    for gop in (65_535, 65_536):
        for n, packet in enumerate(gop_packets(gop)):
            assert reassembly.push(gop, gop * 6 + n, packet.payload) is not None
    assert len(reassembly.take().units) == 6
    assert len(reassembly.take().units) == 6


def test_what_comes_after_its_gop_was_taken_is_stale() -> None:
    reassembly = Reassembly()
    packets = gop_packets(0)
    reassembly.push(0, 0, packets[0].payload)
    assert not reassembly.take().complete
    assert reassembly.push(0, 1, packets[1].payload) is None
    assert reassembly.stale == 1


def test_the_window_and_the_memory_are_bounded() -> None:
    reassembly = Reassembly(window_gops=4, max_bytes=1000)
    (small,) = gop_packets(4, tokens=1)
    assert reassembly.push(4, 100, small.payload) is None
    for n, packet in enumerate(gop_packets(0, tokens=15, size=200)):
        reassembly.push(0, n, packet.payload)
    assert reassembly._bytes <= 1000
    assert reassembly.refused > 10
    reassembly.take()
    assert reassembly.push(4, 100, small.payload) is not None


@pytest.mark.parametrize("missing", [0, 3, 5])
def test_complete_is_about_tokens(missing: int) -> None:
    reassembly = Reassembly()
    for n, packet in enumerate(gop_packets(0, tokens=4, residuals=2)):
        if n != missing:
            reassembly.push(0, n, packet.payload)
    assert reassembly.take().complete is (missing >= 4)


def test_the_next_gop_of_which_something_came() -> None:
    reassembly = Reassembly()
    assert reassembly.first_after(0) is None
    reassembly.push(3, 40, gop_packets(3)[2].payload)
    assert reassembly.first_after(0) == 3
    assert reassembly.first_after(3) is None
    known = reassembly.get(3)
    assert known is not None
    assert (known.first_sequence, known.last_position) == (38, 2)
