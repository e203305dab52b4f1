"""What can be decoded: the rule and the real decoders must agree."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from testbed.errors import UnknownNameError
from testbed.media import annexb
from testbed.media.clips import Clip
from testbed.media.decoding import decodable, decode
from testbed.media.encoders import EncoderConfig, open_encoder
from testbed.media.types import EncodedFrame, ReceivedFrame
from tests.media.conftest import OpenClip

CODECS = ("h264", "h265", "h266")
KEYS = (0, 12, 20)
#: nal_unit_type PREFIX_APS_NUT (H.266, table 5).
H266_PREFIX_APS = 17
COUNT = 30


@pytest.fixture(scope="module")
def streams() -> dict[str, list[EncodedFrame]]:
    return {}


@pytest.fixture
def clip(clip_of: OpenClip) -> Clip:
    return clip_of("carphone", duration_s=1.1)


def _stream(codec: str, clip: Clip, streams: dict[str, list[EncodedFrame]]) -> list[EncodedFrame]:
    if codec not in streams:
        encoder = open_encoder(codec, clip, EncoderConfig(), None)
        streams[codec] = [
            encoder.encode(index, target_kbps=120, force_key=index in KEYS)
            for index in range(COUNT)
        ]
    return streams[codec]


def _received(frames: list[EncodedFrame], lost: set[int] = frozenset()) -> list[ReceivedFrame]:  # type: ignore[assignment]
    return [
        ReceivedFrame(
            frame.index,
            frame.key,
            b"" if frame.index in lost else frame.data,
            complete=frame.index not in lost,
        )
        for frame in frames
    ]


def _decode(
    codec: str, received: list[ReceivedFrame], *, conceal: bool = False
) -> dict[int, np.ndarray]:
    pictures = decode(codec, received, width=176, height=144, conceal=conceal)
    return {frame.index: frame.picture for frame in pictures}


def test_the_rule_by_hand() -> None:
    def frames(text: str) -> list[ReceivedFrame]:
        # K, P: complete key and other frame; k, p: incomplete; dot: nothing arrived
        return [
            ReceivedFrame(i, c in "Kk", b"" if c == "." else b"x", complete=c in "KP")
            for i, c in enumerate(text)
        ]

    def rule(text: str) -> str:
        return "".join("1" if ok else "0" for ok in decodable(frames(text)))

    assert rule("") == ""
    assert rule("KPPP") == "1111"
    assert rule("PPKP") == "0011"
    assert rule("KPpPPKP") == "1100011"
    assert rule("KP.PkPKP") == "11000011"


@pytest.mark.parametrize("codec", CODECS)
def test_everything_arrived(codec: str, clip: Clip, streams: dict[str, list[EncodedFrame]]) -> None:
    pictures = _decode(codec, _received(_stream(codec, clip, streams)))
    assert list(pictures) == list(range(COUNT))
    for index, picture in pictures.items():
        assert picture.shape == clip.frame(index).shape
        error = picture.astype(float) - clip.frame(index)
        assert 10 * np.log10(65025 / (error**2).mean()) > 27, index


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seed", range(8))
def test_the_rule_is_sound(
    codec: str, seed: int, clip: Clip, streams: dict[str, list[EncodedFrame]]
) -> None:
    """Decoded pictures are bit for bit those of the whole stream exactly where the rule says so.

    The other direction goes through the concealing decoder, which is given everything that
    arrived: where the rule says no, the real picture comes out differently or not at all.
    """
    frames = _stream(codec, clip, streams)
    whole = _decode(codec, _received(frames))
    rng = np.random.default_rng(seed)
    lost = set(np.flatnonzero(rng.random(COUNT) < 0.08 * (1 + seed % 3)).tolist())
    received = _received(frames, lost)
    rule = decodable(received)
    strict = _decode(codec, received)
    assert sorted(strict) == [index for index, ok in enumerate(rule) if ok]
    assert all((strict[index] == whole[index]).all() for index in strict)
    concealed = _decode(codec, received, conceal=True)
    for index, ok in enumerate(rule):
        same = index in concealed and bool((concealed[index] == whole[index]).all())
        assert same == ok, f"frame {index}, lost {sorted(lost)}"


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_frames_are_marked(
    codec: str, clip: Clip, streams: dict[str, list[EncodedFrame]]
) -> None:
    received = _received(_stream(codec, clip, streams), {5})
    frames = decode(codec, received, width=176, height=144, conceal=True)
    shown = {f.index: f.damaged for f in frames}
    marked = {index: 5 < index < 12 for index in range(COUNT) if index != 5}
    if codec == "h266":
        # The lost frame brought filters (an adaptation parameter set) that some of those after it
        # use: these the decoder refuses.
        lost = _stream(codec, clip, streams)[5].data
        assert H266_PREFIX_APS in {annexb.nal_type("h266", unit) for unit in annexb.nal_units(lost)}
        assert any(shown.get(index) for index in range(6, 12))
        marked = {
            index: damaged
            for index, damaged in marked.items()
            if index in shown or not 5 < index < 12
        }
    assert shown == marked


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_comes_out_before_a_key_frame(
    codec: str, clip: Clip, streams: dict[str, list[EncodedFrame]]
) -> None:
    received = _received(_stream(codec, clip, streams), {0})
    for conceal in (False, True):
        assert min(_decode(codec, received, conceal=conceal)) == 12


def test_a_part_of_a_frame_is_concealed(clip: Clip) -> None:
    encoder = open_encoder("h264", clip, EncoderConfig(slices=3), None)
    frames = [encoder.encode(i, target_kbps=120, force_key=False) for i in range(6)]
    received = _received(frames)
    units = list(annexb.nal_units(frames[3].data))
    partial = b"".join(annexb.START_CODE + unit for unit in units[:-1])
    received[3] = ReceivedFrame(3, False, partial, complete=False)
    assert sorted(_decode("h264", received)) == [0, 1, 2]
    concealed = _decode("h264", received, conceal=True)
    whole = _decode("h264", _received(frames))
    assert sorted(concealed) == list(range(6))
    third = clip.width * 48
    assert (concealed[3][:third] == whole[3][:third]).all()
    assert (concealed[3] != whole[3]).any()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("conceal", [False, True])
def test_garbage_does_not_end_the_process(
    codec: str, conceal: bool, clip: Clip, streams: dict[str, list[EncodedFrame]]
) -> None:
    rng = np.random.default_rng(11)
    received = []
    for frame in _received(_stream(codec, clip, streams)):
        data = bytearray(frame.data)
        kind = frame.index % 5
        if kind == 1:
            data = bytearray(rng.bytes(len(data)))
        elif kind == 2:
            for at in rng.integers(5, len(data), 5):
                data[at] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            data = data[: len(data) // 2]
        received.append(ReceivedFrame(frame.index, frame.key, bytes(data), complete=True))
    pictures = _decode(codec, received, conceal=conceal)
    assert 0 in pictures
    assert all(picture.shape == (176 * 144 * 3 // 2,) for picture in pictures.values())


def test_ten_bits_become_eight_by_rounding() -> None:
    from testbed.media.decoding import _to_8_bits

    samples = np.array([0, 1, 2, 5, 6, 1019, 1022, 1023], np.uint16)
    assert _to_8_bits(samples).tolist() == [0, 0, 1, 1, 2, 255, 255, 255]


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UnknownNameError, match="h264, h265, h266"):
        list(decode("av1", [], width=16, height=16, conceal=False))


def test_vp8_is_decoded_frame_by_frame(clip: Clip) -> None:
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = clip.width, clip.height, "yuv420p"
    encoder.time_base, encoder.bit_rate = Fraction(1, 30), 2_000_000
    encoder.options = {"lag-in-frames": "0", "deadline": "realtime"}
    packets = []
    for index in range(10):
        planes = clip.frame(index).reshape(-1, clip.width)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = index
        packets += encoder.encode(frame)
    received = [
        ReceivedFrame(n, packet.is_keyframe, b"" if n == 6 else bytes(packet), n != 6)
        for n, packet in enumerate(packets)
    ]
    size = {"width": clip.width, "height": clip.height}
    whole = list(decode("vp8", received, conceal=False, **size))
    assert [one.index for one in whole] == [0, 1, 2, 3, 4, 5]
    for one in whole:
        difference = one.picture.astype(int) - clip.frame(one.index).astype(int)
        assert np.mean(difference**2) < 255**2 / 10**2.5  # 25 dB
    concealed = list(decode("vp8", received, conceal=True, **size))
    assert [(one.index, one.damaged) for one in concealed[6:]] == [(7, True), (8, True), (9, True)]
