"""Picture quality of what was displayed: VMAF, VMAF NEG, SSIM, PSNR, slot by slot.

One definition each, all from one run of the ffmpeg of `imageio-ffmpeg`:

* `vmaf`: libvmaf, model vmaf_v0.6.1. Identical pictures give a little under 100, as VMAF does.
* `vmaf_neg`: libvmaf, model vmaf_v0.6.1neg ("no enhancement gain"), which does not reward
  sharpening; what a codec has above it in `vmaf` comes from enhancement.
* `ssim`: FFmpeg's `ssim` filter on luma (8x8 windows at every fourth sample, uniform weights).
* `psnr`: FFmpeg's `psnr` filter on luma, in dB, at most `PSNR_CAP_DB`.

Displayed and source pictures go through one pipe, one above the other in a single tall picture, and
are cut apart inside: they cannot come apart in time, as two streams with timestamps can.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.errors import BrokenLogError, ToolFailedError, UnknownNameError
from testbed.media.clips import Clip, Picture
from testbed.media.decoding import decode
from testbed.media.tools import run_ffmpeg
from testbed.media.types import ReceivedFrame

#: Metrics that `measure_displayed` knows.
METRICS = ("vmaf", "ssim", "psnr", "vmaf_neg")
#: Identical pictures have infinite PSNR; libvmaf writes 60 dB for 8 bits, and so do we.
PSNR_CAP_DB = 60.0
#: Models of libvmaf by the metric that they give.
VMAF_MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}
#: A 1080p frame takes 0.1 s on a slow core.
TIMEOUT_PER_FRAME_S = 2.0
TIMEOUT_START_S = 60.0

Scores = dict[str, npt.NDArray[np.float64]]


def measure_displayed(
    clip: Clip,
    codec: str,
    received: Sequence[ReceivedFrame],
    displayed: Sequence[int],
    *,
    metrics: Sequence[str],
    conceal: bool,
    decoder_options: Mapping[str, Any] | None = None,
) -> Scores:
    """Quality of the screen, slot by slot, against the source at the clip's resolution.

    Args:
        clip: the source.
        codec: decoder of `received`.
        received: what arrived, one entry a source frame.
        displayed: for each source-frame slot the index of the frame on the screen; -1 = black.
        metrics: any of `METRICS`.
        conceal: as in `testbed.media.decoding.decode`. A frame that the decoder does not give in
            spite of concealment leaves the one before on the screen.
        decoder_options: as in `testbed.media.decoding.decode`.

    Returns:
        For each metric an array of len(displayed) values.

    Raises:
        UnknownNameError: no such metric.
        BrokenLogError: `displayed` names frames that cannot be decoded, goes back in time, or is
            longer than the clip.
        ToolFailedError: ffmpeg failed.
    """
    for name in metrics:
        if name not in METRICS:
            raise UnknownNameError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    if len(displayed) > clip.frame_count:
        raise BrokenLogError(
            f"{len(displayed)} slots were displayed of a clip of {clip.frame_count} frames"
        )
    if not metrics or not displayed:
        return {name: np.empty(0) for name in metrics}
    pictures = screen(
        clip, codec, received, displayed, conceal=conceal, decoder_options=decoder_options
    )
    return compare(
        pictures, clip.frames(), width=clip.width, height=clip.height, metrics=metrics,
        count=len(displayed),
    )  # fmt: skip


def screen(
    clip: Clip,
    codec: str,
    received: Sequence[ReceivedFrame],
    displayed: Sequence[int],
    *,
    conceal: bool,
    decoder_options: Mapping[str, Any] | None = None,
) -> Iterator[Picture]:
    """The picture on the screen in each slot; arguments as for `measure_displayed`.

    Raises:
        BrokenLogError: see `measure_displayed`.
    """
    decoded = decode(
        codec, received, width=clip.width, height=clip.height, conceal=conceal,
        options=decoder_options,
    )  # fmt: skip
    picture, at = black(clip.width, clip.height), -1
    ahead = next(decoded, None)
    for slot, index in enumerate(displayed):
        if index < at:
            raise BrokenLogError(f"slot {slot} displays frame {index} after frame {at}")
        while ahead is not None and ahead.index <= index:
            picture, found = ahead.picture, ahead.index
            if found == index or conceal:
                at = found
            ahead = next(decoded, None)
        if at != index and not conceal:
            raise BrokenLogError(f"slot {slot} displays frame {index}, which cannot be decoded")
        at = index
        yield picture


def black(width: int, height: int) -> Picture:
    """A black picture (limited range)."""
    luma = width * height
    return np.concatenate([np.full(luma, 16, np.uint8), np.full(luma // 2, 128, np.uint8)])


def compare(
    pictures: Iterator[Picture],
    references: Iterator[Picture],
    *,
    width: int,
    height: int,
    metrics: Sequence[str],
    count: int,
) -> Scores:
    """Quality of `pictures` against `references`, one by one.

    Args:
        pictures: what is judged.
        references: what it is judged by.
        width: luma width.
        height: luma height.
        metrics: any of `METRICS`.
        count: number of pictures; more references are left alone.

    Raises:
        ToolFailedError: ffmpeg failed or gave another number of values.
    """
    stacked = (
        _stack(picture, reference, width, height)
        for picture, reference in zip(pictures, references, strict=False)
    )
    with TemporaryDirectory(prefix="testbed-vmaf-") as folder:
        log = Path(folder) / "vmaf.json"
        output = run_ffmpeg(
            [
                *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{2 * height}"),
                *("-r", "25", "-i", "-", "-filter_threads", "1"),
                *("-lavfi", _graph(width, height, metrics, log), "-f", "null", "-"),
            ],
            pieces=stacked,
            timeout_s=TIMEOUT_START_S + TIMEOUT_PER_FRAME_S * count,
        )
        printed = output.decode(errors="replace")
        models = [name for name in VMAF_MODELS if name in metrics]
        frames = json.loads(log.read_text())["frames"] if models else []
    scores = {
        "ssim": _printed(printed, "ssim.Y"),
        "psnr": [min(value, PSNR_CAP_DB) for value in _printed(printed, "psnr.psnr.y")],
        **{name: [frame["metrics"][name] for frame in frames] for name in models},
    }
    result = {name: np.asarray(scores[name], np.float64) for name in metrics}
    for name, values in result.items():
        if len(values) != count or not np.isfinite(values).all():
            raise ToolFailedError(f"ffmpeg gave {len(values)} values of {name}, expected {count}")
    return result


def _stack(picture: Picture, reference: Picture, width: int, height: int) -> bytes:
    """Both pictures as one of twice the height."""
    luma, chroma = width * height, width * height // 4
    bounds = [0, luma, luma + chroma, luma + 2 * chroma]
    parts = []
    for begin, end in pairwise(bounds):
        parts += [picture[begin:end], reference[begin:end]]
    return np.concatenate(parts).tobytes()


def _graph(width: int, height: int, metrics: Sequence[str], log: Path) -> str:
    """The filter graph: cut apart, run the filters one after the other, print their results."""
    filters = {
        "ssim": "ssim",
        "psnr": "psnr",
    }
    wanted = [filters[name] for name in METRICS if name in filters and name in metrics]
    models = [f"version={VMAF_MODELS[name]}:name={name}" for name in VMAF_MODELS if name in metrics]
    if models:
        # Two levels of quoting: that of the graph, and that of the filter's list of options.
        text = "|".join(models).replace(":", r"\\:")
        wanted.append(f"libvmaf=model={text}:n_threads=1:log_fmt=json:log_path={log}")
    lines = [f"[0:v]split={len(wanted) + 1}[m]" + "".join(f"[s{n}]" for n in range(len(wanted)))]
    lines.append(f"[m]crop={width}:{height}:0:0[d0]")
    for number, name in enumerate(wanted):
        lines.append(f"[s{number}]crop={width}:{height}:0:{height}[r{number}]")
        lines.append(f"[d{number}][r{number}]{name}[d{number + 1}]")
    lines.append(f"[d{len(wanted)}]metadata=mode=print:file=-")
    return ";".join(lines)


def _printed(text: str, name: str) -> list[float]:
    values = re.findall(rf"^lavfi\.{re.escape(name)}=(\S+)$", text, re.MULTILINE)
    return [math.inf if value == "inf" else float(value) for value in values]
