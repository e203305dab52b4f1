"""The tables of a session written out by hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import MemorySink, session

from testbed.network.packet import IP_UDP_HEADER_BYTES, LINK_OVERHEAD_BYTES
from testbed.transports.base import FrameAbandoned, FrameDecoded, FrameEncoded
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.merge import MARGIN_NS, Merger
from testbed.worlds.realtime.records import Carried, NetworkLog, PeerLog, Sent

MS = 1_000_000
#: Six frames at 15 fps.
MAKE = EndFactory(session(duration_s=0.4, deadline_ms=100), base=Path.cwd())


def media(frame: int, at_ms: float, key: int, *, token: int, span: int = 1, **more: Any) -> Sent:
    values: dict[str, Any] = {
        "at_ns": round(at_ms * MS), "kind": "media", "frame": frame, "media_bytes": 80,
        "token": token, "retransmission_of": -1, "span": span, "size": 100, "key": key,
        "data": None, **more,
    }  # fmt: skip
    return Sent(**values)


def through(key: int, in_ms: float, out_ms: float, arrival_ms: float) -> Carried:
    return Carried(key, round(in_ms * MS), round(out_ms * MS), round(arrival_ms * MS))


def encoded(index: int, at_ms: float, *, key: bool = False) -> tuple[int, FrameEncoded]:
    at_ns = round(at_ms * MS)
    return at_ns, FrameEncoded(index, key, 200.0, at_ns - 2 * MS, at_ns, 80)


def decoded(index: int, at_ms: float) -> tuple[int, FrameDecoded]:
    at_ns = round(at_ms * MS)
    return at_ns, FrameDecoded(index, at_ns, at_ns + MS, at_ns + 2 * MS, "rendered")


def sender_log(sent: Sequence[Sent], events: Sequence[Any] = (), ticks: Any = ()) -> PeerLog:
    return PeerLog(sent=list(sent), events=list(events), ticks=list(ticks))


def receiver_log(arrived: Sequence[tuple[float, int]], events: Sequence[Any] = ()) -> PeerLog:
    log = PeerLog(events=list(events))
    for at_ms, key in arrived:
        log.arrived.add(round(at_ms * MS), key)
    return log


@pytest.fixture
def by_hand() -> tuple[Merger, MemorySink]:
    """Frame 0 whole; of frame 1 one packet lost and sent again; frame 2 for 2 and 3, dropped by the
    queue; frame 4 sent and nothing came; frame 5 never sent."""
    sent = [
        media(0, 1, 100, token=0),
        media(1, 67, 101, token=1),
        media(1, 67.1, 102, token=2),
        media(2, 134, 103, token=3, span=2),
        media(1, 190, 104, token=4, kind="retransmission", retransmission_of=2),
        media(-1, 200, 105, token=-1, kind="padding", media_bytes=0),
        media(4, 268, 106, token=5),
    ]
    carried = [
        through(100, 1.2, 5, 25),
        through(101, 66.9, 70, 90),  # its stamp is of another clock: before it was sent
        Carried(102, 67 * MS, 75 * MS, -1, "loss"),
        Carried(103, 134 * MS, -1, -1, "queue"),
        through(104, 190, 195, 215),
        through(105, 200, 201, 221),
        Carried(106, 268 * MS),  # still in the queue when all ended
    ]
    arrived = [(25.2, 100), (90.1, 101), (215.3, 104), (221.2, 105), (230.0, 999)]
    ticks = [
        (100 * MS, 500.0, 40.0, 0.0, "steady", "h264", 480.0, 240, 600),
        (200 * MS, 500.0, 41.0, 0.1, "steady", "h264", 480.0, 320, 900),
        (300 * MS, None, None, None, "steady", "h264", 480.0, 400, 1000),
    ]
    events = [encoded(0, 1, key=True), encoded(1, 67), encoded(2, 134), encoded(4, 268)]
    feedback = [
        Sent(100 * MS, "feedback", -1, 0, -1, -1, 1, 60, 200, None),
        Sent(600 * MS, "feedback", -1, 0, -1, -1, 1, 60, 201, None),
    ]
    network = NetworkLog()
    network.carried = {"down": carried, "up": [through(200, 100, 101, 121), Carried(201)]}
    network.link_rows = [(0, "down", 6016, 132, 0, 0, 0, 0), (0, "up", 0, 0, 0, 0, 0, 0)]
    network.capacity_bytes = [6016, 3008, 0]
    receiver = receiver_log(
        arrived,
        [decoded(0, 25.2), decoded(1, 215.3), (230 * MS, FrameAbandoned(2, "gone"))],
    )
    receiver.sent = feedback
    sender = sender_log(sent, events, ticks)
    sender.arrived.add(121 * MS + 5, 200)
    merger = Merger(MAKE, sender, receiver, network)
    sink = MemorySink()
    merger.write(sink)
    return merger, sink


def test_all_tables_fit_their_schemas(by_hand: tuple[Merger, MemorySink]) -> None:
    _, sink = by_hand
    tables = sink.tables()  # checks types and nulls
    assert {name: len(table) for name, table in tables.items() if len(table)} == {
        "frames": 6, "packets": 9, "control": 3, "link": 2,
    }  # fmt: skip


def test_packets(by_hand: tuple[Merger, MemorySink]) -> None:
    packets = by_hand[1].tables()["packets"]
    down, up = (packets[packets.direction == name] for name in ("down", "up"))
    assert down.seq.tolist() == list(range(7))
    assert down.kind.tolist() == ["media"] * 4 + ["retransmission", "padding", "media"]
    assert [None if f != f else int(f) for f in down.frame] == [0, 1, 1, 2, 1, None, 4]
    assert set(down.size_bytes) == {100 + LINK_OVERHEAD_BYTES}
    assert down["drop"].tolist() == ["none", "none", "loss", "queue", "none", "none", "none"]
    assert [None if v != v else int(v) for v in down.retransmission_of] == [
        None, None, None, None, 2, None, None,
    ]  # fmt: skip
    assert down.link_in_ns.tolist()[1] == 67 * MS  # not before it was sent
    assert (down.link_in_ns >= down.sent_ns).all()
    assert [None if v != v else v / MS for v in down.link_out_ns] == [
        5, 70, 75, None, 195, 201, None,
    ]  # fmt: skip
    assert [None if v != v else v / MS for v in down.arrival_ns] == [
        25.2, 90.1, None, None, 215.3, 221.2, None,
    ]  # fmt: skip
    assert up.sent_ns.tolist() == [100 * MS, 600 * MS]
    assert up.arrival_ns.iloc[0] == 121 * MS + 5
    assert up.link_in_ns.isna().tolist() == [False, True]
    assert up.frame.isna().all()


def test_frames(by_hand: tuple[Merger, MemorySink]) -> None:
    _, sink = by_hand
    frames = sink.tables()["frames"]
    assert frames.capture_ns.tolist() == [MAKE.capture_ns(n) for n in range(6)]
    assert frames.outcome.tolist() == [
        "rendered", "rendered", "undecodable", "undecodable", "undecodable", "not_sent",
    ]  # fmt: skip
    assert frames.reason.tolist()[2] == "gone"
    assert frames.reason.tolist()[4:] == ["nothing-arrived", "session-end"]
    # A datagram of a group stands for both of its frames.
    assert frames.first_sent_ns.tolist()[2:4] == [134 * MS] * 2
    assert frames.packets_sent.tolist() == [1, 3, 1, 0, 1, 0]
    assert frames.packets_lost.tolist() == [0, 1, 1, 0, 0, 0]
    overhead = 100 + IP_UDP_HEADER_BYTES - 80
    assert frames.header_bytes.tolist() == [overhead, 2 * overhead, overhead, 0, overhead, 0]
    assert frames.retransmitted_bytes.tolist() == [0, 100 + IP_UDP_HEADER_BYTES, 0, 0, 0, 0]
    assert frames.last_sent_ns.tolist()[1] == round(67.1 * MS)
    assert frames.first_arrival_ns.tolist()[:2] == [round(25.2 * MS), round(90.1 * MS)]
    assert frames.first_arrival_ns[2:].isna().all()
    assert frames["mode"].tolist() == ["h264"] * 6
    assert frames.key.tolist() == [True, *[False] * 5]


def test_control(by_hand: tuple[Merger, MemorySink]) -> None:
    control = by_hand[1].tables()["control"]
    assert control.time_ns.tolist() == [100 * MS, 200 * MS, 300 * MS]
    per_tick = 8 / 100  # bytes in 100 ms as kbit/s
    assert control.encoded_kbps.tolist() == pytest.approx([240 * per_tick, 80 * per_tick, 6.4])
    assert control.sent_kbps.tolist() == pytest.approx([600 * per_tick, 300 * per_tick, 8.0])
    one = (100 + LINK_OVERHEAD_BYTES) * per_tick
    assert control.delivered_kbps.tolist() == pytest.approx([2 * one, 0.0, 2 * one])
    assert control.capacity_kbps.tolist() == pytest.approx([6016 * per_tick, 3008 * per_tick, 0])
    assert control.estimate_kbps.isna().tolist() == [False, False, True]


def test_what_nobody_can_explain_is_counted(by_hand: tuple[Merger, MemorySink]) -> None:
    merger, _ = by_hand
    assert merger.unexplained == {"down": 0, "up": 0}
    assert merger.down.host_delay_ns() == [
        round(0.2 * MS), round(0.1 * MS), round(0.3 * MS), round(0.2 * MS),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("carried", "expected"),
    [
        ([through(1, 10, 12, 20)], 1),  # let go and never read
        ([through(1, 10, 12, 560), through(1, 1, 1, 1)], 0),  # due too close to the end (700 ms)
        ([], 1),  # not even the network saw it
        ([Carried(1, 10 * MS, -1, -1, "queue")], 0),
        ([Carried(1, 10 * MS, 12 * MS, -1, "loss")], 0),
    ],
)
def test_vanished_datagrams(carried: list[Carried], expected: int) -> None:
    network = NetworkLog()
    network.carried["down"] = carried
    if expected == 0 and carried[0].arrival_ns > 0:
        carried[0].arrival_ns = MAKE.end_ns - MARGIN_NS + 1
    merger = Merger(MAKE, sender_log([media(0, 10, 1, token=0)]), receiver_log([]), network)
    assert merger.unexplained == {"down": expected, "up": 0}


def test_a_lost_datagrams_twin_does_not_take_its_place() -> None:
    sent = [media(0, 1, 7, token=0), media(0, 2, 7, token=1), media(0, 3, 7, token=2)]
    network = NetworkLog()
    network.carried["down"] = [
        Carried(7, 1 * MS, 2 * MS, -1, "loss"),
        through(7, 2, 3, 10),
        through(7, 3, 4, 11),
    ]
    merger = Merger(MAKE, sender_log(sent), receiver_log([(10.1, 7), (11.1, 7)]), network)
    assert merger.down.arrival_ns == [-1, round(10.1 * MS), round(11.1 * MS)]


def test_a_frame_that_nobody_said_anything_about() -> None:
    sink = MemorySink()
    Merger(MAKE, PeerLog(), PeerLog(), NetworkLog()).write(sink)
    frames = sink.tables()["frames"]
    assert frames.outcome.tolist() == ["not_sent"] * 6
    assert len(sink.rows["packets"]) == 0


def test_a_capture_is_told_in_order_of_time(by_hand: tuple[Merger, MemorySink]) -> None:
    merger, _ = by_hand
    told: list[tuple[Any, ...]] = []

    class Tap:
        def starts_at(self, start_ns: int) -> None:
            told.append(("start", start_ns))

        def sent(self, direction: str, data: bytes, *, now_ns: int) -> None:
            told.append(("sent", direction, data, now_ns))

        def arrived(self, direction: str, data: bytes, *, now_ns: int) -> None:
            told.append(("arrived", direction, data, now_ns))

    for sent in (*merger.sender.sent, *merger.receiver.sent):
        sent.data = sent.key.to_bytes(2, "big")
    merger.tell(Tap(), start_ns=10**18)
    assert told[0] == ("start", 10**18)
    times = [entry[3] for entry in told[1:]]
    assert times == sorted(times)
    assert sum(entry[0] == "sent" for entry in told) == 9
    assert sum(entry[0] == "arrived" for entry in told) == 5
