import multiprocessing
from pathlib import Path

import pytest

pytest.importorskip("aiortc")

from testbed.errors import InputError
from testbed.media.clips import open_clip
from testbed.media.quality import measure_displayed
from testbed.network.spec import LossSpec
from testbed.tables import KINDS
from testbed.transports.base import FrameAbandoned, FrameDecoded, FrameEncoded
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.records import PeerLog
from testbed.worlds.webrtc.media_codecs import Decoding
from testbed.worlds.webrtc.media_receiver import Viewed
from testbed.worlds.webrtc.media_world import put_together
from testbed.worlds.webrtc.world import run_webrtc_session
from tests.worlds.helpers import MemorySink, path, session

MS = 1_000_000


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_BUSY_P99_MS", "500")


def test_vp8_through_the_relay() -> None:
    lossy = path(loss=LossSpec("bernoulli", {"rate": 0.05}), delay_ms=20.0)
    spec = session(
        transport="aiortc-vp8", duration_s=3.0, deadline_ms=2000.0, kbps=400.0, down=lossy
    )
    sink = MemorySink()
    result = run_webrtc_session(spec, sink, base=Path.cwd())
    assert multiprocessing.active_children() == []
    tables = sink.tables()
    frames, packets = tables["frames"], tables["packets"]
    assert set(packets.kind) <= set(KINDS)
    # aiortc's jitter buffer gives a frame up when the next one begins: the last one stays there.
    shown = frames.outcome.isin(["rendered", "concealed"])
    assert shown.sum() >= 20
    assert not shown.iloc[-1]
    # A frame waits for the next one, which is a frame interval later.
    waited = (frames.decodable_ns - frames.encode_end_ns)[shown] / MS
    assert waited.min() > 1000 / 15
    assert (frames.render_ns - frames.decode_end_ns)[shown].min() >= 0
    down = packets[packets.direction == "down"]
    assert set(down.kind) >= {"media", "feedback"}
    assert set(down[down.kind == "media"].frame) == set(range(45))
    again = down.dropna(subset=["retransmission_of"])
    assert set(again.kind) <= {"retransmission"}
    originals = down.set_index("seq").loc[again.retransmission_of.astype(int)]
    assert list(originals.frame) == list(again.frame)
    assert result.facts["sender"]["start_kbps"] == 400.0
    assert frames.media_bytes.sum() < down.size_bytes.sum()
    clip = open_clip(spec.clip, base=Path.cwd())
    scores = measure_displayed(
        clip, result.codec, result.received, result.displayed, metrics=["psnr"], conceal=True
    )
    assert scores["psnr"][:20].mean() > 25


def decoding(number: int, *, key: bool = False, at_ms: int, pictures: int = 1) -> Decoding:
    pts = 6000 * (number - 1)
    return Decoding(pts, at_ms * MS, (at_ms + 2) * MS, key, [pts] * pictures, data=bytes([number]))


def test_frames_are_matched_by_timestamp_and_judged_by_what_they_refer_to() -> None:
    spec = session(duration_s=0.6, fps=10.0, deadline_ms=200.0)
    make = EndFactory(spec, base=Path.cwd())
    origin = (1 << 32) - 9000  # timestamps wrap in between; the first frame never got through
    stamps = {(origin + 6000 * (n - 1)) % (1 << 32): n for n in range(6)}
    decodings = [
        decoding(1, key=True, at_ms=150),
        decoding(2, at_ms=250),
        decoding(4, at_ms=450),
        decoding(5, at_ms=900),
    ]
    decodings[-1].end_ns = -1
    sender = PeerLog(facts={"frames": stamps})
    sender.events = [(0, FrameEncoded(n, n == 0, 100.0, 0, 0, 10)) for n in range(6)]
    shown = {one.pts: one.end_ns + MS for one in decodings[:3]}
    shown[decodings[1].pts] = 401 * MS
    receiver = PeerLog(facts={"viewed": Viewed(origin, decodings, shown)})
    put_together(make, sender, receiver)
    events = [event for _, event in receiver.events]
    assert events == [
        FrameDecoded(1, 150 * MS, 152 * MS, 153 * MS, "rendered"),
        FrameDecoded(2, 250 * MS, 252 * MS, -1, "late"),
        FrameDecoded(4, 450 * MS, 452 * MS, 453 * MS, "concealed"),  # 3 is missing
        FrameAbandoned(5, "decoder-error"),
    ]
    assert [(f.index, f.data, f.complete) for f in receiver.received] == [
        (0, b"", False),
        (1, b"\x01", True),
        (2, b"\x02", True),
        (3, b"", False),
        (4, b"\x04", True),
        (5, b"\x05", True),
    ]


def test_more_frames_a_second_than_aiortc_encodes_are_refused() -> None:
    spec = session(transport="aiortc-h264", fps=60.0, duration_s=1.0)
    with pytest.raises(InputError, match=r"aiortc encodes at most 30 fps \(got 60\)"):
        run_webrtc_session(spec, MemorySink(), base=Path.cwd())
