from __future__ import annotations

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.rtp import RTP
from scapy.utils import PcapReader, PcapWriter

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.rtp import (
    RtpPacket,
    frame_of_timestamp,
    is_rtcp,
    pack_padding,
    pack_rtp,
    pack_rtx,
    parse_rtp,
    parse_rtx,
    timestamp_of_frame,
)

#: RFC 3550 section 5.1, written out by hand: V=2 P=1 X=1 CC=2, M=1 PT=96, sequence 0x1234, ...
FULL = bytes.fromhex(
    "b2e01234 89abcdef deadbeef"  # fixed header
    "00000001 00000002"  # two contributing sources
    "bede0001 10aa0000"  # extension: profile 0xBEDE, one word
    "68656c6c6f 000003"  # "hello", three bytes of padding
)

header_fields = {
    "payload_type": st.integers(0, 127),
    "marker": st.booleans(),
    "sequence": st.integers(0, 65535),
    "timestamp": st.integers(0, 2**32 - 1),
    "ssrc": st.integers(0, 2**32 - 1),
    "payload": st.binary(max_size=100),
}


def test_every_optional_part_is_read() -> None:
    assert parse_rtp(FULL) == RtpPacket(
        payload_type=96,
        marker=True,
        sequence=0x1234,
        timestamp=0x89ABCDEF,
        ssrc=0xDEADBEEF,
        payload=b"hello",
        csrc=(1, 2),
        extension_profile=0xBEDE,
        extension=bytes.fromhex("10aa0000"),
        padding_bytes=3,
    )


@pytest.mark.parametrize("length", range(len(FULL)))
def test_a_cut_packet_is_refused(length: int) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rtp(FULL[:length])


@pytest.mark.parametrize("padding", [0, 9, 255])
def test_impossible_padding_is_refused(padding: int) -> None:
    with pytest.raises(RemoteProtocolError, match="padding"):
        parse_rtp(FULL[:-1] + bytes((padding,)))


@pytest.mark.parametrize("first", [0x00, 0x40, 0xC0])
def test_other_versions_are_refused(first: int) -> None:
    with pytest.raises(RemoteProtocolError, match="version"):
        parse_rtp(bytes((first,)) + FULL[1:])


@given(**header_fields)
def test_what_we_write_scapy_reads(
    payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes
) -> None:
    data = pack_rtp(
        payload,
        payload_type=payload_type,
        marker=marker,
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
    )
    theirs = RTP(data)
    assert (theirs.version, theirs.padding, theirs.extension, theirs.numsync) == (2, 0, 0, 0)
    assert theirs.payload_type == payload_type
    assert theirs.marker == marker
    assert theirs.sequence == sequence
    assert theirs.timestamp == timestamp
    assert theirs.sourcesync == ssrc
    assert bytes(theirs.payload) == payload
    assert parse_rtp(data) == RtpPacket(payload_type, marker, sequence, timestamp, ssrc, payload)


@given(csrc=st.lists(st.integers(0, 2**32 - 1), max_size=15), **header_fields)
def test_what_scapy_writes_we_read(
    csrc: list[int],
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
) -> None:
    header = RTP(
        payload_type=payload_type,
        marker=int(marker),
        sequence=sequence,
        timestamp=timestamp,
        sourcesync=ssrc,
        sync=csrc,
    )
    packet = parse_rtp(bytes(header) + payload)
    assert packet == RtpPacket(
        payload_type, marker, sequence, timestamp, ssrc, payload, csrc=tuple(csrc)
    )


def test_extended_numbers_are_cut_to_their_width() -> None:
    data = pack_rtp(
        b"", payload_type=96, marker=False, sequence=65536 + 7, timestamp=2**32 + 9, ssrc=1
    )
    packet = parse_rtp(data)
    assert (packet.sequence, packet.timestamp) == (7, 9)


@pytest.mark.parametrize(("payload_type", "ssrc"), [(256, 1), (-1, 1), (96, -1), (96, 2**32)])
def test_a_field_out_of_range_is_our_mistake(payload_type: int, ssrc: int) -> None:
    with pytest.raises(LocalProtocolError):
        pack_rtp(b"", payload_type=payload_type, marker=False, sequence=0, timestamp=0, ssrc=ssrc)


def test_a_retransmission_is_laid_out_as_rfc_4588_says() -> None:
    data = pack_rtx(
        b"payload",
        payload_type=97,
        marker=True,
        sequence=1,
        timestamp=3000,
        ssrc=2,
        original_sequence=0x1_FFFE,
    )
    assert data == bytes.fromhex("80e10001 00000bb8 00000002 fffe") + b"payload"
    assert parse_rtx(parse_rtp(data)) == (0xFFFE, b"payload")


@pytest.mark.parametrize("payload", [b"", b"\x01"])
def test_a_retransmission_without_a_number_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rtx(RtpPacket(97, False, 0, 0, 0, payload))


@pytest.mark.parametrize(
    ("second", "answer"), [(191, False), (192, True), (200, True), (223, True), (224, False)]
)
def test_rtcp_is_told_from_rtp_by_its_second_byte(second: int, answer: bool) -> None:
    assert is_rtcp(bytes((0x80, second))) is answer


def test_a_short_datagram_is_not_rtcp() -> None:
    assert not is_rtcp(b"\x80")


@given(st.binary(max_size=200))
@example(FULL)
@example(b"\x9f" + bytes(80))
def test_any_bytes_give_a_packet_or_a_remote_error(data: bytes) -> None:
    try:
        packet = parse_rtp(data)
    except RemoteProtocolError:
        return
    extension = 4 + len(packet.extension) if packet.extension_profile >= 0 else 0
    parts = 12 + 4 * len(packet.csrc) + extension + len(packet.payload) + packet.padding_bytes
    assert parts == len(data)


def test_a_capture_file_reads_back_with_another_tool() -> None:
    written = io.BytesIO()
    writer = PcapWriter(written, linktype=101)
    for sequence in range(3):
        data = pack_rtp(
            bytes((sequence,)) * 5,
            payload_type=96,
            marker=sequence == 2,
            sequence=sequence,
            timestamp=3000,
            ssrc=0x1234,
        )
        writer.write(IP(src="127.0.0.1", dst="127.0.0.1") / UDP(sport=5004, dport=5004) / data)
    read = PcapReader(io.BytesIO(written.getvalue()))
    packets = [RTP(bytes(packet[UDP].payload)) for packet in read]
    assert [(p.sequence, p.marker, bytes(p.payload)) for p in packets] == [
        (0, 0, b"\0" * 5),
        (1, 0, b"\1" * 5),
        (2, 1, b"\2" * 5),
    ]


@pytest.mark.parametrize("fps", [24.0, 25.0, 30000 / 1001, 30.0, 60.0, 120.0])
def test_frame_numbers_survive_the_rtp_clock(fps: float) -> None:
    for index in [0, 1, 2, 29, 30, 1799, 100_000]:
        assert frame_of_timestamp(timestamp_of_frame(index, fps=fps), fps=fps) == index


def test_thirty_frames_a_second_are_3000_ticks_apart() -> None:
    assert [timestamp_of_frame(i, fps=30) for i in range(4)] == [0, 3000, 6000, 9000]


def test_packets_describe_themselves() -> None:
    assert repr(RtpPacket(96, True, 1, 2, 3, b"abc")) == (
        "RtpPacket(payload_type=96, marker=True, sequence=1, timestamp=2, ssrc=0x3, "
        "payload=3 bytes)"
    )
    assert RtpPacket(96, True, 1, 2, 3, b"") != "something else"


@pytest.mark.parametrize("size", [1, 2, 255])
def test_padding_is_read_as_padding(size: int) -> None:
    data = pack_padding(size, payload_type=97, sequence=70_000, timestamp=5, ssrc=8)
    assert len(data) == 12 + size
    packet = parse_rtp(data)
    assert (packet.payload, packet.padding_bytes) == (b"", size)
    assert (packet.payload_type, packet.sequence, packet.timestamp, packet.ssrc) == (97, 4464, 5, 8)
    assert not packet.marker


@pytest.mark.parametrize(
    "options",
    [{"padding_bytes": 0}, {"padding_bytes": 256}, {"payload_type": 300}, {"ssrc": -1}],
    ids=str,
)
def test_impossible_padding_is_our_mistake(options: dict[str, int]) -> None:
    given_ = {"padding_bytes": 9, "payload_type": 97, "sequence": 0, "timestamp": 0, "ssrc": 1}
    values = {**given_, **options}
    with pytest.raises(LocalProtocolError):
        pack_padding(values.pop("padding_bytes"), **values)
