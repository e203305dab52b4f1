import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiortc")

from testbed.protocol.rtp import pack_rtp
from testbed.transports.base import FrameAbandoned
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock, monotonic_ns
from testbed.worlds.realtime.records import PeerLog
from testbed.worlds.webrtc.media_codecs import Encoding
from testbed.worlds.webrtc.media_sender import Camera, RtpWatch
from testbed.worlds.webrtc.wiretap import Wiretap
from tests.worlds.helpers import session


class Sender:
    _rtx_ssrc = 99


class Encoder:
    latest: Encoding


def rtp(sequence: int, timestamp: int, payload: bytes = b"x", *, ssrc: int = 7) -> bytes:
    return pack_rtp(
        payload, payload_type=97, marker=False, sequence=sequence, timestamp=timestamp, ssrc=ssrc
    )


def watched(watch: RtpWatch, data: bytes) -> tuple[Any, ...]:
    row = watch.about(data)
    assert row is not None
    return row.kind, row.frame, row.media_bytes, row.token, row.retransmission_of


def test_packets_are_known_by_their_frame_and_by_what_they_repeat() -> None:
    encoder = Encoder()
    watch = RtpWatch(Sender(), encoder, Wiretap())  # type: ignore[arg-type]
    encoder.latest = Encoding(4, 0, 0, True, [1000, 300], 500.0)
    assert watched(watch, rtp(65535, 9000)) == ("media", 4, 1000, 0, -1)
    assert watched(watch, rtp(0, 9000)) == ("media", 4, 300, 1, -1)
    encoder.latest = Encoding(6, 0, 0, False, [20], 500.0)
    assert watched(watch, rtp(1, 12000)) == ("media", 6, 20, 2, -1)
    # RFC 4588: a stream of its own, with the number of the packet in front.
    assert watched(watch, rtp(5, 9000, b"\x00\x00x", ssrc=99)) == ("retransmission", 4, 0, -1, 1)
    # Without such a stream the packet is sent once more as it was.
    assert watched(watch, rtp(1, 12000)) == ("retransmission", 6, 0, -1, 2)
    assert watched(watch, rtp(5, 1, b"\x01\x01x", ssrc=99)) == ("retransmission", -1, 0, -1, -1)
    assert watched(watch, bytes([0x80, 200]) + bytes(26)) == ("feedback", -1, 0, -1, -1)
    assert watch.about(b"?") is None
    assert watch.frames == {9000: 4, 12000: 6}


def test_the_camera_is_punctual_and_drops_what_nobody_takes() -> None:
    async def run() -> tuple[list[int], PeerLog]:
        make = EndFactory(session(duration_s=0.5, fps=20.0), base=Path.cwd())
        log = PeerLog()
        camera = Camera(make, log)
        # The session is so old that three pictures were missed, and the fourth is due.
        camera.clock.set_result(SessionClock(monotonic_ns() - make.capture_ns(3) - 1))
        taken: list[int] = []
        while not taken or taken[-1] < 9 * 4500:  # a busy machine may miss more of them
            frame = await camera.recv()
            taken.append(frame.pts)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(camera.recv(), 0.05)
        assert camera.index_of(taken[0]) == taken[0] // 4500 >= 3
        camera.stop()
        return taken, log

    taken, log = asyncio.run(run())
    assert taken == sorted(taken)
    dropped = [event.index for _, event in log.events if isinstance(event, FrameAbandoned)]
    assert dropped[:3] == [0, 1, 2]
    assert len(dropped) + len(taken) == 10
