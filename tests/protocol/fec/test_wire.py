import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.fec.wire import (
    MAX_PAYLOAD_BYTES,
    OVERHEAD_BYTES,
    Repair,
    SourcePacket,
    pack_repair,
    pack_source,
    parse_repair,
    parse_source,
)


def test_the_bytes_of_the_documented_layout() -> None:
    source = pack_source(b"\xaa\xbb", marker=True, timestamp=0x01020304)
    assert source.hex() == "8002" + "01020304" + "aabb"
    repair = Repair(1, 0x1FFFE, 5, 7, 9, source)
    assert pack_repair(repair).hex() == "0105" + "fffe" + "07" + "09" + source.hex()


@given(st.binary(max_size=100), st.booleans(), st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_a_source_symbol_survives_padding(
    payload: bytes, marker: bool, timestamp: int, padding: int
) -> None:
    symbol = pack_source(payload, marker=marker, timestamp=timestamp) + bytes(padding)
    assert parse_source(symbol, sequence=9) == SourcePacket(9, timestamp, marker, payload)


@settings(max_examples=500)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_symbol_or_an_error(data: bytes) -> None:
    try:
        packet = parse_source(data, sequence=1)
    except RemoteProtocolError:
        return
    again = pack_source(packet.payload, marker=packet.marker, timestamp=packet.timestamp)
    assert again == data[: len(again)]


@settings(max_examples=500)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_repair_or_an_error(data: bytes) -> None:
    try:
        repair = parse_repair(data)
    except RemoteProtocolError:
        return
    assert pack_repair(repair) == data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[: OVERHEAD_BYTES - 1], "cannot have 11 payload bytes"),
        (lambda b: b"\x02" + b[1:], "unknown erasure code 2"),
        (lambda b: b[:1] + b"\x00" + b[2:], "count 0"),
        (lambda b: b[:1] + b"\x81" + b[2:], "count 129"),
        (lambda b: b[:4] + b"\x7f" + b[5:], "row 127"),
        (lambda b: b[:5] + b"\x00" + b[6:], "row 0 of 0"),
    ],
)
def test_refused_repairs(change: object, message: str) -> None:
    good = pack_repair(Repair(0, 1, 5, 0, 1, bytes(8)))
    assert parse_repair(good)
    with pytest.raises(RemoteProtocolError, match=message):
        parse_repair(change(good))  # type: ignore[operator]


def test_what_our_own_side_may_not_pack() -> None:
    with pytest.raises(LocalProtocolError, match="cannot be protected"):
        pack_source(bytes(MAX_PAYLOAD_BYTES + 1), marker=False, timestamp=0)
    with pytest.raises(LocalProtocolError, match="count 129, row 0 of 1"):
        pack_repair(Repair(0, 0, 129, 0, 1, bytes(8)))
