import os
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.utils import PcapNgReader, PcapNgWriter, PcapWriter, rdpcap

from testbed.capture.datagram import RECEIVER, SENDER, Framing
from testbed.capture.links import RAW
from testbed.capture.pcapng import (
    LINKTYPE_RAW,
    CapturedPacket,
    file_header,
    packet_block,
)
from testbed.capture.reading import open_capture
from testbed.errors import InputError, LocalProtocolError
from tests.capture.tshark import fields, needs_tshark, tshark

#: An odd nanosecond, so that a reader in microseconds or in floating point shows.
START_NS = 1_767_225_600_123_456_789


def written(count: int = 3) -> bytes:
    framing = Framing(SENDER, RECEIVER)
    blocks = [file_header(("sender", "receiver"), comment="what it is")]
    for n in range(count):
        packet = framing.packet(bytes(range(n + 1)))  # all remainders of a division by four
        blocks.append(packet_block(n % 2, packet, time_ns=START_NS + n, inbound=n % 2 == 1))
    return b"".join(blocks)


def read(path: Path) -> list[CapturedPacket]:
    with open_capture(path) as capture:
        return list(capture)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.pcapng"
    path.write_bytes(written(6))
    return path


def test_what_is_written_reads_back(file: Path) -> None:
    framing = Framing(SENDER, RECEIVER)
    with open_capture(file) as capture:
        assert capture.comments == ["what it is"]
        packets = list(capture)
    assert packets == [
        CapturedPacket(
            START_NS + n, ("sender", "receiver")[n % 2], LINKTYPE_RAW,
            framing.packet(bytes(range(n + 1))), 29 + n, n % 2 == 1,
        )
        for n in range(6)
    ]  # fmt: skip


def test_a_time_has_to_fit() -> None:
    with pytest.raises(LocalProtocolError, match="cannot hold the time -1 ns"):
        packet_block(0, b"", time_ns=-1, inbound=False)


@needs_tshark
def test_tshark_reads_it(file: Path) -> None:
    names = (
        "frame.time_epoch", "frame.interface_name", "frame.packet_flags_direction", "ip.src",
        "ip.checksum.status", "udp.checksum.status", "udp.dstport", "udp.payload",
    )  # fmt: skip
    assert fields(file, *names) == [
        [
            f"1767225600.{123_456_789 + n}", ("sender", "receiver")[n % 2], f"0x{2 - n % 2:08x}",
            "192.0.2.1", "1", "1", "5004", bytes(range(n + 1)).hex(),
        ]
        for n in range(6)
    ]  # fmt: skip
    assert "_ws.malformed" not in tshark(file, "-T", "json")


def test_scapy_reads_it(file: Path) -> None:
    packets = rdpcap(str(file))
    assert len(packets) == 6
    for n, packet in enumerate(packets):
        assert isinstance(packet, IP)
        assert bytes(packet["UDP"].payload) == bytes(range(n + 1))
        assert packet.time == pytest.approx(START_NS / 1e9, abs=1e-6)
    with PcapNgReader(str(file)) as reader:
        assert [packet.sniffed_on for packet in reader] == ["sender", "receiver"] * 3


def test_we_read_what_scapy_writes(tmp_path: Path) -> None:
    packet = IP(Framing(SENDER, RECEIVER).packet(b"payload"))
    packet.time = 1_700_000_000.25
    ng, micro, nano, big = (tmp_path / name for name in ("ng", "micro", "nano", "big"))
    with PcapNgWriter(str(ng)) as writer:
        writer.write(packet)
    for path, options in ((micro, {}), (nano, {"nano": True}), (big, {"endianness": ">"})):
        with PcapWriter(str(path), **options) as classic:
            classic.write(packet)
    for path in (ng, micro, nano, big):
        (found,) = read(path)
        assert found.data == bytes(packet)
        assert found.link_type in RAW
        assert found.time_ns == 1_700_000_000_250_000_000
        assert found.original_bytes == len(packet)


@needs_tshark
@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "pcapng"])
def test_we_read_what_wireshark_writes(file: Path, tmp_path: Path, form: str) -> None:
    # Classic pcap has no interfaces; it takes those of one link type together.
    path = tmp_path / f"again.{form}"
    subprocess.run(
        ["tshark", "-r", str(file), "-F", form, "-w", str(path)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    step = 1000 if form == "pcap" else 1
    before, after = read(file), read(path)
    assert [p.data for p in after] == [p.data for p in before]
    assert [p.time_ns for p in after] == [p.time_ns // step * step for p in before if p.time_ns]


# --- blocks by hand ---------------------------------------------------------------------------


def block(kind: int, body: bytes, order: str) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str, options: bytes = b"") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 2, -1) + options, order)


def interface(order: str, *, options: bytes = b"", snap: int = 0, link: int = 1) -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snap) + options, order)


def enhanced(order: str, ticks: int, data: bytes, number: int = 0) -> bytes:
    head = struct.pack(
        order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data) + 7
    )
    return block(6, head + data, order)


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_of_packet_in_either_order(tmp_path: Path, order: str) -> None:
    binary = struct.pack(order + "HHB3x", 9, 1, 0x80 | 20)  # ticks of 2**-20 s
    offset = struct.pack(order + "HHq", 14, 8, 100)
    old = struct.pack(order + "HHIIII", 1, 0xFFFF, 0, 5, 3, 3) + b"old"
    path = tmp_path / "f"
    path.write_bytes(
        section(order)
        + interface(order, snap=4)
        + interface(order, options=binary + offset, link=113)
        + block(0xBAD, b"somebody else's", order)
        + enhanced(order, 1_500_000, b"abc")
        + enhanced(order, 3 << 19, b"abcde", 1)
        + block(3, struct.pack(order + "I", 9) + b"simp", order)
        + block(2, old, order)
        + section(order)
        + interface(order, options=struct.pack(order + "HH", 2, 4) + b"eth0")
        + enhanced(order, 1, b"")
    )
    assert read(path) == [
        CapturedPacket(1_500_000_000, "interface 0", 1, b"abc", 10),
        CapturedPacket(101_500_000_000, "interface 1", 113, b"abcde", 12),
        CapturedPacket(None, "interface 0", 1, b"simp", 9),
        CapturedPacket(100_000_004_768, "interface 1", 113, b"old", 3),
        CapturedPacket(1000, "eth0", 1, b"", 7),
    ]


LE = "<"
BROKEN = [
    (b"", 0, "the file ends after 0 of 4 bytes"),
    (b"GIF89a and more", 0, "neither pcapng nor pcap: the first bytes are 47 49 46 38"),
    (section(LE)[:20], 12, "the file ends after"),
    (section(LE).replace(struct.pack("<I", 0x1A2B3C4D), b"what"), 0, "byte-order magic"),
    (section(LE).replace(struct.pack("<HH", 1, 2), struct.pack("<HH", 2, 0)), 0, "version 2"),
    (section(LE) + enhanced(LE, 0, b"x"), 28, "a packet of interface 0; there are 0"),
    (section(LE) + struct.pack("<II", 6, 13) + bytes(9), 28, "a block cannot have 13 bytes"),
    (section(LE) + struct.pack("<II", 6, 1 << 30), 28, "a block cannot have 1073741824 bytes"),
    (section(LE) + block(6, bytes(4), LE), 28, "too short for its kind"),
    (section(LE) + interface(LE)[:-4] + bytes(4), 28, "two lengths differ"),
    (
        section(LE) + interface(LE, options=struct.pack("<HH", 2, 40)),
        28,
        "an option runs over its block",
    ),
    (
        section(LE) + interface(LE) + block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99), LE),
        48,
        "a packet of 99 bytes runs over its block",
    ),
    (bytes.fromhex("d4c3b2a1") + b"\x02\0", 4, "the file ends after 2 of 20 bytes"),
    (bytes.fromhex("d4c3b2a1") + b"\x09\0" + bytes(18), 4, "pcap of version 9, not 2"),
    (
        bytes.fromhex("d4c3b2a1") + b"\x02\0" + bytes(18) + b"\xff" * 16,
        24,
        "a packet cannot have 4294967295 bytes",
    ),
]


@pytest.mark.parametrize(("data", "offset", "message"), BROKEN)
def test_garbage_is_refused_with_file_and_offset(
    tmp_path: Path, data: bytes, offset: int, message: str
) -> None:
    path = tmp_path / "broken"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: offset {offset}: ")
    assert message in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read: Is a directory"):
        read(tmp_path)
    with pytest.raises(InputError, match="cannot read: No such file"):
        read(tmp_path / "none")


def taken_from(path: Path) -> list[CapturedPacket]:
    """What can be read before the first error, which must be one that names file and offset."""
    packets = []
    refused = ""
    try:
        with open_capture(path) as capture:
            for packet in capture:
                packets.append(packet)  # noqa: PERF402 - an error keeps what came before
    except InputError as error:
        refused = str(error)
    assert not refused or refused.startswith(f"{path}: offset ")
    return packets


@given(cut=st.integers(0, 600), at=st.integers(0, 600), value=st.integers(0, 255))
def test_damage_gives_packets_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, value: int
) -> None:
    data = bytearray(written(4))
    data[at % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.pcapng"
    path.write_bytes(bytes(data[: cut if cut else None]))
    assert len(taken_from(path)) <= 4


@given(st.binary(max_size=300))
def test_any_bytes_after_a_good_start(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "tail.pcapng"
    path.write_bytes(written(1) + tail)
    assert taken_from(path)[0].time_ns == START_NS


def test_a_pipe_will_do(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(written(6),))
    writer.start()
    assert len(read(path)) == 6
    writer.join()
