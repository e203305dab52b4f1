"""How the view looks as a picture: sizes, places, colours and type.

The page in the browser (`testbed.live.page`) has the same parts in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

#: Colours are those of the page in the light; the curves' are Okabe and Ito's, darkened for text.
PAPER: Final = "#fcfcfb"
CARD: Final = "#ffffff"
INK: Final = "#1b1e23"
SOFT: Final = "#5b626d"
LINE: Final = "#d9dce1"
GRID: Final = "#e7e9ec"
AREA: Final = "#dfe3e8"
EDGE: Final = "#8d96a3"
SENT: Final = "#0072b2"
DELIVERED: Final = "#c44f00"
TARGET: Final = INK
RENDERED: Final = "#007a5a"
LOST: Final = "#b3261e"

#: Narrower pictures are enlarged by a whole number: the legends below need the room.
LEAST_WIDTH: Final = 480
#: Picture width at which type has its plain size.
PLAIN_WIDTH: Final = 640


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column right of it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """First row below it."""
        return self.top + self.height


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is; all numbers are even, as 4:2:0 wants them.

    Attributes:
        width, height: of the whole picture.
        enlarged: pixels of the canvas per pixel of a picture, in both directions.
        unit: factor on sizes of type and strips.
        title: the heading.
        source, received: the two videos.
        facts: the row of numbers.
        rate, loss, fps: the strip charts, with their captions.
    """

    width: int
    height: int
    enlarged: int
    unit: float
    title: Box
    source: Box
    received: Box
    facts: Box
    rate: Box
    loss: Box
    fps: Box

    @property
    def caption(self) -> int:
        """Height of the line above a video or a strip."""
        return self.px(24)

    def px(self, plain: float) -> int:
        """A plain size in pixels here, even."""
        return even(plain * self.unit)


def even(value: float) -> int:
    """The nearest even number."""
    return 2 * round(value / 2)


def layout(width: int, height: int) -> Layout:
    """The layout for pictures of this size (luma, even)."""
    enlarged = max(1, -(-LEAST_WIDTH // width))
    wide, high = width * enlarged, height * enlarged
    unit = max(1.0, wide / PLAIN_WIDTH)

    def px(plain: float) -> int:
        return even(plain * unit)

    margin, gap, caption = px(16), px(8), px(24)
    left, right = margin, margin + wide + margin
    total = right + wide + margin
    title = Box(left, gap, total - 2 * margin, px(44))
    top = title.bottom + caption
    source, received = Box(left, top, wide, high), Box(right, top, wide, high)
    facts = Box(left, source.bottom + gap, total - 2 * margin, px(46))
    strips = facts.bottom + gap
    small, between = px(122), px(6)
    return Layout(
        width=total,
        height=strips + 2 * small + between + gap,
        enlarged=enlarged,
        unit=unit,
        title=title,
        source=source,
        received=received,
        facts=facts,
        rate=Box(left, strips, wide, 2 * small + between),
        loss=Box(right, strips, wide, small),
        fps=Box(right, strips + small + between, wide, small),
    )


@cache
def font(size: int, *, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans as it ships with matplotlib: the same picture everywhere."""
    import matplotlib as mpl
    from PIL import ImageFont

    name = "DejaVuSans-Bold" if bold else "DejaVuSans"
    return ImageFont.truetype(f"{mpl.get_data_path()}/fonts/ttf/{name}.ttf", size)
