"""Real encoders: what they give out, how the cache repeats them, how they follow a target."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest

from testbed.errors import InputError, LocalProtocolError, ToolFailedError, UnknownNameError
from testbed.media import annexb, encoders, lavc, vvenc
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip, open_clip
from testbed.media.encoders import EncoderConfig, open_encoder
from testbed.media.spec import ClipSpec
from testbed.media.types import EncodedFrame
from tests.media.conftest import OpenClip

CODECS = ("h264", "h265", "h266")
LIVE = ("h264", "h265")
DECODERS = {"h264": "h264", "h265": "hevc", "h266": "vvc"}
SPEC = ClipSpec("carphone", duration_s=2)


@pytest.fixture
def clip(clip_of: OpenClip) -> Clip:
    return clip_of("carphone", duration_s=2)


@pytest.fixture
def cache(tmp_path: Path) -> EncodeCache:
    return EncodeCache(tmp_path / "encodes.sqlite")


def _encode(
    codec: str,
    clip: Clip,
    cache: EncodeCache | None = None,
    *,
    targets: Sequence[float] = (),
    forced: Sequence[int] = (),
    count: int = 40,
    config: EncoderConfig = EncoderConfig(),  # noqa: B008 (frozen)
) -> list[EncodedFrame]:
    encoder = open_encoder(codec, clip, config, cache)
    targets = targets or [120.0] * count
    return [
        encoder.encode(index, target_kbps=target, force_key=index in forced)
        for index, target in enumerate(targets)
    ]


def _bytes(frames: Sequence[EncodedFrame]) -> list[bytes]:
    return [frame.data for frame in frames]


def _types(codec: str, data: bytes) -> list[int]:
    return [annexb.nal_type(codec, unit) for unit in annexb.nal_units(data)]


# --- what comes out


@pytest.mark.parametrize("codec", CODECS)
def test_one_access_unit_a_frame(codec: str, clip: Clip) -> None:
    frames = _encode(codec, clip, forced=[17])
    assert [frame.index for frame in frames] == list(range(40))
    assert [frame.index for frame in frames if frame.key] == [0, 17]
    wanted = annexb.PICTURE_TYPES[codec] | annexb.PARAMETER_TYPES[codec]
    for frame in frames:
        types = _types(codec, frame.data)
        assert set(types) <= wanted, "parameter sets and pictures only: no banner, no delimiter"
        assert sum(kind in annexb.PICTURE_TYPES[codec] for kind in types) == 1
        assert annexb.is_key(codec, frame.data) == frame.key
        assert frame.data.startswith(annexb.START_CODE)
        assert frame.encode_ns > 0


@pytest.mark.parametrize("codec", CODECS)
def test_another_decoder_interface_reads_the_stream(codec: str, clip: Clip, tmp_path: Path) -> None:
    """FFmpeg's raw-stream demuxer must find the same frames in the concatenated bytes."""
    path = tmp_path / "stream.bin"
    path.write_bytes(b"".join(_bytes(_encode(codec, clip, forced=[10], count=20))))
    with av.open(str(path), format={"h266": "vvc", "h265": "hevc"}.get(codec, codec)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 20
    assert {(frame.width, frame.height) for frame in frames} == {(176, 144)}


@pytest.mark.parametrize("codec", CODECS)
def test_key_frames_come_at_the_intra_period(codec: str, clip: Clip) -> None:
    frames = _encode(codec, clip, forced=[4], config=EncoderConfig(intra_period_frames=10))
    assert [frame.index for frame in frames if frame.key] == [0, 4, 14, 24, 34]


def test_slices(clip: Clip) -> None:
    for frame in _encode("h264", clip, config=EncoderConfig(slices=3), count=3):
        types = _types("h264", frame.data)
        assert sum(kind in annexb.PICTURE_TYPES["h264"] for kind in types) == 3


@pytest.mark.parametrize("codec", CODECS)
def test_no_frame_depends_on_a_later_one(codec: str, clip_of: OpenClip, tmp_path: Path) -> None:
    """No look-ahead: the bytes stay the same when the source goes on differently."""
    from testbed.media import y4m

    pictures = list(clip_of("carphone", duration_s=2).frames())
    written = []
    for name, tail in (("a", pictures[12:]), ("b", pictures[:11:-1])):
        path = tmp_path / f"{name}.y4m"
        clip = clip_of("carphone")
        y4m.write_pictures(path, pictures[:12] + tail, width=176, height=144, fps=clip.fps)
        written.append(_encode(codec, clip_of(str(path), duration_s=2), count=20))
    assert _bytes(written[0])[:12] == _bytes(written[1])[:12]
    assert _bytes(written[0])[12:] != _bytes(written[1])[12:]


@pytest.mark.parametrize("codec", CODECS)
def test_the_end_of_the_clip_changes_nothing(codec: str, clip_of: OpenClip) -> None:
    """Clips of other durations share their encodes, to the last byte of the last frame."""
    long, short = (_encode(codec, clip_of("carphone", duration_s=s), count=12) for s in (2, 0.4))
    assert _bytes(short) == _bytes(long)


@pytest.mark.parametrize("codec", CODECS)
def test_odd_rates_and_small_pictures(codec: str, clip_of: OpenClip) -> None:
    clip = clip_of("test:testsrc2", width=34, height=50, fps=59.94, duration_s=0.3)
    frames = _encode(codec, clip, count=clip.frame_count)
    decoder = av.codec.CodecContext.create(DECODERS[codec], "r")
    pictures = [p for f in frames for p in decoder.decode(av.Packet(f.data))]
    pictures += decoder.decode(None)
    assert len(pictures) == clip.frame_count == 18
    assert (pictures[0].width, pictures[0].height) == (34, 50)


# --- the cache


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_are_the_same_with_and_without_cache(
    codec: str, clip: Clip, cache: EncodeCache
) -> None:
    targets = [120.0] * 20 + [80.0] * 20
    bare = _encode(codec, clip, targets=targets, forced=[30])
    first = _encode(codec, clip, cache, targets=targets, forced=[30])
    again = _encode(codec, clip, cache, targets=targets, forced=[30])
    assert _bytes(bare) == _bytes(first)
    assert first == again, "the measured time repeats, too"


@pytest.mark.parametrize("codec", CODECS)
def test_a_hit_starts_no_encoder(
    codec: str, clip: Clip, cache: EncodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _encode(codec, clip, cache, forced=[11])

    def refuse(*arguments: object) -> None:
        raise AssertionError("an encoder was started")

    monkeypatch.setattr(lavc, "LavcSegment", refuse)
    monkeypatch.setattr(vvenc, "VvencSegment", refuse)
    assert _encode(codec, clip, cache, forced=[11]) == expected


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("known", [1, 13, 39])
def test_the_cache_may_know_only_the_beginning(
    codec: str, clip: Clip, tmp_path: Path, known: int
) -> None:
    whole = _encode(codec, clip)
    cache = EncodeCache(tmp_path / "part.sqlite")
    _encode(codec, clip, cache, count=known)
    assert _bytes(_encode(codec, clip, cache)) == _bytes(whole)


@pytest.mark.parametrize("codec", LIVE)
def test_histories_that_part_and_meet_are_kept_apart(
    codec: str, clip: Clip, cache: EncodeCache
) -> None:
    straight = [120.0] * 30
    detour = [120.0] * 10 + [60.0] * 5 + [120.0] * 15
    expected = [_bytes(_encode(codec, clip, targets=t)) for t in (straight, detour)]
    assert expected[0][:10] == expected[1][:10]
    assert expected[0][15:] != expected[1][15:]
    for _ in range(2):
        for targets, wanted in zip((straight, detour), expected, strict=True):
            assert _bytes(_encode(codec, clip, cache, targets=targets)) == wanted


def test_what_follows_a_key_frame_is_shared(clip: Clip, cache: EncodeCache) -> None:
    """A sweep encodes each clip once: a key frame request costs one segment, not a clip."""
    _encode("h264", clip, cache, forced=[20])
    before = cache.info().frames
    _encode("h264", clip, cache, forced=[10, 20])
    # Frames 10 to 19 are new; from 20 on they are new only if the debt then differs much.
    assert cache.info().frames - before in (10, 30)


def test_configurations_are_kept_apart(clip: Clip, cache: EncodeCache) -> None:
    plain = EncoderConfig()
    seen = {
        b"".join(_bytes(_encode("h264", clip, cache, config=config, count=10)))
        for config in (plain, replace(plain, slices=2), replace(plain, preset="ultrafast"))
    }
    assert len(seen) == 3


def test_a_cache_that_lies_is_found_out(clip: Clip, cache: EncodeCache) -> None:
    _encode("h264", clip, cache, count=20)
    cache._db.execute("UPDATE frames SET data = x'00000001ff' WHERE rowid = 5")
    cache._db.commit()
    with pytest.raises(ToolFailedError, match="clips cache --clear"):
        _encode("h264", clip, cache, count=25)


def _digest(arguments: tuple[str, str]) -> tuple[str, list[int]]:
    codec, path = arguments
    clip = open_clip(SPEC, base=Path())
    frames = _encode(codec, clip, EncodeCache(Path(path)), forced=[15])
    return hashlib.sha256(b"".join(_bytes(frames))).hexdigest(), [f.encode_ns for f in frames]


@pytest.mark.parametrize("codec", CODECS)
def test_several_processes_at_once_agree(codec: str, clip: Clip, tmp_path: Path) -> None:
    expected = hashlib.sha256(b"".join(_bytes(_encode(codec, clip, forced=[15])))).hexdigest()
    path = str(tmp_path / "shared.sqlite")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        answers = list(pool.map(_digest, [(codec, path)] * 2))
    assert {digest for digest, _ in answers} == {expected}
    assert answers[0][1] == answers[1][1]


# --- the rate


@pytest.mark.parametrize("codec", LIVE)
def test_a_changing_target_is_followed_within_a_second(codec: str, clip_of: OpenClip) -> None:
    clip = clip_of("carphone", fps=25, duration_s=8)
    targets = [150.0] * 75 + [60.0] * 75 + [120.0] * 50
    frames = _encode(codec, clip, targets=targets)
    kbits = np.array([8 * len(frame.data) / 1000 for frame in frames])
    assert sum(frame.key for frame in frames) == 1, "no key frame for the rate's sake"
    for begin, end, target in ((25, 75, 150), (100, 150, 60), (175, 200, 120)):
        assert kbits[begin:end].sum() * 25 / (end - begin) == pytest.approx(target, rel=0.1)


@pytest.mark.parametrize("codec", LIVE)
def test_repeated_key_frames_do_not_burst_the_rate(codec: str, clip: Clip) -> None:
    """Many key frame requests, as under heavy loss: the debt is inherited by fresh encoders."""
    frames = _encode(codec, clip, targets=[120.0] * 60, forced=range(6, 60, 6))
    kbits = sum(8 * len(frame.data) for frame in frames) / 1000
    assert kbits < 1.35 * 120 * 60 / float(clip.fps)


def test_h266_keeps_a_target(clip_of: OpenClip) -> None:
    """VVenC's own control loop, with a plan in place of a first pass."""
    for name, kbps in (("carphone", 120.0), ("test:testsrc2", 200.0)):
        clip = clip_of(name, width=176, height=144, fps=25, duration_s=4)
        frames = _encode("h266", clip, targets=[kbps] * clip.frame_count)
        assert [frame.index for frame in frames if frame.key] == [0]
        seen = sum(8 * len(frame.data) / 1000 for frame in frames) / 4
        assert seen == pytest.approx(kbps, rel=0.05)


def test_h266_follows_a_target_within_a_second_and_without_a_key_frame(clip_of: OpenClip) -> None:
    clip = clip_of("carphone", fps=25, duration_s=4)
    frames = _encode("h266", clip, targets=[150.0] * 40 + [60.0] * 60)
    assert [frame.index for frame in frames if frame.key] == [0]
    kbits = np.array([8 * len(frame.data) / 1000 for frame in frames])
    assert kbits[65:].sum() * 25 / 35 == pytest.approx(60, rel=0.15)


def test_h266_after_an_outage(clip_of: OpenClip) -> None:
    """From almost nothing to much within a second, and back: no plan goes beyond its room."""
    clip = clip_of("carphone", fps=25, duration_s=4)
    targets = [20.0] * 15 + [200.0] * 30 + [20.0] * 30 + [200.0] * 25
    frames = _encode("h266", clip, targets=targets)
    assert [frame.index for frame in frames if frame.key] == [0, 25]
    kbits = np.array([8 * len(frame.data) / 1000 for frame in frames])
    assert kbits[:25].sum() < 30
    assert kbits[25:50].sum() > 90


def test_an_old_h266_segment_follows_by_a_key_frame(clip_of: OpenClip) -> None:
    clip = clip_of("carphone", width=88, height=72, fps=10, duration_s=9)
    frames = _encode("h266", clip, targets=[60.0] * 70 + [30.0] * 20)
    assert [frame.index for frame in frames if frame.key] == [0, 70]


def test_h266_histories_that_part_and_meet_are_kept_apart(clip: Clip, cache: EncodeCache) -> None:
    """Back at the first target, an encoder that has only ever heard that one must not go on."""
    there = [120.0] * 30 + [60.0] * 30
    _encode("h266", clip, cache, targets=there)  # the middle comes from the cache next time
    back = [120.0] * 30 + [60.0] * 26 + [120.0] * 4
    cached = _encode("h266", clip, cache, targets=back)
    assert _bytes(cached) == _bytes(_encode("h266", clip, targets=back))


def test_h266_follows_a_forced_key_frame_at_once(clip: Clip) -> None:
    assert [f.index for f in _encode("h266", clip, forced=[3, 5], count=8) if f.key] == [0, 3, 5]


# --- misuse


def test_unknown_names_list_the_known(clip: Clip) -> None:
    with pytest.raises(UnknownNameError, match="h264, h264-temporal, h265, h266"):
        open_encoder("av1", clip, EncoderConfig(), None)


@pytest.mark.parametrize(
    ("field", "value"), [("vbv_ms", 10), ("slices", 0), ("intra_period_frames", -1)]
)
def test_an_impossible_configuration_names_the_field(field: str, value: int) -> None:
    with pytest.raises(InputError, match=f"encoder {field} {value}"):
        EncoderConfig(**{field: value})


@pytest.mark.parametrize("codec", ["h265", "h266"])
def test_only_h264_has_slices(codec: str, clip: Clip) -> None:
    with pytest.raises(InputError, match=f"{codec} takes 1 only"):
        open_encoder(codec, clip, EncoderConfig(slices=2), None)


@pytest.mark.parametrize("codec", CODECS)
def test_an_unknown_preset_is_one_clear_line(codec: str, clip: Clip) -> None:
    with pytest.raises(InputError, match="preset 'warp'"):
        open_encoder(codec, clip, EncoderConfig(preset="warp"), None)


def test_frames_come_in_order(clip: Clip) -> None:
    encoder = open_encoder("h264", clip, EncoderConfig(), None)
    encoder.encode(0, target_kbps=100, force_key=False)
    for index in (0, 2):
        with pytest.raises(LocalProtocolError, match="next is 1"):
            encoder.encode(index, target_kbps=100, force_key=False)
    for target in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(LocalProtocolError, match="target_kbps"):
            encoder.encode(1, target_kbps=target, force_key=False)
    assert encoder.encode(1, target_kbps=100, force_key=False).index == 1


def test_the_end_of_the_clip_is_the_end(clip_of: OpenClip) -> None:
    clip = clip_of("carphone", duration_s=0.1)
    encoder = open_encoder("h264", clip, EncoderConfig(), None)
    for index in range(clip.frame_count):
        encoder.encode(index, target_kbps=100, force_key=False)
    with pytest.raises(LocalProtocolError, match="beyond the clip"):
        encoder.encode(clip.frame_count, target_kbps=100, force_key=False)


def test_no_encoder_looks_ahead() -> None:
    assert EncoderConfig().lookahead_frames == 0
    assert set(encoders.ENCODERS.names()) >= set(CODECS)
