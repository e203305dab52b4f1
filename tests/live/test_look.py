"""Places on the picture: inside, apart, and even."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from testbed.live.look import LEAST_WIDTH, Box, font, layout

sides = st.integers(8, 960).map(lambda half: 2 * half)


@given(sides, sides)
def test_everything_has_its_place(width: int, height: int) -> None:
    place = layout(width, height)
    boxes = [place.title, place.source, place.received, place.facts, place.rate, place.loss]
    boxes.append(place.fps)
    for box in boxes:
        assert 0 <= box.left < box.right <= place.width
        assert 0 <= box.top < box.bottom <= place.height
        assert not {n % 2 for n in (box.left, box.top, box.width, box.height)} - {0}
    for one, other in combinations(boxes, 2):
        apart = one.right <= other.left or other.right <= one.left
        assert apart or one.bottom <= other.top or other.bottom <= one.top
    assert place.width % 2 == place.height % 2 == 0


@given(sides, sides)
def test_videos_are_enlarged_by_whole_numbers(width: int, height: int) -> None:
    place = layout(width, height)
    for box in (place.source, place.received):
        assert (box.width, box.height) == (width * place.enlarged, height * place.enlarged)
    assert place.source.width >= LEAST_WIDTH
    assert place.enlarged == 1 or width * (place.enlarged - 1) < LEAST_WIDTH


def test_the_usual_size() -> None:
    place = layout(640, 360)
    assert place.enlarged == 1
    assert place.source == Box(16, 76, 640, 360)
    assert place.received == Box(672, 76, 640, 360)
    assert (place.width, place.height) == (1328, 756)


def test_type_grows_with_the_picture() -> None:
    assert layout(1280, 720).unit == 2
    assert font(24).getlength("delivered") > 1.8 * font(12).getlength("delivered")
