import dataclasses
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet
from scapy.utils import PcapWriter

from testbed.capture.inspect import inspect_capture
from testbed.capture.links import UdpDatagram
from testbed.capture.pcapng import file_header, packet_block
from testbed.capture.streams import Flow
from testbed.errors import InputError
from testbed.protocol import rtcp
from testbed.protocol.rtp import pack_rtp
from tests.capture.conftest import Captured
from tests.capture.test_dissector import READ_AS_RTP
from tests.capture.tshark import needs_tshark, tshark


def ethernet(packets: list[tuple[float, Packet]], path: Path) -> Path:
    """A capture as from a network card."""
    with PcapWriter(str(path), linktype=1, nano=True) as writer:
        for time_s, packet in packets:
            packet.time = time_s
            writer.write(packet)
    return path


def rtp(sequence: int, *, payload_type: int = 111, ssrc: int = 5, timestamp: int = 0) -> bytes:
    return pack_rtp(
        bytes(100), payload_type=payload_type, marker=False, sequence=sequence,
        timestamp=timestamp, ssrc=ssrc,
    )  # fmt: skip


def udp(data: bytes | Packet, *, port: int = 6000) -> Packet:
    return Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=port, dport=7000) / data


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_a_sessions_capture_agrees_with_its_table(
    captured: Callable[[str], Captured], transport: str
) -> None:
    session = captured(transport)
    found = inspect_capture(session.path).as_json()
    flows = {(flow["interface"], flow["destination"]): flow for flow in found["flows"]}
    assert list(flows) == [
        ("sender", "198.51.100.1:5004"), ("receiver", "198.51.100.1:5004"),
        ("receiver", "192.0.2.1:50004"), ("sender", "192.0.2.1:50004"),
    ]  # fmt: skip
    rows = [row for row in session.packets() if row["direction"] == "down"]
    came = [row for row in rows if row["arrival_ns"] is not None]
    sent_flow = flows["sender", "198.51.100.1:5004"]
    came_flow = flows["receiver", "198.51.100.1:5004"]
    for flow, expected in ((sent_flow, rows), (came_flow, came)):
        assert flow["datagrams"] == len(expected)
        assert flow["bytes"] == sum(row["size_bytes"] - 32 for row in expected)
        media, repairs = flow["sources"]
        assert media["packets"] == sum(row["kind"] == "media" for row in expected)
        assert repairs["packets"] == sum(row["kind"] == "retransmission" for row in expected)
        assert (flow["not_rtp"], flow["cut"]) == (0, 0)
    media = sent_flow["sources"][0]
    assert (media["lost"], media["late"], media["duplicates"]) == (0, 0, 0)
    # What was lost at the very end cannot be known from numbers.
    kinds = [row["arrival_ns"] is not None for row in rows if row["kind"] == "media"]
    while not kinds[-1]:
        kinds.pop()
    assert came_flow["sources"][0]["lost"] == kinds.count(False) > 3
    assert came_flow["sources"][0]["late"] > 0
    assert set(flows["sender", "192.0.2.1:50004"]["rtcp"]) >= {"RR", "CCFB", "NACK"}
    assert found["other"] == {"flows": 0, "datagrams": 0}
    assert found["not_udp"] == 0


def test_morphes_groups(captured: Callable[[str], Captured]) -> None:
    session = captured("morphe")
    found = inspect_capture(session.path).as_json()
    rows = [row for row in session.packets() if row["kind"] == "media"]
    groups = {row["frame"] for row in rows}
    sizes = [sum(row["frame"] == frame for row in rows) for frame in groups]
    sent, came = (flow["morphe"] for flow in found["flows"][:2])
    assert sent["gops"] == sent["complete_gops"] == len(groups)
    assert sent["packets"] == {
        "least": min(sizes), "mean": sum(sizes) / len(sizes), "most": max(sizes),
    }  # fmt: skip
    assert 1 <= sent["units"]["least"] <= sent["units"]["most"] <= max(sizes)
    assert sent["missing_packets"] == sent["refused"] == sent["repaired"] == 0
    assert set(sent["sizes"]) == {"160x96"}
    assert came["gops"] == len(groups)
    assert came["repaired"] > 0
    repairs = [r for r in session.packets() if r["kind"] == "retransmission"]
    assert sent["retransmissions"] == len(repairs)
    assert came["retransmissions"] == sum(r["arrival_ns"] is not None for r in repairs)
    lost = sum(row["arrival_ns"] is None for row in rows)
    assert came["missing_packets"] == lost - came["repaired"]
    assert all(flow["morphe"] is None for flow in found["flows"][2:])


def test_other_streams_of_morphes_payload_types_are_not_taken_for_it(tmp_path: Path) -> None:
    rng = random.Random(3)
    packets = []
    for n in range(400):
        payload = rng.randbytes(200)
        data = pack_rtp(
            payload, payload_type=(98, 99)[n % 2], marker=False, sequence=n // 2,
            timestamp=3000 * (n // 10), ssrc=n % 2,
        )  # fmt: skip
        packets.append((n * 0.01, udp(data)))
    (flow,) = inspect_capture(ethernet(packets, tmp_path / "c")).as_json()["flows"]
    assert [source["packets"] for source in flow["sources"]] == [200, 200]
    assert flow["morphe"] is None


def test_a_capture_of_a_busy_host(tmp_path: Path) -> None:
    """VLANs, IPv6, DNS, TCP, ARP, STUN and noise around two RTP streams and their RTCP."""
    report = rtcp.pack_rtcp(
        [
            rtcp.ReceiverReport(1, ()),
            rtcp.UnknownRtcp(205, 15, bytes(12)),
            rtcp.UnknownRtcp(206, 15, bytes(8) + b"xyzw"),
            rtcp.UnknownRtcp(207, 0, bytes(4)),
            rtcp.UnknownRtcp(204, 9, bytes(8)),
            rtcp.UnknownRtcp(199, 3, b""),
        ]
    )
    rng = random.Random(1)
    tagged = Ether() / Dot1Q(vlan=7) / IPv6(src="2001:db8::1", dst="2001:db8::2")
    packets: list[tuple[float, Packet]] = [
        (0.0, udp(rtp(10))),
        (0.02, udp(rtp(13))),
        (0.03, udp(rtp(12))),
        (0.04, udp(rtp(12))),
        (0.05, udp(b"\x00\x01\x00\x00" + bytes(16))),  # STUN (RFC 7983)
        (0.06, udp(report)),
        (0.07, udp(report[:4] + b"\xff" * 20)),  # encrypted
        (0.10, tagged / UDP(sport=9, dport=8) / rtp(1, payload_type=0, ssrc=9)),
        (0.12, tagged / UDP(sport=9, dport=8) / rtp(2, payload_type=0, ssrc=9, timestamp=160)),
        (0.2, Ether() / ARP()),
        (0.3, Ether() / IP() / TCP()),
    ]
    for n in range(50):  # an odd identification looks like RTP's version
        question = DNS(id=0x8000 + n, qd=DNSQR(qname="example.org"))
        packets.append((1 + n, Ether() / IP() / UDP(sport=5353, dport=53) / question))
        packets.append((1 + n, udp(b"\x80" + rng.randbytes(60), port=4444)))
    found = inspect_capture(ethernet(packets, tmp_path / "c")).as_json()
    first, second = found["flows"]
    assert (first["source"], first["destination"]) == ("10.0.0.1:6000", "10.0.0.2:7000")
    assert first["interface"] == ""
    assert first["not_rtp"] == 1
    assert first["rtcp"] == {
        "AFB": 1, "APP": 1, "RR": 1, "TWCC": 1, "XR": 1, "type 199/3": 1, "unreadable": 1,
    }  # fmt: skip
    (source,) = first["sources"]
    assert source["payload_types"] == {"111": 4}
    assert (source["lost"], source["late"], source["duplicates"]) == (1, 1, 1)
    assert (second["source"], second["destination"]) == ("[2001:db8::1]:9", "[2001:db8::2]:8")
    assert second["sources"][0]["clock_hz"] == 8000
    assert second["sources"][0]["jitter_ms"] == pytest.approx(0, abs=1e-4)
    assert found["other"] == {"flows": 2, "datagrams": 100}
    assert found["not_udp"] == 2


@needs_tshark
def test_losses_and_jitter_are_tsharks(tmp_path: Path) -> None:
    """Payload type 26 (JPEG) has a clock that tshark knows: 90 kHz."""
    rng = random.Random(5)
    packets = [
        (n / 30 + rng.uniform(0, 0.012), udp(rtp(65_500 + n, payload_type=26, timestamp=3000 * n)))
        for n in range(300)
        if n % 17 != 5 and n % 90 != 6
    ]
    path = ethernet(packets, tmp_path / "c")
    text = tshark(path, "-q", "-d", "udp.port==7000,rtp", "-z", "rtp,streams")
    # ... SSRC, payload type, packets, lost (share), least, mean and largest delta, then jitter.
    said = re.search(r"0x00000005 +\S+ +(\d+) +(\d+) \(.*\)" + r" +([\d.]+)" * 6, text)
    assert said is not None
    (source,) = inspect_capture(path).as_json()["flows"][0]["sources"]
    assert [int(said[1]), int(said[2])] == [source["packets"], source["lost"]]
    assert source["lost"] > 10
    assert float(said[7]) == pytest.approx(source["jitter_ms_mean"], rel=0.01)
    assert float(said[8]) == pytest.approx(source["jitter_ms_max"], abs=0.002)


@needs_tshark
@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_tshark_counts_the_same_in_a_session(
    captured: Callable[[str], Captured], transport: str
) -> None:
    path = captured(transport).path
    for interface in ("sender", "receiver"):
        text = tshark(
            path, *READ_AS_RTP, "-Y",
            f'frame.interface_name == "{interface}" && rtp && udp.dstport == 5004',
            "-T", "fields", "-e", "rtp.ssrc", "-e", "rtp.p_type",
        )  # fmt: skip
        lines = text.splitlines()
        found = inspect_capture(path).as_json()["flows"]
        (flow,) = (
            f for f in found if f["interface"] == interface and f["destination"].endswith(":5004")
        )
        for source in flow["sources"]:
            (kind,) = source["payload_types"]
            assert lines.count(f"{source['ssrc']}\t{kind}") == source["packets"]
        assert len(lines) == sum(source["packets"] for source in flow["sources"])


def test_packets_that_were_cut_and_times_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "c"
    packet = bytes(udp(rtp(1))[IP])
    simple = struct.pack("<III", 3, 16 + len(packet) + -len(packet) % 4, len(packet))
    simple += packet + bytes(-len(packet) % 4) + simple[4:8]
    cut = bytes(udp(rtp(2))[IP])[:60]
    path.write_bytes(
        file_header(("eth0",), comment="x") + simple + packet_block(0, cut, time_ns=5, inbound=True)
    )
    found = inspect_capture(path).as_json()
    (flow,) = found["flows"]
    assert (flow["datagrams"], flow["bytes"], flow["cut"]) == (2, 224, 1)
    assert flow["sources"][0]["packets"] == 2
    assert flow["sources"][0]["jitter_ms"] is None
    assert found["first_ns"] == 5


def test_an_empty_capture_has_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(file_header((), comment="nothing"))
    found = inspect_capture(path).as_json()
    assert (found["packets"], found["flows"], found["duration_s"]) == (0, [], None)
    path.write_bytes(b"garbage!")
    with pytest.raises(InputError, match="offset 0: neither pcapng nor pcap"):
        inspect_capture(path)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"", b"\x80\x62", b"\xa0\xe3", b"\x80\xc8\x00\x06", b"\x9f\xcd"]),
            st.binary(max_size=80),
        ),
        max_size=12,
    )
)
def test_any_datagrams_are_taken(parts: list[tuple[bytes, bytes]]) -> None:
    first = UdpDatagram("192.0.2.1", 1, "192.0.2.2", 2, b"", 0)
    flow = Flow("", first, clock_hz=90_000)
    for n, (start, tail) in enumerate(parts):
        data = start + tail
        flow.add(dataclasses.replace(first, payload=data, size_bytes=len(data)), n)
    assert flow.datagrams == len(parts)
    counted = sum(source.packets for source in flow.sources) + flow.not_rtp
    assert counted <= len(parts)
    assert counted == len(parts) or flow.rtcp
    assert flow.gops.summary() is None
