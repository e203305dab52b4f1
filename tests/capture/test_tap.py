import random
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.capture.links import udp_in
from testbed.capture.reading import open_capture
from testbed.capture.tap import VIRTUAL_EPOCH_NS, Tap, comment_of, session_start_ns
from testbed.errors import LocalProtocolError, OutputError
from testbed.protocol.ntp import ntp_of
from tests.capture.conftest import Captured
from tests.capture.tshark import fields, needs_tshark

Call = tuple[str, str, bytes, int]


def told(path: Path, calls: list[Call], start_ns: int | None = None) -> bytes:
    with Tap(path, start_ns=start_ns) as tap:
        for kind, direction, data, now_ns in calls:
            getattr(tap, kind)(direction, data, now_ns=now_ns)
    return path.read_bytes()


def content(path: Path) -> list[tuple[str, bool | None, bytes, int]]:
    found = []
    with open_capture(path) as capture:
        for packet in capture:
            datagram = udp_in(packet.link_type, packet.data)
            assert datagram is not None
            assert packet.time_ns is not None
            found.append((packet.interface, packet.inbound, datagram.payload, packet.time_ns))
    return found


CALLS: list[Call] = [
    ("sent", "down", b"one", 0),
    ("sent", "down", b"lost", 5),
    ("sent", "up", b"report", 7),
    ("arrived", "down", b"one", 7),
    ("arrived", "up", b"report", 9),
]


def test_both_ends_see_what_passes_them(tmp_path: Path) -> None:
    told(tmp_path / "c", CALLS)
    assert content(tmp_path / "c") == [
        ("sender", False, b"one", VIRTUAL_EPOCH_NS),
        ("sender", False, b"lost", VIRTUAL_EPOCH_NS + 5),
        ("receiver", False, b"report", VIRTUAL_EPOCH_NS + 7),
        ("receiver", True, b"one", VIRTUAL_EPOCH_NS + 7),
        ("sender", True, b"report", VIRTUAL_EPOCH_NS + 9),
    ]


def test_the_file_does_not_depend_on_how_the_ends_are_mixed(tmp_path: Path) -> None:
    rng = random.Random(4)
    ends: dict[str, list[Call]] = {"sender": [], "receiver": []}
    for end, kinds in (("sender", ("sent", "arrived")), ("receiver", ("arrived", "sent"))):
        now_ns = end == "sender"  # one has odd times and the other even ones
        for n in range(300):
            now_ns += rng.choice((0, 2, 50))
            which = rng.randrange(2)
            ends[end].append((kinds[which], ("down", "up")[which], bytes([n % 256] * n), now_ns))
    one_by_one = told(tmp_path / "a", ends["sender"] + ends["receiver"])
    other_way = told(tmp_path / "b", ends["receiver"] + ends["sender"])
    by_time = told(
        tmp_path / "c", sorted(ends["sender"] + ends["receiver"], key=lambda call: call[3])
    )
    assert one_by_one == other_way == by_time
    times = [time_ns for *_, time_ns in content(tmp_path / "a")]
    assert len(times) == 600
    assert times == sorted(times)


def test_one_moment_keeps_the_order_of_the_calls(tmp_path: Path) -> None:
    """On a path without delay, an answer must not stand before its question."""
    calls: list[Call] = [
        ("sent", "down", b"question", 4),
        ("arrived", "down", b"question", 4),
        ("sent", "up", b"answer", 4),
        ("arrived", "up", b"answer", 4),
        ("sent", "down", b"again", 4),
    ]
    told(tmp_path / "c", calls)
    assert [row[:3] for row in content(tmp_path / "c")] == [
        ("sender", False, b"question"),
        ("receiver", True, b"question"),
        ("receiver", False, b"answer"),
        ("sender", True, b"answer"),
        ("sender", False, b"again"),
    ]


def test_the_start_is_in_the_file(tmp_path: Path) -> None:
    told(tmp_path / "virtual", CALLS)
    told(tmp_path / "real", CALLS, start_ns=1_700_000_000_000_000_001)
    with open_capture(tmp_path / "virtual") as capture:
        assert "virtual time" in capture.comments[0]
        assert "(2026-01-01T00:00:00Z)" in capture.comments[0]
        assert session_start_ns(capture.comments) == VIRTUAL_EPOCH_NS
    with open_capture(tmp_path / "real") as capture:
        assert "wall clock" in capture.comments[0]
        assert session_start_ns(capture.comments) == 1_700_000_000_000_000_001
        assert next(iter(capture)).time_ns == 1_700_000_000_000_000_001
    assert session_start_ns(["something else"]) is None
    assert session_start_ns([comment_of(7, virtual=False)]) == 7


def test_virtual_time_starts_when_its_rtcp_says() -> None:
    unix_s = (ntp_of(0) >> 32) - 2_208_988_800  # RFC 868's constant
    assert unix_s * 10**9 == VIRTUAL_EPOCH_NS


def test_a_world_names_its_start_before_the_first_packet(tmp_path: Path) -> None:
    with Tap(tmp_path / "c") as tap:
        tap.starts_at(10**18)
        tap.sent("down", b"x", now_ns=3)
        with pytest.raises(LocalProtocolError, match="before its packets"):
            tap.starts_at(0)
    assert content(tmp_path / "c") == [("sender", False, b"x", 10**18 + 3)]


def test_calls_that_cannot_be_leave_the_tap_as_it_was(tmp_path: Path) -> None:
    with Tap(tmp_path / "c") as tap:
        tap.sent("down", b"x", now_ns=3)
        with pytest.raises(LocalProtocolError, match="no direction 'sideways'; known: down, up"):
            tap.sent("sideways", b"x", now_ns=3)
        with pytest.raises(LocalProtocolError, match="sender: 2 ns comes after 3 ns"):
            tap.arrived("up", b"x", now_ns=2)
        with pytest.raises(LocalProtocolError, match="do not fit a UDP datagram"):
            tap.sent("down", bytes(70_000), now_ns=9)
        tap.arrived("up", b"y", now_ns=3)
    assert [data for _, _, data, _ in content(tmp_path / "c")] == [b"x", b"y"]


def test_nothing_stays_behind(tmp_path: Path) -> None:
    def breaks_off() -> None:
        with Tap(tmp_path / "c") as tap:
            tap.sent("down", b"x", now_ns=0)
            raise ValueError("session")

    with pytest.raises(ValueError, match="session"):
        breaks_off()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="cannot write"):
        Tap(tmp_path / "none" / "c")
    tap = Tap(tmp_path / "c")
    tap.close()
    tap.close()
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("packets", [20, 2000])
def test_no_room_is_one_error(tmp_path: Path, packets: int) -> None:
    """The kernel's limit on the size of a file: early in the packets, or only at the end."""
    calls: list[Call] = [("sent", "down", bytes(1200), n) for n in range(packets)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match="c: cannot write: File too large"):
            told(tmp_path / "c", calls)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@needs_tshark
@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_tshark_sees_the_packets_of_the_table(
    captured: Callable[[str], Captured], transport: str
) -> None:
    session = captured(transport)
    names = (
        "frame.interface_name", "udp.dstport", "frame.time_epoch", "udp.length",
        "ip.checksum.status", "udp.checksum.status",
    )  # fmt: skip
    seen = fields(session.path, *names)
    assert {row[4] for row in seen} == {"1"}
    assert {row[5] for row in seen} == {"1"}
    for direction, port, ends in (
        ("down", "5004", ("sender", "receiver")),
        ("up", "50004", ("receiver", "sender")),
    ):
        rows = [row for row in session.packets() if row["direction"] == direction]
        assert any(row["drop"] != "none" for row in rows) == (direction == "down")
        sent = [(row["sent_ns"], row["size_bytes"]) for row in rows]
        came = sorted(
            (row["arrival_ns"], row["size_bytes"]) for row in rows if row["arrival_ns"] is not None
        )
        # A table's size has 32 bytes around the payload, a UDP length 8.
        found = [
            [(nanoseconds(row[2]), int(row[3]) + 24) for row in seen if row[:2] == [end, port]]
            for end in ends
        ]
        assert found[0] == sent
        assert sorted(found[1]) == came


def nanoseconds(epoch: str) -> int:
    seconds, fraction = epoch.split(".")
    return int(seconds) * 10**9 + int(fraction) - VIRTUAL_EPOCH_NS
