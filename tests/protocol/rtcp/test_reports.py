from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.rtcp import RTCP

from testbed.errors import LocalProtocolError, RemoteProtocolError
from testbed.protocol.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SdesChunk,
    SenderReport,
    SourceDescription,
    pack_rtcp,
    parse_rtcp,
)

words = st.integers(0, 2**32 - 1)
blocks = st.builds(
    ReportBlock,
    ssrc=words,
    fraction_lost=st.integers(0, 255),
    cumulative_lost=st.integers(-(2**23), 2**23 - 1),
    highest_sequence=words,
    jitter=words,
    last_sr=words,
    delay_since_last_sr=words,
)
block_lists = st.lists(blocks, max_size=31).map(tuple)
sender_reports = st.builds(
    SenderReport, words, st.integers(0, 2**64 - 1), words, words, words, block_lists
)


def signed_24(value: int) -> int:
    return value - (1 << 24) if value >= 1 << 23 else value


@given(sender_reports)
def test_sender_reports_read_back_here_and_in_scapy(report: SenderReport) -> None:
    data = pack_rtcp([report])
    assert parse_rtcp(data) == [report]
    theirs = RTCP(data)
    assert (theirs.version, theirs.packet_type, theirs.count) == (2, 200, len(report.reports))
    assert 4 * (theirs.length + 1) == len(data)
    assert theirs.sourcesync == report.ssrc
    info = theirs.sender_info
    assert (info.ntp_timestamp, info.rtp_timestamp) == (report.ntp, report.rtp_timestamp)
    assert info.sender_packet_count == report.packet_count
    assert info.sender_octet_count == report.octet_count
    read = tuple(
        ReportBlock(
            b.sourcesync,
            b.fraction_lost,
            signed_24(b.cumulative_lost),
            b.highest_seqnum_recv,
            b.interarrival_jitter,
            b.last_SR_timestamp,
            b.delay_since_last_SR,
        )
        for b in theirs.report_blocks
    )
    assert read == report.reports


@given(words, block_lists)
def test_receiver_reports_read_back(ssrc: int, reports: tuple[ReportBlock, ...]) -> None:
    report = ReceiverReport(ssrc, reports)
    data = pack_rtcp([report])
    assert parse_rtcp(data) == [report]
    assert len(RTCP(data).report_blocks) == len(reports)


def test_a_receiver_report_by_hand() -> None:
    # RFC 3550 section 6.4.2: RC=1, length 7; 64/256 lost, -1 in total (one duplicate).
    data = bytes.fromhex("81c90007 00000001 00000002 40ffffff 00010005 0000000a a1b2c3d4 00008000")
    block = ReportBlock(2, 64, -1, 0x10005, 10, 0xA1B2C3D4, 0x8000)
    assert parse_rtcp(data) == [ReceiverReport(1, (block,))]
    assert pack_rtcp([ReceiverReport(1, (block,))]) == data


def test_a_profile_specific_extension_is_skipped() -> None:
    data = bytes.fromhex("80c90002 00000001 ffffffff")
    assert parse_rtcp(data) == [ReceiverReport(1)]


@given(
    st.lists(
        st.builds(
            SdesChunk,
            words,
            st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=255)), max_size=4).map(
                tuple
            ),
        ),
        max_size=31,
    )
)
def test_source_descriptions_read_back(chunks: list[SdesChunk]) -> None:
    description = SourceDescription(tuple(chunks))
    data = pack_rtcp([description])
    assert parse_rtcp(data) == [description]
    assert RTCP(data).packet_type == 202


def test_a_canonical_name_by_hand_and_in_scapy() -> None:
    # RFC 3550 section 6.5: the item list ends in at least one zero, then up to a word boundary.
    data = bytes.fromhex("81ca0003 00000007 01026162 00000000")
    description = SourceDescription.of_cname(7, "ab")
    assert pack_rtcp([description]) == data
    assert parse_rtcp(data) == [description]
    (chunk,) = RTCP(data).sdes_chunks
    assert chunk.sourcesync == 7
    assert (chunk.items[0].chunk_type, chunk.items[0].value) == (1, b"ab")


@pytest.mark.parametrize(
    "chunk",
    ["00000007 01ff6162", "00000007 010461", "00000007 01", "0000", "00000007 01026162"],
)
def test_broken_descriptions_are_refused(chunk: str) -> None:
    body = bytes.fromhex(chunk)
    body += b"\x01" * (-len(body) % 4)
    data = bytes((0x81, 202, 0, len(body) // 4)) + body
    with pytest.raises(RemoteProtocolError):
        parse_rtcp(data)


@given(st.lists(words, max_size=31), st.binary(max_size=255))
def test_goodbyes_read_back(sources: list[int], reason: bytes) -> None:
    goodbye = Goodbye(tuple(sources), reason)
    assert parse_rtcp(pack_rtcp([goodbye])) == [goodbye]


def test_a_goodbye_by_hand() -> None:
    data = bytes.fromhex("81cb0002 00000007 03627965")
    assert pack_rtcp([Goodbye((7,), b"bye")]) == data


@pytest.mark.parametrize("data", ["82cb0001 00000007", "81cb0002 00000007 04627965"])
def test_broken_goodbyes_are_refused(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rtcp(bytes.fromhex(data))


@pytest.mark.parametrize("data", ["80c80000", "80c90000", "81c90001 00000001"])
def test_short_reports_are_refused(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rtcp(bytes.fromhex(data))


BLOCK = ReportBlock(1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "message",
    [
        ReceiverReport(1, (BLOCK,) * 32),
        SenderReport(1, 0, 0, 0, 0, (BLOCK,) * 32),
        ReceiverReport(1, (ReportBlock(1, 256, 0, 0, 0),)),
        ReceiverReport(1, (ReportBlock(1, 0, 1 << 23, 0, 0),)),
        ReceiverReport(-1),
        SourceDescription((SdesChunk(1, ((0, b""),)),)),
        SourceDescription((SdesChunk(1, ((1, bytes(256)),)),)),
        SourceDescription((SdesChunk(1, ()),) * 32),
        Goodbye((1,) * 32),
        Goodbye((1,), bytes(256)),
    ],
)
def test_what_does_not_fit_is_our_mistake(
    message: SenderReport | ReceiverReport | SourceDescription | Goodbye,
) -> None:
    with pytest.raises(LocalProtocolError):
        pack_rtcp([message])
