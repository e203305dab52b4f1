"""Pictures of what a session received, by the real decoder, and how long that decoder takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from time import perf_counter_ns
from typing import Final

from testbed.codec.core import GOP_FRAMES, Settings, load_core, one_thread
from testbed.codec.gops import GopSource, LiveGops
from testbed.codec.rates import GopBudget
from testbed.codec.units import split_units
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.media.decoding import DECODERS, DecodedFrame
from testbed.media.types import ReceivedFrame

#: GoPs that are decoded to time the decoder, behind one that warms it up.
CALIBRATION_GOPS: Final = 3


@DECODERS.register("morphe")
def decode_gops(
    received: Iterable[ReceivedFrame],
    *,
    width: int,
    height: int,
    conceal: bool,  # noqa: ARG001 - the codec always conceals
    smoothing: int = 0,
    switches_only: bool = False,
    weights: str = "small",
) -> Iterator[DecodedFrame]:
    """Pictures of the GoPs of which something came; see `testbed.media.decoding.decode`.

    Args:
        received: what came of a GoP stands at its first frame, as `testbed.codec.units` joins it.
        width: luma width.
        height: luma height.
        conceal: of no meaning here.
        smoothing: pictures blended over the boundary of two GoPs (Eq. 2), 0..8.
        switches_only: only where the scale changes.
        weights: as for `testbed.codec.core.load_core`.

    Raises:
        InputError: no such weights, or the codec core is not installed.
    """
    decoder = None
    for frame in received:
        if not frame.data:
            continue
        if decoder is None:
            decoder = load_core(weights).decoder(
                width=width, height=height, smoothing=smoothing, switches_only=switches_only
            )
        with one_thread():
            pictures = decoder.decode(split_units(frame.data))
        for offset, picture in enumerate(pictures):
            yield DecodedFrame(frame.index + offset, picture, damaged=not frame.complete)


def time_decoder(clip: Clip, *, scale: int, kbps: float, weights: str = "small") -> int:
    """Mean ns that decoding a picture takes on this machine, on one thread.

    Args:
        clip: the first pictures of it are coded; a short one gives fewer to time.
        scale: source pixels per coded pixel.
        kbps: rate.
        weights: as for `testbed.codec.core.load_core`.
    """
    source = GopSource(clip, Settings(scale=scale), EncodeCache.default(), weights=weights)
    encoder = LiveGops(source)
    budget = GopBudget(kbps, Fraction(clip.fps), least_packets=source.config.least_units)
    count = min(CALIBRATION_GOPS + 1, -(-clip.frame_count // GOP_FRAMES))
    gops = []
    for index in range(count):
        gop = encoder.encode(index, budget_bytes=budget.next(source.frames_of(index)))
        budget.record(gop.frames, gop.budgeted)
        gops.append(gop)
    decoder = load_core(weights).decoder(width=clip.width, height=clip.height)
    with one_thread():
        decoder.decode(gops[0].units)
        timed = gops[1:] or gops
        began = perf_counter_ns()
        for gop in timed:
            decoder.decode(gop.units)
        return (perf_counter_ns() - began) // sum(gop.frames for gop in timed)
