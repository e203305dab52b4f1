"""Picture quality against independent computations."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.errors import BrokenLogError, ToolFailedError, UnknownNameError
from testbed.media import quality
from testbed.media.clips import Clip
from testbed.media.encoders import EncoderConfig, open_encoder
from testbed.media.quality import METRICS, black, compare, measure_displayed, screen
from testbed.media.types import ReceivedFrame
from tests.media.conftest import OpenClip

WIDTH, HEIGHT = 176, 144


@pytest.fixture
def clip(clip_of: OpenClip) -> Clip:
    return clip_of("carphone", duration_s=1)


def _noisy(clip: Clip, strength: float) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [
        np.clip(p + rng.normal(0, strength, p.size), 0, 255).astype(np.uint8) for p in clip.frames()
    ]


def _compare(pictures: list[np.ndarray], clip: Clip, metrics: tuple[str, ...]) -> quality.Scores:
    return compare(
        iter(pictures),
        clip.frames(),
        width=clip.width,
        height=clip.height,
        metrics=metrics,
        count=len(pictures),
    )


def _ssim(one: np.ndarray, two: np.ndarray) -> float:
    """SSIM (Wang et al. 2004) over 8x8 windows at every fourth sample, after its definition."""
    windows = []
    for plane in (one, two):
        view = np.lib.stride_tricks.sliding_window_view(plane.astype(np.float64), (8, 8))
        windows.append(view[::4, ::4].reshape(-1, 64))
    x, y = windows
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = x.mean(1), y.mean(1)
    # FFmpeg (after x264) takes the unbiased estimate, n - 1 = 63.
    vx, vy = x.var(1, ddof=1), y.var(1, ddof=1)
    cov = ((x - mx[:, None]) * (y - my[:, None])).sum(1) / 63
    value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(value.mean())


def test_psnr_is_that_of_luma(clip: Clip) -> None:
    pictures = _noisy(clip, 6)
    scores = _compare(pictures, clip, ("psnr",))["psnr"]
    luma = clip.width * clip.height
    for index, picture in enumerate(pictures):
        error = picture[:luma].astype(float) - clip.frame(index)[:luma]
        assert scores[index] == pytest.approx(10 * np.log10(255**2 / (error**2).mean()), abs=1e-4)


def test_ssim_is_that_of_the_definition(clip: Clip) -> None:
    pictures = _noisy(clip, 6)
    scores = _compare(pictures, clip, ("ssim",))["ssim"]
    shape = (clip.height, clip.width)
    luma = clip.width * clip.height
    for index in range(0, len(pictures), 7):
        expected = _ssim(pictures[index][:luma].reshape(shape), clip.luma(index))
        assert scores[index] == pytest.approx(expected, abs=2e-4)


def test_more_noise_is_worse_in_every_metric(clip: Clip) -> None:
    levels = [_compare(_noisy(clip, strength), clip, METRICS) for strength in (2, 6, 15)]
    for name in METRICS:
        means = [scores[name].mean() for scores in levels]
        assert means[0] > means[1] > means[2]


def test_identical_pictures(clip: Clip) -> None:
    scores = _compare(list(clip.frames()), clip, METRICS)
    assert (scores["psnr"] == quality.PSNR_CAP_DB).all()
    assert (scores["ssim"] == 1).all()
    assert scores["vmaf"].min() > 95
    assert scores["vmaf"].max() <= 100


def test_one_metric_alone_is_the_same_as_among_others(clip: Clip) -> None:
    pictures = _noisy(clip, 4)
    together = _compare(pictures, clip, METRICS)
    for name in METRICS:
        assert (_compare(pictures, clip, (name,))[name] == together[name]).all()


def test_each_slot_is_judged_by_its_own_source_picture(clip: Clip) -> None:
    """One wrong picture in the middle lowers its own slot and no other."""
    pictures = list(clip.frames())
    pictures[10] = black(clip.width, clip.height)
    scores = _compare(pictures, clip, METRICS)
    for name in METRICS:
        assert int(scores[name].argmin()) == 10
        assert np.delete(scores[name], 10).min() > 10 * scores[name][10] or name != "vmaf"
    assert scores["psnr"][10] < 15
    assert (np.delete(scores["psnr"], 10) == quality.PSNR_CAP_DB).all()


def _received(clip: Clip, lost: set[int] = frozenset()) -> list[ReceivedFrame]:  # type: ignore[assignment]
    encoder = open_encoder("h264", clip, EncoderConfig(), None)
    received = []
    for index in range(clip.frame_count):
        frame = encoder.encode(index, target_kbps=200, force_key=index == 20)
        gone = index in lost
        received.append(
            ReceivedFrame(index, frame.key, b"" if gone else frame.data, complete=not gone)
        )
    return received


def test_the_screen_freezes_and_begins_black(clip: Clip) -> None:
    received = _received(clip, {8})
    shown = [-1, -1, *range(2, 8), *[7] * 12, *range(20, 30)]
    pictures = list(screen(clip, "h264", received, shown, conceal=False))
    assert len(pictures) == 30
    assert (pictures[0] == black(WIDTH, HEIGHT)).all()
    for slot in range(8, 20):
        assert (pictures[slot] == pictures[7]).all()
    assert (pictures[20] != pictures[7]).any()
    scores = measure_displayed(clip, "h264", received, shown, metrics=METRICS, conceal=False)
    assert {name: len(values) for name, values in scores.items()} == dict.fromkeys(METRICS, 30)
    assert scores["psnr"][:2].max() < 15
    assert scores["psnr"][8:20].mean() < scores["psnr"][2:8].mean() - 3
    assert scores["psnr"][20] > 30


def test_late_frames_are_decoded_but_not_shown(clip: Clip) -> None:
    received = _received(clip)
    whole = list(screen(clip, "h264", received, range(30), conceal=False))
    shown = [0, 1, 2, 2, 2, 5, *range(6, 30)]
    pictures = list(screen(clip, "h264", received, shown, conceal=False))
    assert (pictures[4] == whole[2]).all()
    assert (pictures[5] == whole[5]).all()


def test_a_frame_that_concealment_does_not_give_leaves_the_last(clip: Clip) -> None:
    received = _received(clip, {8})
    pictures = list(screen(clip, "h264", received, range(30), conceal=True))
    assert (pictures[8] == pictures[7]).all()
    assert (pictures[9] != pictures[7]).any()


def test_a_run_may_be_shorter_than_the_clip_or_empty(clip: Clip) -> None:
    received = _received(clip)
    scores = measure_displayed(clip, "h264", received, [0, 1, 2], metrics=("psnr",), conceal=False)
    assert len(scores["psnr"]) == 3
    nothing = measure_displayed(clip, "h264", received, [], metrics=METRICS, conceal=False)
    assert {name: len(values) for name, values in nothing.items()} == dict.fromkeys(METRICS, 0)
    assert measure_displayed(clip, "h264", received, [0], metrics=(), conceal=False) == {}


def test_nothing_was_ever_displayed(clip: Clip) -> None:
    scores = measure_displayed(clip, "h264", [], [-1] * 30, metrics=("psnr",), conceal=False)
    assert scores["psnr"].max() < 15


@pytest.mark.parametrize(
    ("shown", "complaint"),
    [
        ([0, 1, 2, 9], "frame 9, which cannot be decoded"),
        ([0, 5, 4], "frame 4 after frame 5"),
        ([0] * 31, "31 slots were displayed of a clip of 30 frames"),
    ],
)
def test_a_log_that_cannot_be_is_refused(clip: Clip, shown: list[int], complaint: str) -> None:
    received = _received(clip, {8})
    with pytest.raises(BrokenLogError, match=complaint):
        measure_displayed(clip, "h264", received, shown, metrics=("psnr",), conceal=False)


def test_unknown_metrics_list_the_known(clip: Clip) -> None:
    with pytest.raises(UnknownNameError, match="vmaf, ssim, psnr"):
        measure_displayed(clip, "h264", [], [], metrics=("lpips",), conceal=False)


def test_too_few_pictures_are_an_error(clip: Clip) -> None:
    with pytest.raises(ToolFailedError, match="expected 30"):
        compare(
            iter([clip.frame(0)]),
            clip.frames(),
            width=WIDTH,
            height=HEIGHT,
            metrics=("psnr",),
            count=30,
        )
