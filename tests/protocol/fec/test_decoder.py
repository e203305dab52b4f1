"""The decoder against nonsense, reordering and long gaps."""

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from streams import stream

from testbed.errors import RemoteProtocolError
from testbed.protocol.fec.codes import FEC_CODES
from testbed.protocol.fec.decoder import MAX_EQUATIONS, MAX_MEMORY, ErasureDecoder
from testbed.protocol.fec.redundancy import FixedShare
from testbed.protocol.fec.wire import Repair, SourcePacket, pack_repair, parse_repair


def feed(decoder: ErasureDecoder, item: SourcePacket | Repair) -> list[SourcePacket]:
    if isinstance(item, Repair):
        return decoder.on_repair(item)
    return decoder.on_source(item.sequence, item.timestamp, item.marker, item.payload)


@pytest.mark.parametrize("code", FEC_CODES.names())
@pytest.mark.parametrize("seed", range(8))
def test_order_does_not_matter_to_what_is_recovered(code: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = stream(code, FixedShare(0.5), [6] * 6, rng=rng)
    items: list[SourcePacket | Repair] = []
    for frame in frames:
        items += [*frame.packets, *frame.repairs]
    kept = [item for item in items if rng.random() > 0.25]
    outcomes = []
    for order in (range(len(kept)), rng.permutation(len(kept))):
        decoder = ErasureDecoder()
        there = {}
        for place in order:
            item = kept[int(place)]
            if isinstance(item, SourcePacket):
                there[item.sequence] = item
            there |= {p.sequence: p for p in feed(decoder, item)}
        outcomes.append(there)
        assert decoder.contradictions == 0
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) > sum(isinstance(item, SourcePacket) for item in kept)


def test_a_retransmission_completes_a_block() -> None:
    frames = stream("rs-frame", FixedShare(0.25), [8], rng=np.random.default_rng(1))
    decoder = ErasureDecoder()
    for packet in frames[0].packets[3:]:
        feed(decoder, packet)
    for repair in frames[0].repairs:
        assert feed(decoder, repair) == []
    assert feed(decoder, frames[0].packets[1]) == [frames[0].packets[0], frames[0].packets[2]]


def test_a_packet_is_handed_out_once() -> None:
    frames = stream("rs-frame", FixedShare(0.5), [4], rng=np.random.default_rng(1))
    decoder = ErasureDecoder()
    for packet in frames[0].packets[1:]:
        feed(decoder, packet)
    assert feed(decoder, frames[0].repairs[0]) == [frames[0].packets[0]]
    assert feed(decoder, frames[0].repairs[1]) == []
    assert feed(decoder, frames[0].packets[0]) == []


def test_repairs_that_contradict_the_packets_are_forgotten() -> None:
    frames = stream("rs-frame", FixedShare(0.5), [4], rng=np.random.default_rng(1))
    decoder = ErasureDecoder()
    for packet in frames[0].packets[1:]:
        feed(decoder, packet)
    good = frames[0].repairs[0]
    lie = Repair(good.code, good.base, good.count, good.row, 1, good.symbol[:8])
    assert feed(decoder, lie) == []
    assert decoder.contradictions == 1
    assert feed(decoder, good) == [frames[0].packets[0]]


def test_repairs_of_packets_far_away() -> None:
    decoder = ErasureDecoder()
    with pytest.raises(RemoteProtocolError, match=r"packets 5000\.\.5003"):
        decoder.on_repair(Repair(0, 5000, 4, 0, 1, bytes(8)))
    decoder.on_source(5000, 0, False, b"x")
    assert decoder.on_repair(Repair(0, 3, 4, 0, 1, bytes(8))) == []


def test_memory_is_bounded() -> None:
    decoder = ErasureDecoder()
    rng = np.random.default_rng(1)
    for start in (0, 500, 30_000, 31_000, 90_000):
        for number in range(start, start + 400, 2):
            decoder.on_source(number, 0, False, b"abc")
            decoder.on_repair(
                Repair(1, max(0, number - 30), 60, int(rng.integers(127)), 1, rng.bytes(20))
            )
        assert len(decoder._symbols) <= MAX_MEMORY + 1
        assert len(decoder._equations) <= MAX_EQUATIONS
    for number in range(91_000, 91_000 + 3 * MAX_MEMORY):
        decoder.on_source(number, 0, False, b"abc")
    assert MAX_MEMORY / 2 < len(decoder._symbols) <= MAX_MEMORY + 1


ITEMS = st.one_of(
    st.tuples(st.integers(0, 300), st.binary(max_size=20)),
    st.binary(min_size=12, max_size=30),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ITEMS, max_size=40))
def test_nonsense_gives_packets_or_a_remote_error(items: list[tuple[int, bytes] | bytes]) -> None:
    decoder = ErasureDecoder()
    for item in items:
        if isinstance(item, tuple):
            decoder.on_source(item[0], 0, False, item[1])
            continue
        with suppress(RemoteProtocolError):
            decoder.on_repair(parse_repair(bytes([item[0] & 1, item[1] & 31, 0]) + item[3:]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_mutated_repairs_never_crash(data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(FEC_CODES.names()))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    frames = stream(code, FixedShare(1.0), [4] * 5, rng=rng)
    decoder = ErasureDecoder()
    for frame in frames:
        for packet in frame.packets:
            if rng.random() < 0.6:
                feed(decoder, packet)
        for repair in frame.repairs:
            raw = bytearray(pack_repair(repair))
            if data.draw(st.booleans()):
                raw[int(rng.integers(len(raw)))] ^= int(rng.integers(1, 256))
            with suppress(RemoteProtocolError):
                decoder.on_repair(parse_repair(bytes(raw)))
