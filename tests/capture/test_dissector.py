"""The Lua script in real tshark, against our own parsers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from morphe_core.nasc.packetizer import DESCRIPTOR_BYTES, parse_descriptor
from morphe_core.vgc.bitstream import HEADER_BYTES, Kind, read_unit
from testbed.capture.dissector import dissector_path
from testbed.capture.links import udp_in
from testbed.capture.reading import open_capture
from testbed.capture.tap import Tap
from testbed.protocol.rtcp import CongestionFeedback, GenericNack, parse_rtcp
from testbed.protocol.rtp import is_rtcp, pack_rtp, parse_rtp, parse_rtx
from tests.capture.conftest import Captured
from tests.capture.tshark import fields, needs_tshark, tshark

pytestmark = needs_tshark
#: Without the script: tshark takes 99 for RFC 2198's redundancy unless told otherwise.
READ_AS_RTP = ("-d", "udp.port==5004,rtp", "-d", "rtp.pt==99,data")
SCRIPT = ("-X", f"lua_script:{dissector_path()}")


def payloads(path: Path) -> list[bytes]:
    found = []
    with open_capture(path) as capture:
        for packet in capture:
            datagram = udp_in(packet.link_type, packet.data)
            assert datagram is not None
            found.append(datagram.payload)
    return found


def expected(data: bytes) -> list[str]:
    """What the script should say of a datagram: our parsers' word, as tshark prints it."""
    if is_rtcp(data):
        return [""] * 16
    packet = parse_rtp(data)
    payload, original = packet.payload, ""
    if packet.payload_type == 99:
        number, payload = parse_rtx(packet)
        original = str(number)
    descriptor = parse_descriptor(payload)
    said = [
        original, str(descriptor.position), str(descriptor.packets), str(descriptor.tokens),
        "1" if descriptor.starts else "0", "1" if descriptor.ends else "0",
    ]  # fmt: skip
    if not descriptor.whole:
        return said
    unit = read_unit(payload[DESCRIPTOR_BYTES:]).header
    tokens = unit.kind is Kind.TOKENS
    return [
        *said,
        str(int(unit.kind)), str(int(unit.part)), "1" if unit.intra else "0", str(unit.gop),
        str(unit.unit), str(unit.unit_count),
        f"{unit.i_quality},{unit.p_quality}" if tokens else "",
        f"{unit.scale},{unit.frames},{unit.backend}", str(unit.width), str(unit.height),
    ]  # fmt: skip


def test_the_fields_are_those_of_our_parsers(captured: Callable[[str], Captured]) -> None:
    path = captured("morphe").path
    unit = [f"morphe.unit.{name}" for name in (
        "kind", "part", "intra", "gop", "index", "count", "quality_i", "quality_p", "scale",
        "frames", "backend", "width", "height",
    )]  # fmt: skip
    rows = fields(
        path,
        "morphe_rtx.original_sequence",
        *(f"morphe.{name}" for name in ("position", "packets", "tokens", "starts", "ends")),
        *unit,
        options=SCRIPT,
    )
    wholes = repeats = 0
    for row, data in zip(rows, payloads(path), strict=True):
        wanted = expected(data)
        joined = [
            *row[:12], ",".join(row[12:14]) if row[12] else "",
            ",".join(row[14:17]) if row[14] else "", *row[17:],
        ]  # fmt: skip
        assert joined[: len(wanted)] == wanted
        wholes += len(wanted) == 16 and not is_rtcp(data)
        repeats += bool(wanted[0])
    assert wholes > 50
    assert repeats > 5


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_tshark_reads_rtp_and_rtcp_without_a_fault(
    captured: Callable[[str], Captured], transport: str
) -> None:
    path = captured(transport).path
    rows = fields(
        path, "rtp.seq", "rtp.timestamp", "rtp.ssrc", "rtp.p_type", "rtp.marker", "rtcp.pt",
        "ip.checksum.status", "udp.checksum.status", options=READ_AS_RTP,
    )  # fmt: skip
    for row, data in zip(rows, payloads(path), strict=True):
        assert row[6:] == ["1", "1"]
        if is_rtcp(data):
            kinds = [str(message.packet_type) for message in parse_rtcp(data)]
            assert row[:6] == ["", "", "", "", "", ",".join(kinds)]
        else:
            packet = parse_rtp(data)
            assert row[:6] == [
                str(packet.sequence), str(packet.timestamp), f"0x{packet.ssrc:08x}",
                str(packet.payload_type), "1" if packet.marker else "0", "",
            ]  # fmt: skip
    faults = tshark(path, *SCRIPT, "-Y", "_ws.malformed || _ws.expert.severity >= 8388608")
    assert faults == ""


def test_tshark_reads_our_feedback(captured: Callable[[str], Captured]) -> None:
    path = captured("h264").path
    rows = fields(path, "rtcp.rtpfb.nack_pid", "rtcp.rtpfb.fmt", options=SCRIPT)
    nacks = reports = 0
    for row, data in zip(rows, payloads(path), strict=True):
        messages = parse_rtcp(data) if is_rtcp(data) else []
        formats = [m.format for m in messages if isinstance(m, GenericNack | CongestionFeedback)]
        assert row[1] == ",".join(map(str, formats))
        for message in messages:
            if isinstance(message, GenericNack):
                assert row[0].split(",")[0] == str(message.lost[0])
                nacks += 1
            reports += isinstance(message, CongestionFeedback)
    assert nacks > 5
    assert reports > 20


def test_other_payload_types_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with Tap(path) as tap:
        for number, payload_type in enumerate((98, 112, 113)):
            payload = bytes.fromhex("0000000f") + b"\x01not a unit"
            payload = b"\x01\x02" + payload if payload_type == 113 else payload
            tap.sent("down", pack_rtp(
                payload, payload_type=payload_type, marker=False, sequence=number, timestamp=0,
                ssrc=1,
            ), now_ns=number)  # fmt: skip
    options = (*SCRIPT, "-o", "morphe.media_pt:112", "-o", "morphe.rtx_pt:113")
    rows = fields(path, "morphe.packets", "morphe_rtx.original_sequence", options=options)
    assert rows == [["", ""], ["1", ""], ["1", "258"]]


BROKEN = [
    (b"", ""),
    (b"\0\0\0\x03", "morphe.too_short"),
    (b"\x40\0\0\x03unit", "morphe.contradiction"),  # packet 1 of 1
    (b"\0\0\0\x0funit", "morphe.contradiction"),  # 4 of 1 with tokens
]


@pytest.mark.parametrize(("payload", "fault"), BROKEN)
def test_damaged_descriptors_are_faults_and_no_lua_errors(
    tmp_path: Path, payload: bytes, fault: str
) -> None:
    path = tmp_path / "c.pcapng"
    with Tap(path) as tap:
        tap.sent("down", pack_rtp(
            payload, payload_type=98, marker=False, sequence=0, timestamp=0, ssrc=1
        ), now_ns=0)  # fmt: skip
    text = tshark(path, *SCRIPT, "-V")
    assert "Lua Error" not in text
    if fault:
        assert tshark(path, *SCRIPT, "-Y", fault)


def test_a_header_fits_the_script() -> None:
    text = dissector_path().read_text(encoding="utf-8")
    assert f"DESCRIPTOR_BYTES = {DESCRIPTOR_BYTES}\n" in text
    assert f"UNIT_HEADER_BYTES = {HEADER_BYTES}\n" in text
