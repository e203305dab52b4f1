from testbed.protocol.endpoint import Datagram
from testbed.worlds.realtime.records import PeerLog, Sent
from testbed.worlds.webrtc.wire import on_the_wire
from testbed.worlds.webrtc.wiretap import WireSent, Wiretap

EPOCH_NS = 1_000_000


def left(at_ns: int, size: int, about: int | None, kind: str = "sctp") -> WireSent:
    return WireSent(EPOCH_NS + at_ns, key=at_ns, size=size, kind=kind, about=about, data=None)


def test_datagrams_take_over_what_their_messages_are() -> None:
    first = Datagram(bytes(100), "media", 3, 80, 0)
    second = Datagram(bytes(1500), "retransmission", 3, 0, -1, 0)
    never = Datagram(bytes(10), "media", 4, 5, 1)
    log = PeerLog(sent=[Sent.of(d, 10, keep=False) for d in (first, second, never)])
    tap = Wiretap()
    tap.sent = [
        left(-5, 60, None, "dtls"),  # before the session
        left(15, 168, 0),
        left(20, 100, None),
        left(400, 1227, 1),
        left(420, 408, 1),
        left(500, 120, None, "ice"),
    ]
    wire, facts = on_the_wire(log, tap, EPOCH_NS)
    assert [(s.at_ns, s.kind, s.frame, s.media_bytes, s.size, s.key) for s in wire.sent] == [
        (15, "media", 3, 80, 168, 15),
        (20, "sctp", -1, 0, 100, 20),
        (400, "retransmission", 3, 0, 1227, 400),
        (420, "retransmission", 3, 0, 408, 420),
        (500, "ice", -1, 0, 120, 500),
    ]
    assert [(s.token, s.retransmission_of) for s in wire.sent] == [
        (0, -1),
        (-1, -1),
        (-1, 0),
        (-1, -1),
        (-1, -1),
    ]
    assert (facts["messages"], facts["messages_never_sent"]) == (3, 1)
    assert facts["pieces_beyond_the_first"] == 1
    assert facts["sctp_wait"]["max_ms"] == 390 / 1e6
