"""Strip charts on an image: axes, areas, steps and bars over the last minute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from testbed.live.feed import SAMPLE_NS
from testbed.live.look import EDGE, GRID, SOFT, Box, font

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

#: Longest time that is shown at once.
SPAN_S: Final = 60.0
#: Rates over longer times than this are shown as means of `MEAN_S`, or nobody could read them.
RAW_S: Final = 10.0
MEAN_S: Final = 1.0
#: Points further apart than this many of their steps are not joined by a line.
GAP_STEPS: Final = 3.5
#: A link this much wider than the video's own rates is cut off at the top.
CUT: Final = 5.0
SAMPLE_S: Final = SAMPLE_NS / 1e9

Points = Sequence[tuple[float, float | None]]


def ticks(top: float, most: int) -> list[float]:
    """0 and the multiples up to `top` of a round step: 1, 2 or 5 times a power of ten.

    At least one multiple, at most `most` (3 if that is less).
    """
    rough = top / max(3, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [number * step for number in range(int(top / step * 1.0001) + 1)]


def span(now_s: float, duration_s: float | None) -> tuple[float, float]:
    """First and last second to show: all of a short session, else the minute up to now."""
    length = min(SPAN_S, max(1.0, duration_s or SPAN_S))
    end = max(length, now_s)
    return end - length, end


def means(points: Points, step_s: float) -> Points:
    """Means over `step_s` that are over, each at its end; None where no point has a value."""
    bins: dict[int, list[tuple[float, float | None]]] = {}
    for point in points:
        bins.setdefault(math.ceil(point[0] / step_s - 1e-6), []).append(point)
    found: list[tuple[float, float | None]] = []
    for number, members in bins.items():
        known = [value for _, value in members if value is not None]
        if number * step_s <= points[-1][0] + 1e-6:
            mean = sum(known) / len(known) if known else None
            found.append((number * step_s, mean))
    return found


@dataclass(frozen=True, slots=True)
class Strip:
    """One chart; places values inside `box`.

    Attributes:
        draw: of the image.
        box: the plot itself, without labels.
        start_s, end_s: of the time axis.
        top: of the value axis, > 0; it begins at 0.
        unit: factor on sizes.
        step_s: what the values of a point are of: the time before it.
    """

    draw: ImageDraw
    box: Box
    start_s: float
    end_s: float
    top: float
    unit: float
    step_s: float = SAMPLE_S

    def x(self, time_s: float) -> int:
        """Column of a time."""
        share = (time_s - self.start_s) / (self.end_s - self.start_s)
        return round(self.box.left + max(0.0, share) * self.box.width)

    def y(self, value: float) -> int:
        """Row of a value; what is beyond the scale is at its end."""
        return round(self.box.bottom - min(value, self.top) / self.top * self.box.height)

    def px(self, plain: float) -> int:
        """A plain size in pixels, at least one."""
        return max(1, round(plain * self.unit))

    def axes(self) -> None:
        """Grid, ticks and their labels; the last second carries the unit."""
        draw, box, small = self.draw, self.box, font(self.px(11))
        for value in ticks(self.top, max(4, int(box.height / (28 * self.unit)))):
            row = self.y(value)
            draw.line([(box.left, row), (box.right, row)], GRID, self.px(1))
            draw.text((box.left - self.px(5), row), f"{value:g}", SOFT, small, anchor="rm")
        step = ticks(self.end_s - self.start_s, max(2, int(box.width / (90 * self.unit))))[1]
        at = math.ceil(self.start_s / step - 1e-6) * step
        while at <= self.end_s + 1e-6:
            column = min(self.x(at), box.right - 1)
            draw.line([(column, box.bottom), (column, box.bottom + self.px(4))], SOFT, self.px(1))
            last = at + step > self.end_s + 1e-6
            anchor = "rt" if last and column > box.right - self.px(20) else "mt"
            text = f"{at:g} s" if last else f"{at:g}"
            draw.text((column, box.bottom + self.px(6)), text, SOFT, small, anchor=anchor)
            at += step
        draw.line([(box.left, box.bottom), (box.right, box.bottom)], EDGE, self.px(1))

    def bars(self, points: Points, colour: str, *, gap: int = 1) -> None:
        """A bar over the time before each point; `gap` pixels of room between two."""
        for time_s, value in points:
            if value:
                left, right = self.x(time_s - self.step_s), self.x(time_s)
                box = [left, self.y(value), max(left, right - gap), self.box.bottom - 1]
                self.draw.rectangle(box, colour)

    def steps(self, points: Points, colour: str, width: float, *, dashed: bool = False) -> None:
        """A line that is level over the time before each point."""
        path: list[tuple[int, int]] = []
        before = -math.inf
        for time_s, value in points:
            if value is None:
                before = -math.inf
                continue
            if time_s - before > GAP_STEPS * self.step_s:
                self._line(path, colour, width, dashed=dashed)
                path = []
            left = self.x(time_s - self.step_s) if not path else path[-1][0]
            path += [(left, self.y(value)), (self.x(time_s), self.y(value))]
            before = time_s
        self._line(path, colour, width, dashed=dashed)

    def _line(
        self, path: list[tuple[int, int]], colour: str, width: float, *, dashed: bool
    ) -> None:
        if len(path) < 2:
            return
        pieces = _dashes(path, self.px(6), self.px(4)) if dashed else [path]
        for piece in pieces:
            self.draw.line(piece, colour, self.px(width))


def _dashes(path: list[tuple[int, int]], on: int, off: int) -> list[list[tuple[int, int]]]:
    """The parts of an axis-parallel path that a dashed line has; time alone moves the pattern."""
    pieces = []
    for (x0, y0), (x1, y1) in pairwise(path):
        if x0 == x1:
            if y0 != y1 and x0 % (on + off) < on:
                pieces.append([(x0, y0), (x1, y1)])
            continue
        start = x0 - x0 % (on + off)
        for left in range(start, x1, on + off):
            begin, end = max(x0, left), min(x1, left + on)
            if begin < end:
                pieces.append([(begin, y0), (end, y0)])
    return pieces
