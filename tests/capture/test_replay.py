from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.utils import wrpcap

from testbed.capture.replay import arrivals
from testbed.capture.tap import Tap
from testbed.errors import InputError
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import FrameDecoded, ReceiverContext
from tests.capture.conftest import Captured, lossy


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_it_gives_what_the_table_says_arrived(
    captured: Callable[[str], Captured], transport: str
) -> None:
    session = captured(transport)
    came = sorted(
        (row["arrival_ns"], row["size_bytes"] - 32)
        for row in session.packets()
        if row["direction"] == "down" and row["arrival_ns"] is not None
    )
    found = list(arrivals(session.path))
    assert sorted((at, len(data)) for at, data in found) == came
    assert [at for at, _ in found] == sorted(at for at, _ in found)


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_a_receiver_fed_with_it_decodes_the_same_frames(
    captured: Callable[[str], Captured], transport: str
) -> None:
    """The bytes and times are all that a receiver goes by."""
    session, spec = captured(transport), lossy(transport)
    made = TRANSPORTS.get(transport)
    options = parse_options(made, spec.transport_options)
    receiver = made.make_receiver(
        ReceiverContext(Fraction(15), lambda *_: 0, round(spec.playout_deadline_ms * 1e6), options)
    )
    decoded = {}

    def note() -> None:
        for event in receiver.events():
            if isinstance(event, FrameDecoded):
                decoded[event.index] = (event.decodable_ns, event.outcome)

    def run_to(now_ns: int) -> None:
        while (at_ns := receiver.next_timer()) is not None and at_ns < now_ns:
            receiver.on_timer(now_ns=at_ns)
            receiver.datagrams_to_send(now_ns=at_ns)
            note()

    for at_ns, data in arrivals(session.path):
        run_to(at_ns)
        receiver.receive_datagram(data, now_ns=at_ns)
        receiver.datagrams_to_send(now_ns=at_ns)
        note()
    run_to(5 * 10**9)
    wanted = {
        row["frame"]: (row["decodable_ns"], row["outcome"])
        for row in session.frames()
        if row["decodable_ns"] is not None
    }
    assert len(wanted) > 40
    assert decoded == wanted


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.pcap"
    wrpcap(str(other), IP(dst="192.0.2.9") / UDP(dport=5004) / b"x")
    with pytest.raises(InputError, match=r"other.pcap: not the capture of a session; `testbed run"):
        list(arrivals(other))


def test_only_what_reached_the_receiver_counts(tmp_path: Path) -> None:
    with Tap(tmp_path / "c", start_ns=5_000) as tap:
        tap.sent("down", b"lost", now_ns=0)
        tap.sent("down", b"", now_ns=1)
        tap.sent("up", b"feedback", now_ns=2)
        tap.arrived("down", b"", now_ns=3)
        tap.arrived("up", b"feedback", now_ns=4)
    assert list(arrivals(tmp_path / "c")) == [(3, b"")]
