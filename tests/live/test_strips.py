"""Strip charts, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from testbed.live.look import Box
from testbed.live.strips import Strip, means, span, ticks

RED = (255, 0, 0)


def strip(top: float = 100.0) -> tuple[Image.Image, Strip]:
    """A plot of 200x100 pixels from (20, 10), 0 to 2 s: 10 pixels are 100 ms, 1 pixel is 1."""
    image = Image.new("RGB", (260, 140), "white")
    return image, Strip(ImageDraw.Draw(image), Box(20, 10, 200, 100), 0.0, 2.0, top, 1.0)


def red(image: Image.Image) -> set[tuple[int, int]]:
    rows, columns = np.nonzero((np.asarray(image) == RED).all(axis=2))
    return set(zip(columns.tolist(), rows.tolist(), strict=True))


@given(st.floats(0.01, 1e7), st.integers(3, 12))
def test_ticks_are_round_and_within(top: float, most: int) -> None:
    found = ticks(top, most)
    assert found[0] == 0
    assert found[-1] <= top * 1.001
    assert 1 <= len(found) - 1 <= most
    mantissa = float(f"{found[1]:e}".split("e", maxsplit=1)[0])
    assert mantissa in (1, 2, 5)


def test_known_ticks() -> None:
    assert ticks(550, 6) == [0, 100, 200, 300, 400, 500]
    assert ticks(33, 3) == [0, 20]
    assert ticks(4004005.0, 2) == [0, 2e6, 4e6]
    assert ticks(4, 7) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("now", "duration", "expected"),
    [(0, 4, (0, 4)), (3, 4, (0, 4)), (5, 4, (1, 5)), (10, None, (0, 60)), (75, None, (15, 75)),
     (90, 120, (30, 90)), (0, 0.2, (0, 1))],
)  # fmt: skip
def test_what_is_shown(now: float, duration: float | None, expected: tuple[float, float]) -> None:
    assert span(now, duration) == expected


def test_a_bar_stands_for_its_100_ms() -> None:
    image, chart = strip()
    chart.bars([(0.5, 30.0), (0.6, 0.0), (0.7, None)], "red", gap=0)
    assert red(image) == {(x, y) for x in range(60, 71) for y in range(80, 110)}


def test_steps_are_level_and_joined() -> None:
    image, chart = strip()
    chart.steps([(0.5, 30.0), (0.6, 50.0)], "red", 1)
    expected = {(x, 80) for x in range(60, 71)} | {(x, 60) for x in range(70, 81)}
    assert red(image) == expected | {(70, y) for y in range(60, 81)}


def test_holes_are_not_bridged() -> None:
    image, chart = strip()
    chart.steps([(0.5, 30.0), (0.6, None), (0.7, 30.0), (1.5, 30.0)], "red", 1)
    columns = {x for x, _ in red(image)}
    assert columns == {*range(60, 71), *range(80, 91), *range(160, 171)}


def test_means_of_half_a_second() -> None:
    points = [(n / 10, float(n)) for n in range(1, 13)]
    assert means(points, 0.5) == [(0.5, 3.0), (1.0, 8.0)]  # the third is not over yet
    assert means([(0.1, None), (0.2, 4.0), (1.0, None)], 0.5) == [(0.5, 4.0), (1.0, None)]
    assert means([], 0.5) == []


def test_what_is_beyond_the_scale_is_at_its_end() -> None:
    image, chart = strip(top=50.0)
    chart.steps([(0.5, 400.0)], "red", 1)
    assert {y for _, y in red(image)} == {10}
    assert chart.y(50) == 10
    assert chart.y(0) == 110


def test_a_dashed_line_has_gaps_that_do_not_move() -> None:
    seen = []
    for last in (1.0, 1.1):
        image, chart = strip()
        points = [(n / 10, 30.0) for n in range(2, round(last * 10) + 1)]
        chart.steps(points, "red", 1, dashed=True)
        seen.append({x for x, _ in red(image) if x < 115})
    assert seen[0] == seen[1]
    assert 40 < len(seen[0]) < 75  # of 85 columns


def test_axes_have_grid_ticks_and_words() -> None:
    image, chart = strip()
    chart.axes()
    ink = np.asarray(image).astype(int).sum(axis=2) < 3 * 255
    assert ink[110, 20:220].all()  # the axis
    assert ink[10:110, 20:220].all(axis=1).nonzero()[0].tolist() == [0, 50]  # grid at 100 and 50
    assert ink[20:100, :18].any()  # numbers
    assert ink[114:130, 20:240].any()
