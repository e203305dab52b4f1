from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.rtcp import RTCP
from scapy.layers.inet import IP, UDP
from scapy.layers.rtp import RTP
from scapy.utils import rdpcap

from morphe_core.nasc.packetizer import Descriptor, pack_descriptor, parse_descriptor
from testbed.capture.scapy import (
    Fir,
    FirEntry,
    MorpheDescriptor,
    Nack,
    NackPair,
    OtherRtcp,
    PacketMetric,
    Pli,
    Remb,
    RepairHeader,
    ReportedSource,
    Rfc8888,
    RtcpBye,
    RtcpCompound,
    Rtx,
)
from testbed.protocol import rtcp as ours
from testbed.protocol.fec.wire import Repair, pack_repair
from testbed.protocol.rtp import is_rtcp, pack_rtp, parse_rtp, parse_rtx
from tests.capture.conftest import Captured


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_a_sessions_packets_read_alike_here_and_in_scapy(
    captured: Callable[[str], Captured], transport: str
) -> None:
    seen = set()
    packets = rdpcap(str(captured(transport).path))
    for packet in packets:
        data = bytes(packet[UDP].payload)
        # Building anew from the fields alone gives the same bytes.
        copy = packet.copy()
        copy.clear_cache()
        assert bytes(copy[UDP].payload) == data
        if is_rtcp(data):
            messages = packet[RtcpCompound].messages
            parsed = ours.parse_rtcp(data)
            assert len(messages) == len(parsed)
            for theirs, mine in zip(messages, parsed, strict=True):
                check_rtcp(theirs, mine)
                seen.add(type(mine).__name__)
        else:
            seen |= check_rtp(packet[RTP], data)
    wanted = {"SenderReport", "ReceiverReport", "GenericNack", "CongestionFeedback", "rtx"}
    assert seen >= wanted | ({"morphe", "Goodbye"} if transport == "morphe" else set())


def check_rtp(theirs: RTP, data: bytes) -> set[str]:
    mine = parse_rtp(data)
    assert (theirs.payload_type, theirs.marker, theirs.sequence, theirs.timestamp) == (
        mine.payload_type, mine.marker, mine.sequence, mine.timestamp,
    )  # fmt: skip
    assert theirs.sourcesync == mine.ssrc
    found, payload = set(), mine.payload
    if mine.payload_type in (97, 99):
        original, payload = parse_rtx(mine)
        assert theirs[Rtx].original_sequence == original
        found.add("rtx")
    if mine.payload_type in (98, 99):
        layer, descriptor = theirs[MorpheDescriptor], parse_descriptor(payload)
        assert descriptor == Descriptor(
            layer.position, layer.packets, layer.tokens, bool(layer.starts), bool(layer.ends)
        )
        assert bytes(layer.payload) == payload[4:]
        found.add("morphe")
    else:
        assert MorpheDescriptor not in theirs
    return found


def check_rtcp(theirs: object, mine: ours.RtcpMessage) -> None:
    if isinstance(mine, ours.SenderReport | ours.ReceiverReport | ours.SourceDescription):
        assert isinstance(theirs, RTCP)
    elif isinstance(mine, ours.GenericNack):
        assert isinstance(theirs, Nack)
        assert (theirs.sender_ssrc, theirs.media_ssrc) == (mine.sender_ssrc, mine.media_ssrc)
        assert [pair.pid for pair in theirs.lost] == [
            n for n in mine.lost if n in {pair.pid for pair in theirs.lost}
        ]
        assert sum(1 + pair.blp.bit_count() for pair in theirs.lost) == len(mine.lost)
    elif isinstance(mine, ours.CongestionFeedback):
        assert isinstance(theirs, Rfc8888)
        assert theirs.report_timestamp == mine.report_timestamp
        for source, block in zip(theirs.sources, mine.blocks, strict=True):
            assert (source.ssrc, source.begin_seq) == (block.ssrc, block.begin_sequence)
            assert [
                m.received << 15 | m.ecn << 13 | m.arrival_offset for m in source.metrics
            ] == list(block.metrics)
    elif isinstance(mine, ours.Goodbye):
        assert isinstance(theirs, RtcpBye)
        assert tuple(theirs.sources) == mine.sources
    else:
        assert isinstance(mine, ours.PictureLossIndication)
        assert isinstance(theirs, Pli)
        assert theirs.media_ssrc == mine.media_ssrc


BUILT = [
    (RtcpBye(sources=[7, 8]), ours.Goodbye((7, 8))),
    (
        Nack(sender_ssrc=1, media_ssrc=2, lost=[NackPair(pid=5, blp=0b101), NackPair(pid=99)]),
        ours.GenericNack(1, 2, (5, 6, 8, 99)),
    ),
    (Pli(sender_ssrc=1, media_ssrc=2), ours.PictureLossIndication(1, 2)),
    (
        Fir(sender_ssrc=1, requests=[FirEntry(ssrc=2, number=3)]),
        ours.FullIntraRequest(1, ((2, 3),)),
    ),
    (
        Remb(sender_ssrc=1, exponent=3, mantissa=200_000, ssrcs=[2, 3]),
        ours.Remb(1, 1_600_000, (2, 3)),
    ),
    (
        Rfc8888(
            sender_ssrc=1,
            report_timestamp=77,
            sources=[
                ReportedSource(
                    ssrc=2,
                    begin_seq=65_535,
                    metrics=[
                        PacketMetric(received=1, ecn=2, arrival_offset=300),
                        PacketMetric(),
                        PacketMetric(received=1),
                    ],
                ),
                ReportedSource(ssrc=3, begin_seq=4, metrics=[PacketMetric(received=1)] * 2),
            ],
        ),
        ours.CongestionFeedback(
            1,
            77,
            (
                ours.FeedbackBlock(2, 65_535, (ours.metric_word(age_1024=300, ecn=2), 0, 0x8000)),
                ours.FeedbackBlock(3, 4, (0x8000, 0x8000)),
            ),
        ),
    ),
    (OtherRtcp(packet_type=207, count=1, body=b"12345678"), ours.UnknownRtcp(207, 1, b"12345678")),
]


@pytest.mark.parametrize(("layer", "message"), BUILT, ids=[type(m).__name__ for _, m in BUILT])
def test_what_scapy_builds_we_read_and_the_other_way_round(
    layer: object, message: ours.RtcpMessage
) -> None:
    assert ours.parse_rtcp(bytes(layer)) == [message]  # type: ignore[call-overload]
    packed = ours.pack_rtcp([message, message])
    (first, second) = RtcpCompound(packed).messages
    for read in (first, second):
        assert type(read) is type(layer)
        assert bytes(read) == packed[: len(packed) // 2]


@given(
    st.integers(1, 1024).flatmap(
        lambda packets: st.tuples(
            st.integers(0, packets - 1), st.just(packets), st.integers(1, packets)
        )
    ),
    st.booleans(),
    st.booleans(),
)
def test_descriptors_are_the_packetizers(
    counts: tuple[int, int, int], starts: bool, ends: bool
) -> None:
    mine = pack_descriptor(Descriptor(*counts, starts, ends))
    position, packets, tokens = counts
    assert mine == bytes(
        MorpheDescriptor(
            position=position, packets=packets, tokens=tokens, starts=starts, ends=ends
        )
    )
    layer = MorpheDescriptor(mine + b"unit")
    assert (layer.position, layer.packets, layer.tokens) == counts
    assert (layer.starts, layer.ends) == (starts, ends)
    assert bytes(layer.payload) == b"unit"


def test_padding_that_fills_a_probe_is_no_retransmission() -> None:
    from testbed.protocol.rtp import pack_padding

    data = pack_padding(20, payload_type=99, sequence=1, timestamp=2, ssrc=3)
    packet = IP(bytes(IP() / UDP(sport=50_004, dport=5004) / data))
    assert packet[RTP].padding == 1
    assert Rtx not in packet


@given(
    st.sampled_from([b"", b"\x80\xc8\x00\x06", b"\x8b\xcd\x00\x05", b"\x8f\xce\x00\x05"]),
    st.binary(max_size=200),
)
def test_any_bytes_are_taken(start: bytes, tail: bytes) -> None:
    data = start + tail
    packet = UDP(bytes(UDP(sport=50_004, dport=5004) / data))
    if RtcpCompound in packet:
        assert bytes(packet[RtcpCompound]) == data
    assert len(packet) == 8 + len(data)


@given(
    st.integers(0, 1),
    st.integers(1, 128),
    st.integers(0, 0xFFFF),
    st.integers(0, 126),
    st.integers(1, 127),
    st.binary(min_size=6, max_size=20),
)
def test_repair_packets_read_alike(
    code: int, count: int, base: int, row: int, rows: int, symbol: bytes
) -> None:
    payload = pack_repair(Repair(code, base, count, row, rows, symbol))
    data = pack_rtp(payload, payload_type=100, marker=True, sequence=1, timestamp=2, ssrc=3)
    layer = RTP(data)[RepairHeader]
    assert (layer.code, layer.count, layer.base) == (code, count, base)
    assert (layer.row, layer.rows, bytes(layer.payload)) == (row, rows, symbol)
