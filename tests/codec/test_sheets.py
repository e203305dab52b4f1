"""Side-by-side sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testbed.codec import sheets
from testbed.codec.evaluate import Row, Shown
from testbed.codec.reading import open_reference
from testbed.codec.sheets import anchor_panels, best_piece, matching_target, write_sheet

FRAMES = 12


def _shown(kbps: float) -> Shown:
    reference = open_reference("carphone", height=720, frames=FRAMES)
    row = Row("carphone", "morphe", kbps, kbps, 0, 1, 0, 50, 0.9, 30, 45, {"x264-keyint9": 44.4})
    picture = reference.clip.frame(5)
    return Shown(5, picture.copy(), picture // 2 + 60, 176, 144, row)


def _row(codec: str, target: float, kbps: float) -> Row:
    return Row("carphone", codec, target, kbps, 0, 1, 0, 50, 0.9, 30, 45)


def test_the_target_for_equal_bytes_corrects_the_miss_nearby() -> None:
    points = [(110.0, 100.0), (205.0, 200.0), (380.0, 400.0)]
    assert matching_target(points, 380) == pytest.approx(400)
    assert matching_target(points, 190) == pytest.approx(190 * 200 / 205)


def test_anchors_are_encoded_to_about_the_same_bytes() -> None:
    reference = open_reference("carphone", height=720, frames=FRAMES)
    rows = [_row("x264-keyint9", 100, 108), _row("x264-keyint9", 200, 210)]
    (panel,) = anchor_panels(_shown(150), reference, rows, ["x264-keyint9"])
    name, kbps, vmaf = panel.label.split(", ")
    assert (name, vmaf) == ("x264-keyint9", "VMAF 44.4")
    assert float(kbps.removesuffix(" kbps")) == pytest.approx(150, rel=0.15)
    assert panel.rgb.shape == (144, 176, 3)


@pytest.mark.parametrize("anchors", [0, 1, 2, 4])
def test_panels_stand_side_by_side(tmp_path: Path, anchors: int) -> None:
    reference = open_reference("carphone", height=720, frames=FRAMES)
    shown = _shown(150)
    panels = [
        sheets.Panel(f"anchor {index}", np.full((144, 176, 3), 40 * index, np.uint8))
        for index in range(anchors)
    ]
    path = tmp_path / "sheet.png"
    write_sheet(path, shown, reference, panels)
    with Image.open(path) as image:
        width, height = image.size
        whole = np.asarray(image)
    rows = 2 if anchors > 1 else 1
    columns = -(-(2 + anchors) // rows)
    assert (width, height) == (columns * 180 - 4, rows * (144 + 22 + 4) - 4)
    for index in range(anchors):
        x, y = (index + 2) // rows * 180, (index + 2) % rows * 170 + 22
        assert (whole[y : y + 144, x : x + 176] == 40 * index).all()


def test_the_piece_has_the_detail() -> None:
    rgb = np.full((720, 1280, 3), 90, np.uint8)
    rgb[400:600, 900:1100] = np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)
    top, left, height, width = best_piece(rgb)
    assert (height, width) == (360, 480)
    assert top <= 400
    assert top + height >= 600
    assert left <= 900
    assert left + width >= 1100


@pytest.mark.parametrize("size", [(16, 16), (360, 480), (368, 496), (100, 2000)])
def test_the_piece_lies_within_the_picture(size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(2).integers(0, 255, (*size, 3), np.uint8)
    top, left, height, width = best_piece(rgb)
    assert 0 <= top <= size[0] - height
    assert 0 <= left <= size[1] - width
    assert height == min(360, size[0])
    assert width == min(480, size[1])
