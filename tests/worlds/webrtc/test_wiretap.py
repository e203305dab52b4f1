import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.rtp import pack_rtp
from testbed.worlds.realtime.clock import monotonic_ns
from testbed.worlds.realtime.records import key_of
from testbed.worlds.webrtc.wiretap import Wiretap, kind_of, row


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (bytes.fromhex("000100002112a442") + bytes(12), "ice"),  # RFC 5769: a binding request
        (bytes([22, 254, 253]), "dtls"),  # handshake, DTLS 1.2
        (bytes([21, 254, 253]), "dtls"),  # alert
        (bytes([23, 254, 253]), "sctp"),  # application data
        (pack_rtp(b"x", payload_type=97, marker=True, sequence=1, timestamp=2, ssrc=3), "rtp"),
        (b"", "unknown"),
        (b"\xff", "unknown"),
    ],
)
def test_the_first_byte_says_what_a_datagram_is(data: bytes, kind: str) -> None:
    assert kind_of(data) == kind


@given(st.binary(max_size=3))
def test_any_bytes_are_of_some_kind(data: bytes) -> None:
    assert kind_of(data) in {"ice", "dtls", "sctp", "rtp", "unknown"}


def test_only_what_happened_in_the_session_counts() -> None:
    tap = Wiretap(keep_data=True)
    tap.leaves(b"\x00before")
    tap.came(b"before")
    epoch_ns = monotonic_ns()
    tap.about = 7
    tap.leaves(b"\x17message")
    tap.about = None
    tap.leaves(b"\x16other")
    tap.came(b"after")
    first, second = tap.departures(epoch_ns)
    assert (first.about, first.kind, first.size, first.key) == (
        7,
        "sctp",
        8,
        key_of(b"\x17message"),
    )
    assert (second.about, second.kind) == (None, "dtls")
    arrivals = tap.arrivals(epoch_ns)
    assert list(arrivals.keys) == [key_of(b"after")]
    assert 0 <= second.at_ns - epoch_ns <= arrivals.times_ns[0]
    other = row(second, epoch_ns)
    assert (other.kind, other.frame, other.size) == ("dtls", -1, 6)
    assert (other.at_ns, other.data) == (second.at_ns - epoch_ns, b"\x16other")
