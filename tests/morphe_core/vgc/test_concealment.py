from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.vgc.concealment import (
    fill_from_neighbours,
    fill_motion,
    fill_rows_from_neighbours,
)
from morphe_core.vgc.pictures import Picture

ROWS, WIDTH = 6, 16


def ramp() -> Picture:
    """Falls by 2 a luma line (and thus by 4 a chroma line), and rises along a line."""
    down, across = torch.arange(ROWS * 8.0)[:, None], torch.arange(float(WIDTH))
    luma = (50 - 2 * down + across).reshape(1, 1, ROWS * 8, WIDTH)
    chroma = torch.stack([luma[0, 0, ::2, ::2], -luma[0, 0, ::2, ::2]])[None]
    return Picture(luma, chroma)


def noise(seed: int = 1) -> Picture:
    generator = torch.Generator().manual_seed(seed)
    return Picture(
        torch.randn(1, 1, ROWS * 8, WIDTH, generator=generator),
        torch.randn(1, 2, ROWS * 4, WIDTH // 2, generator=generator),
    )


def lines(known: np.ndarray, plane: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.repeat(known, plane.shape[-2] // ROWS))


def damaged(picture: Picture, known: np.ndarray) -> Picture:
    planes = [plane.clone() for plane in picture]
    for plane in planes:
        plane[..., ~lines(known, plane), :] = 1e6
    return Picture(*planes)


def without_tokens(picture: Picture, known: np.ndarray) -> Picture:
    planes = []
    for plane, side in zip(picture, (8, 4), strict=True):
        there = torch.from_numpy(known.repeat(side, axis=0).repeat(side, axis=1))
        planes.append(torch.where(there, plane, torch.full_like(plane, 1e6)))
    return Picture(*planes)


def test_single_tokens_are_interpolated_along_their_row_and_rows_across() -> None:
    wide = Picture(*(torch.cat([plane] * 3, dim=-1) for plane in ramp()))
    # No longer a ramp along a row, but what is between two equal edges is known.
    wide = Picture(*(plane * 0 + plane[..., :1] for plane in wide))
    known = np.ones((ROWS, WIDTH * 3 // 8), np.bool_)
    known[1, 2:4] = known[2, 0] = known[3, -1] = False
    known[4] = False
    got = fill_from_neighbours(without_tokens(wide, known), known)
    for plane, wanted in zip(got, wide, strict=True):
        torch.testing.assert_close(plane, wanted, rtol=0, atol=1e-4)


def test_a_hole_within_a_row_is_the_straight_way_between_its_edges() -> None:
    source = Picture(*(torch.cat([plane] * 2, dim=-1) for plane in noise()))
    known = np.ones((ROWS, 4), np.bool_)
    known[2, 1:3] = False
    got = fill_from_neighbours(without_tokens(source, known), known)
    for plane, whole, side in zip(got, source, (8, 4), strict=True):
        lines = slice(2 * side, 3 * side)
        edges = whole[..., lines, side - 1], whole[..., lines, 3 * side]
        steps = torch.arange(1, 2 * side + 1) / (2 * side + 1)
        wanted = edges[0][..., None] * (1 - steps) + edges[1][..., None] * steps
        torch.testing.assert_close(plane[..., lines, side : 3 * side], wanted)
        assert bool((plane[..., : 2 * side, :] == whole[..., : 2 * side, :]).all())


@given(st.lists(st.booleans(), min_size=ROWS * 2, max_size=ROWS * 2).filter(any))
def test_known_tokens_stay_and_others_are_never_looked_at(which: list[bool]) -> None:
    known = np.array(which).reshape(ROWS, 2)
    got = fill_from_neighbours(without_tokens(noise(), known), known)
    for plane, source, side in zip(got, noise(), (8, 4), strict=True):
        there = torch.from_numpy(known.repeat(side, axis=0).repeat(side, axis=1)).expand_as(plane)
        assert torch.equal(plane[there], source[there])
        assert float(plane.abs().max()) < 100


@pytest.mark.parametrize("lost", [(1,), (2, 3), (1, 2, 3, 4), (1, 4)])
def test_a_ramp_is_restored_between_known_rows(lost: tuple[int, ...]) -> None:
    known = ~np.isin(np.arange(ROWS), lost)
    got = fill_rows_from_neighbours(damaged(ramp(), known), known)
    for plane, wanted in zip(got, ramp(), strict=True):
        torch.testing.assert_close(plane, wanted, rtol=0, atol=1e-4)


def test_beyond_the_last_known_line_it_is_repeated() -> None:
    known = np.array([False, False, True, True, False, False])
    got = fill_rows_from_neighbours(damaged(ramp(), known), known)
    for plane, source, side in zip(got, ramp(), (8, 4), strict=True):
        first, last = source[..., 2 * side, :], source[..., 4 * side - 1, :]
        assert bool((plane[..., : 2 * side, :] == first[..., None, :]).all())
        assert bool((plane[..., 4 * side :, :] == last[..., None, :]).all())


@given(st.lists(st.booleans(), min_size=ROWS, max_size=ROWS).filter(any), st.integers(0, 9))
def test_known_rows_stay_and_lost_ones_are_never_looked_at(which: list[bool], seed: int) -> None:
    known, source = np.array(which), noise(seed)
    got = fill_rows_from_neighbours(source, known)
    again = fill_rows_from_neighbours(damaged(source, known), known)
    for plane, repeated, wanted in zip(got, again, source, strict=True):
        assert torch.equal(plane, repeated)
        stay = lines(known, plane)
        assert torch.equal(plane[..., stay, :], wanted[..., stay, :])
        # What is filled in lies between what surrounds it.
        columns = wanted[..., stay, :]
        assert bool((plane <= columns.amax(-2, keepdim=True) + 1e-5).all())
        assert bool((plane >= columns.amin(-2, keepdim=True) - 1e-5).all())


@given(st.lists(st.booleans(), min_size=ROWS, max_size=ROWS).filter(any), st.integers(0, 9))
def test_each_column_is_interpolated_as_numpy_does(which: list[bool], seed: int) -> None:
    known, source = np.array(which), noise(seed)
    for plane, wanted in zip(fill_rows_from_neighbours(source, known), source, strict=True):
        every = np.arange(plane.shape[-2])
        have = np.flatnonzero(lines(known, plane))
        for channel, column in ((0, 0), (plane.shape[1] - 1, 5)):
            values = wanted[0, channel, :, column].numpy()
            filled = np.interp(every, have, values[have])
            np.testing.assert_allclose(plane[0, channel, :, column], filled, atol=1e-5)


@pytest.mark.parametrize("value", [True, False])
def test_with_all_or_none_known_nothing_changes(value: bool) -> None:
    source = noise()
    assert fill_rows_from_neighbours(source, np.full(ROWS, value)) is source


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({2: 4, 5: 10}, [4, 4, 4, 7, 7, 10, 10, 10, 10, 10, 10, 10]),
        ({11: 6}, [6] * 12),
        ({0: -3, 1: 8, 3: 12}, [-3, 8, 10, 12] + [12] * 8),
        ({1: 2, 3: 5, 5: 6}, [2, 2, 4, 5, 6, 6] + [6] * 6),  # halves go to the even number
        ({}, [99] * 12),
        (dict(enumerate(range(12))), list(range(12))),
    ],
)
def test_rows_without_motion_take_the_mean_of_the_nearest(
    known: dict[int, int], wanted: list[int]
) -> None:
    motion = np.full((12, 8, 4), 99, np.int16)
    for row, value in known.items():
        motion[row] = value
    motion[..., 1] *= -1
    sent = motion.copy()
    got = fill_motion(motion, np.isin(np.arange(12), list(known)))
    assert got.dtype == np.int16
    assert got[:, :, 0].tolist() == [[value] * 8 for value in wanted]
    assert got[:, :, 1].tolist() == [[-value] * 8 for value in wanted]
    np.testing.assert_array_equal(motion, sent)  # what came stays as it is
