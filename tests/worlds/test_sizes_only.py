"""Sessions of codecs without pictures: what the worlds say of them, and what they charge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.analysis.metrics.columns import frame_columns
from testbed.errors import InputError
from testbed.media.clips import open_clip
from testbed.media.decoding import DECODERS, DecodedFrame
from testbed.media.quality import black, measure_displayed
from testbed.media.types import ReceivedFrame
from testbed.network.spec import LossSpec
from testbed.transports import TRANSPORTS, parse_options
from testbed.worlds.compute import compute_model
from testbed.worlds.published import PUBLISHED_SPEEDS, published_speed
from testbed.worlds.simulator import run_session
from tests.worlds.helpers import MemorySink, path, session

BASE = Path()


def test_without_a_decoder_the_facts_say_so_and_no_bytes_are_kept() -> None:
    result = run_session(session(transport="dcvc-rt", duration_s=1), MemorySink(), base=BASE)
    assert result.facts["pixels"] == "sizes-only"
    assert not any(frame.data for frame in result.received)


def test_with_a_decoder_from_outside_there_are_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guide tells of the hook: one picture for each frame that is complete."""

    def decoder(
        received: Iterable[ReceivedFrame], *, width: int, height: int, conceal: bool
    ) -> Iterator[DecodedFrame]:
        assert not conceal
        return (DecodedFrame(f.index, black(width, height)) for f in received if f.complete)

    transport = TRANSPORTS.get("dcvc-rt")
    options = parse_options(transport, {})
    before = transport.made_with(options)
    monkeypatch.setitem(DECODERS._entries, "dcvc-rt", decoder)
    assert transport.made_with(options) != before
    spec = session(transport="dcvc-rt", duration_s=1)
    result = run_session(spec, MemorySink(), base=BASE)
    assert "pixels" not in result.facts
    assert all(frame.data for frame in result.received)
    scores = measure_displayed(
        open_clip(spec.clip, base=BASE), result.codec, result.received, result.displayed,
        metrics=["psnr"], conceal=result.conceal, decoder_options=result.decoder_options,
    )  # fmt: skip
    assert 0 < scores["psnr"].mean() < 15


@pytest.mark.parametrize(
    ("name", "options", "wait_frames"),
    [
        ("dcvc-rt", {}, 0),
        ("promptus", {"rank": 1, "interval": 6}, 5),
        ("disco", {"chunk_frames": 9}, 8),
    ],
)
def test_a_sessions_log_is_sound_and_has_the_wait(
    name: str, options: dict[str, Any], wait_frames: int
) -> None:
    """In step with the first frame of each full group: its wait, the path, the sending."""
    for rate in (0.0, 0.2):
        loss = LossSpec("bernoulli", {"rate": rate}) if rate else None
        sink = MemorySink()
        spec = session(
            transport=name, options=options, kbps=400.0,
            down=path(kbps=50_000, delay_ms=50, packets=None, loss=loss),
        )  # fmt: skip
        run_session(spec, sink, base=BASE)
        frames = frame_columns(sink.tables()["frames"])  # refuses a log that contradicts itself
        if not rate:
            assert frames.shown.all()
            latency_ms = (frames.render_ns - frames.capture_ns)[wait_frames + 1 : 36] / 1e6
            assert latency_ms.min() >= wait_frames * 1000 / 15 + 50 - 0.001
            assert latency_ms.max() <= wait_frames * 1000 / 15 + 50 + 60


@pytest.mark.parametrize(
    ("codec", "encode_ms", "decode_ms", "device"),
    [
        ("dcvc-rt", 1000 / 125.2, 1000 / 112.8, "A100"),
        ("promptus", 0.0, 1000 / 170, "4090D"),
        ("disco", 97.89, 396.2, "H100"),
    ],
)
@pytest.mark.parametrize("model", ["a100", "rtx3090", "jetson-orin", "measured"])
def test_published_speeds_are_taken_whatever_device_is_asked_for(
    model: str, codec: str, encode_ms: float, decode_ms: float, device: str
) -> None:
    nothing: Any = None  # no codec to time, so no clip is looked at
    made = compute_model(model, codec=codec, clip=nothing)
    assert made.encode_ns(nothing) == pytest.approx(encode_ms * 1e6, abs=1)
    assert made.decode_ns() == pytest.approx(decode_ms * 1e6, abs=1)
    facts = made.facts()
    assert facts["model"] == model
    assert device in facts["note"]


def test_what_nothing_here_encodes_cannot_be_measured() -> None:
    clip = open_clip(session().clip, base=BASE)
    with pytest.raises(InputError, match=r"^compute measured: no encoder of grace-original here"):
        compute_model("measured", codec="grace-original", clip=clip)


def test_speeds_are_not_made_up() -> None:
    assert published_speed("h264") is None
    assert set(PUBLISHED_SPEEDS.names()) == {"dcvc-rt", "disco", "promptus"}
    assert compute_model("zero", codec="disco", clip=None).decode_ns() == 0  # type: ignore[arg-type]
