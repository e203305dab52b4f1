"""Side-by-side sheets: the same piece of a picture from the source, Morphe and the anchors.

All panels are cut at the source's own size, with no scaling in between, from the piece of the
picture with most detail; the anchors are encoded anew to the bytes that Morphe took. Another sheet
shows the ways to drop tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from testbed.codec.anchors import decode_anchor, encode_anchor
from testbed.codec.colour import UNTAGGED
from testbed.codec.drops import DropCondition
from testbed.codec.evaluate import Row, Shown
from testbed.codec.rates import cut_to_packets, kbps, wire_bytes
from testbed.codec.reading import Reference
from testbed.codec.writing import Form, to_rgb, write_png

if TYPE_CHECKING:
    from PIL import Image

#: Largest piece that is cut out, in pixels.
PIECE: Final = (480, 360)
LABEL_PX: Final = 22
GAP_PX: Final = 4
FONT_PX: Final = 14
#: Detail is summed over cells of this side before the best place is looked for.
CELL_PX: Final = 16
_PAPER: Final = (255, 255, 255)
_INK: Final = (0, 0, 0)

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        label: one line.
        rgb: shape (height, width, 3); the whole picture.
    """

    label: str
    rgb: Rgb


def anchor_panels(
    shown: Shown, reference: Reference, rows: Sequence[Row], names: Sequence[str]
) -> list[Panel]:
    """The same picture of each anchor, encoded to the bytes of `shown`.

    Args:
        shown: Morphe's picture.
        reference: the clip that it is of.
        rows: measurements of the clip, from which the target for equal bytes is read.
        names: anchors.

    Raises:
        ToolFailedError: an encoder failed.
    """
    panels = []
    for name in names:
        points = [(row.kbps, row.target_kbps) for row in rows if row.codec == name]
        target = matching_target(points, shown.row.kbps)
        clip, frames = reference.clip, reference.frames
        units = encode_anchor(name, clip, frames, target)
        picture = next(islice(decode_anchor(name, clip, units), shown.index, None))
        sent = sum(wire_bytes(cut_to_packets(len(unit))) for unit in units)
        label = f"{name}, {kbps(sent, frames, clip.fps):.0f} kbps"
        vmaf = shown.row.same_bytes.get(name)
        if vmaf is not None:
            label += f", VMAF {vmaf:.1f}"
        panels.append(Panel(label, to_rgb(picture, _form(shown, reference))))
    return panels


def drop_panels(shown: Shown, reference: Reference) -> list[Panel]:
    """The same picture after each way to drop tokens."""
    form = _form(shown, reference)
    panels = []
    for row, picture in shown.dropped:
        drop = DropCondition(row.drop, row.selection, row.drop_scope)
        label = f"{drop}, {row.kbps:.0f} kbps, VMAF {row.vmaf:.1f}"
        panels.append(Panel(label, to_rgb(picture, form)))
    return panels


def matching_target(points: Sequence[tuple[float, float]], wanted_kbps: float) -> float:
    """What to ask an encoder for so that about `wanted_kbps` come out.

    Args:
        points: (kbps that came out, kbps asked for), at least one.
        wanted_kbps: > 0.
    """
    nearest = min(points, key=lambda point: abs(math.log(point[0] / wanted_kbps)))
    return wanted_kbps * nearest[1] / nearest[0]


def write_sheet(path: Path, shown: Shown, reference: Reference, anchors: Sequence[Panel]) -> None:
    """Write source, Morphe and anchors side by side as PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    form = _form(shown, reference)
    row = shown.row
    source = Panel(f"{row.clip}, picture {shown.index}", to_rgb(shown.source, form))
    morphe = Panel(
        f"{row.codec}, {row.kbps:.0f} kbps, VMAF {row.vmaf:.1f}", to_rgb(shown.morphe, form)
    )
    panels = [source, morphe, *anchors]
    top, left, height, width = best_piece(source.rgb)
    pieces = [
        Panel(panel.label, panel.rgb[top : top + height, left : left + width]) for panel in panels
    ]
    write_png(path, np.asarray(_assembled(pieces)))


def best_piece(rgb: Rgb) -> tuple[int, int, int, int]:
    """Top, left, height and width of the piece with most detail, at most `PIECE` large."""
    luma = rgb.mean(axis=2)
    across = np.diff(luma, axis=1, prepend=luma[:, :1])
    detail = np.abs(across) + np.abs(np.diff(luma, axis=0, prepend=luma[:1]))
    width, height = min(PIECE[0], rgb.shape[1]), min(PIECE[1], rgb.shape[0])
    rows, cols = detail.shape[0] // CELL_PX, detail.shape[1] // CELL_PX
    cells = detail[: rows * CELL_PX, : cols * CELL_PX]
    cells = cells.reshape(rows, CELL_PX, cols, CELL_PX).sum(axis=(1, 3))
    # Sums over windows, by way of the integral picture.
    integral = np.pad(cells.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tall, wide = min(height // CELL_PX, rows), min(width // CELL_PX, cols)
    sums = integral[tall:, wide:] - integral[:-tall, wide:]
    sums = sums - integral[tall:, :-wide] + integral[:-tall, :-wide]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return (
        min(int(top) * CELL_PX, rgb.shape[0] - height),
        min(int(left) * CELL_PX, rgb.shape[1] - width),
        height,
        width,
    )


def _assembled(panels: Sequence[Panel]) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    height, width, _ = panels[0].rgb.shape
    # Column by column: source over Morphe, then the forms of each anchor over one another.
    rows = 2 if len(panels) > 3 else 1
    columns = -(-len(panels) // rows)
    tile_w, tile_h = width + GAP_PX, height + LABEL_PX + GAP_PX
    sheet = Image.new("RGB", (columns * tile_w - GAP_PX, rows * tile_h - GAP_PX), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for index, panel in enumerate(panels):
        x, y = index // rows * tile_w, index % rows * tile_h
        draw.text((x + 2, y + 2), panel.label, fill=_INK, font=font)
        sheet.paste(Image.fromarray(panel.rgb), (x, y + LABEL_PX))
    return sheet


def _form(shown: Shown, reference: Reference) -> Form:
    return Form(shown.width, shown.height, reference.clip.fps, UNTAGGED)
