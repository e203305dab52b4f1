"""Rows that are due: by turns, and by what was reported."""

from __future__ import annotations

import numpy as np
import pytest

from morphe_core.vgc.refresh import Refresh


@pytest.mark.parametrize(("gops", "rows"), [(1, 7), (4, 9), (8, 30), (50, 10)])
def test_every_row_is_due_once_in_so_many_gops(gops: int, rows: int) -> None:
    refresh = Refresh(gops)
    seen = sum(refresh.due(rows, index).astype(int) for index in range(3, 3 + gops))
    assert (seen == 1).all()


def test_what_was_reported_is_due_once_with_its_surroundings() -> None:
    missing = np.arange(20) == 9
    for age in (1, 2, 3):
        refresh = Refresh(1000)
        refresh.report(100 - age, missing)
        refresh.report(100 - age, np.zeros(20, np.bool_))
        wanted = np.abs(np.arange(20) - 9) <= age
        np.testing.assert_array_equal(refresh.due(20, 100), wanted)
        np.testing.assert_array_equal(refresh.due(20, 100), wanted)
        refresh.done()
        assert not refresh.due(20, 101).any()


@pytest.mark.parametrize("missing", [None, np.ones(7, np.bool_)])
def test_nothing_or_another_size_makes_all_due(missing: np.ndarray | None) -> None:
    refresh = Refresh(1000)
    refresh.report(4, missing)
    assert refresh.due(20, 5).all()
