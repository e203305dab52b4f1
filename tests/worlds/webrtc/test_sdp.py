import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RemoteProtocolError
from testbed.worlds.webrtc.sdp import candidate_of, readdressed

# The lines that matter here, in the order of RFC 8866.
DESCRIPTION = """\
v=0\r
o=- 1 1 IN IP4 0.0.0.0\r
s=-\r
m=application 40001 UDP/DTLS/SCTP webrtc-datachannel\r
c=IN IP4 127.0.0.1\r
a=candidate:f1 1 udp 2130706431 127.0.0.1 40001 typ host\r
a=end-of-candidates\r
a=ice-ufrag:Ab12\r
"""


def test_the_candidate_is_found() -> None:
    assert candidate_of(DESCRIPTION) == ("127.0.0.1", 40001)


def test_the_relay_takes_the_peers_place_everywhere() -> None:
    text = readdressed(DESCRIPTION, ("127.0.0.2", 50002))
    assert candidate_of(text) == ("127.0.0.2", 50002)
    assert "40001" not in text
    assert "127.0.0.1" not in text
    assert text.splitlines()[3:6] == [
        "m=application 50002 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 127.0.0.2",
        "a=candidate:f1 1 udp 2130706431 127.0.0.2 50002 typ host",
    ]
    assert text.endswith("a=ice-ufrag:Ab12\r\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a=candidate:f1", "a=other:f1", "0 candidates"),
        (
            "a=end-of-candidates",
            "a=candidate:f2 1 udp 2130706431 10.0.0.1 40001 typ host",
            "2 candidates",
        ),
        ("127.0.0.1 40001 typ", "127.0.0.1 99999 typ", "port 99999"),
    ],
)
def test_other_descriptions_are_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(RemoteProtocolError, match=said):
        candidate_of(DESCRIPTION.replace(old, new))


@given(st.text())
def test_garbage_is_refused_with_our_own_error(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        candidate_of(text)


def test_aiortc_writes_what_we_read() -> None:
    aiortc = pytest.importorskip("aiortc")
    sdp = pytest.importorskip("aiortc.sdp")
    text = readdressed(DESCRIPTION + "a=mid:0\r\na=setup:actpass\r\n", ("127.0.0.9", 7))
    (candidate,) = sdp.SessionDescription.parse(text).media[0].ice_candidates
    assert isinstance(candidate, aiortc.RTCIceCandidate)
    assert (candidate.ip, candidate.port) == ("127.0.0.9", 7)
