"""The view as an image: each curve in its colour where its values are, and nothing without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor
from viewing import HEADING, sample

from testbed.live import look
from testbed.live.canvas import Canvas
from testbed.live.feed import Sample
from testbed.live.look import Box

WIDE = replace(HEADING, width=640, height=360)


def pixels(image: Image.Image, box: Box, colour: str) -> int:
    """How many pixels in the lower part of a strip, without its legend, have the colour."""
    crop = np.asarray(image)[box.top + 24 : box.bottom, box.left : box.right]
    return int((crop == ImageColor.getrgb(colour)).all(axis=2).sum())


def test_no_samples_no_curves() -> None:
    canvas = Canvas(WIDE)
    image = canvas.draw([], 0, -1)
    place = canvas.layout
    assert image.size == (place.width, place.height)
    for colour in (look.SENT, look.DELIVERED, look.LOST, look.RENDERED, look.AREA):
        for box in (place.rate, place.loss, place.fps):
            assert pixels(image, box, colour) == 0


@pytest.mark.parametrize(
    ("strip", "colour"),
    [("rate", look.SENT), ("rate", look.DELIVERED), ("rate", look.TARGET), ("rate", look.AREA),
     ("rate", look.EDGE), ("loss", look.LOST), ("fps", look.RENDERED), ("fps", look.TARGET)],
)  # fmt: skip
def test_every_curve_is_drawn_and_grows(strip: str, colour: str) -> None:
    canvas = Canvas(WIDE)
    box = getattr(canvas.layout, strip)
    counts = [
        pixels(canvas.draw([sample(n) for n in range(1, last)], 0, 0), box, colour)
        for last in (6, 36)
    ]
    assert counts[1] > counts[0] + 20


def test_the_loss_is_as_high_as_it_is() -> None:
    """Of a scale to 10 %, 5 % is just under a half."""
    canvas = Canvas(WIDE)
    box = canvas.layout.loss
    image = canvas.draw([sample(1, loss_share=0.05), sample(2, loss_share=0.0)], 0, 0)
    crop = np.asarray(image)[box.top + 24 : box.bottom - 18, box.left : box.right]
    rows = np.nonzero((crop == ImageColor.getrgb(look.LOST)).all(axis=2).any(axis=1))[0]
    share = (crop.shape[0] - rows.min()) / crop.shape[0]
    assert share == pytest.approx(5 / 10.5, abs=0.02)


def test_capacity_that_is_not_known_is_not_drawn() -> None:
    canvas = Canvas(WIDE)
    blind = [sample(n, capacity_kbps=None, target_kbps=None) for n in range(1, 20)]
    image = canvas.draw(blind, 0, 0)
    assert pixels(image, canvas.layout.rate, look.AREA) == 0
    assert pixels(image, canvas.layout.rate, look.SENT) > 100


def test_only_the_last_minute_is_shown() -> None:
    canvas = Canvas(replace(WIDE, duration_s=None))
    late = sample(900, loss_share=0.0)
    early = [sample(n, loss_share=1.0) for n in range(1, 250)]
    assert pixels(canvas.draw([*early, late], 0, 0), canvas.layout.loss, look.LOST) == 0


def words(canvas: Canvas, now: Sample, source: int, received: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(canvas.draw([now], source, received)).astype(int)


@pytest.mark.parametrize(
    ("changes", "cell"),
    [({"mode": "3x"}, 1), ({"state": "startup"}, 2), ({"frame_delay_ms": None}, 3),
     ({"late_frames": 7}, 4), ({"queue_bytes": None}, 5)],
)  # fmt: skip
def test_numbers_stand_in_their_cells(changes: dict[str, object], cell: int) -> None:
    canvas = Canvas(WIDE)
    before, after = (words(canvas, sample(9, **c), 5, 4) for c in ({}, changes))
    _, columns = np.nonzero((before != after).any(axis=2))
    step = canvas.layout.facts.width / 6
    assert {int((x - canvas.layout.facts.left) / step) for x in columns.tolist()} == {cell}


def test_the_frames_on_the_screens_are_named_above_them() -> None:
    canvas = Canvas(WIDE)
    before, after = words(canvas, sample(9), 5, 4), words(canvas, sample(9), 5, -1)
    rows, columns = np.nonzero((before != after).any(axis=2))
    received = canvas.layout.received
    assert received.top - 24 <= rows.min() <= rows.max() < received.top
    assert received.left <= columns.min() <= columns.max() < received.right
