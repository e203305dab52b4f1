"""The camera's motion to symbols and back: how far it gets, and how it strays from a straight way.

Every unit carries it whole, as any unit may be the only one that arrives.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.number_coding import code_numbers
from morphe_core.vgc.range_coding import Coder, Index, Ints, Reader, Table
from morphe_core.vgc.tokens import CAMERA_AT, CAMERA_SHAPE, MOTION_MAX

#: Octaves of the sum of what strays; zero: nothing does.
LEVELS = 8
#: Contexts of a number: of the way, and of what strays from it at each level above zero.
CAMERA_CONTEXTS = LEVELS
_LAST = CAMERA_AT.index(8)
_OTHERS = [n for n in range(len(CAMERA_AT)) if n != _LAST]
#: Pictures between the I picture and each of the others; the one before lies on the same way.
_DISTANCES = np.abs(np.array(CAMERA_AT))[_OTHERS]
_SPAN = CAMERA_AT[_LAST]

_Wide = npt.NDArray[np.int64]


def code_camera(
    coder: Coder, table: Table, units: int, actual: npt.NDArray[np.integer] | None
) -> Ints:
    """Code the camera's motion in each unit.

    Args:
        coder: writes, reads or measures.
        table: (CAMERA_CONTEXTS, NUMBER_SYMBOLS).
        units: how many.
        actual: (units, 9, 2), what to write; None to read.

    Returns:
        (units, 9, 2), within +-MOTION_MAX.
    """
    bounds = np.arange(units + 1)
    ways = astray = levels = None
    if actual is not None:
        ways = actual[:, _LAST].astype(np.int64)
        astray = actual[:, _OTHERS].astype(np.int64) - _straight(ways)
        levels = _levels(astray)
    levels = coder.uniform(np.full(units, LEVELS, np.int32), bounds, levels)
    ways = code_numbers(
        coder, table, np.zeros(2 * units, np.intp), 2 * bounds,
        None if ways is None else ways.ravel(),
    ).reshape(units, 2).astype(np.int64)  # fmt: skip
    restless = np.flatnonzero(levels)
    numbers = 2 * len(_OTHERS)
    found = code_numbers(
        coder, table, np.repeat(levels[restless], numbers).astype(np.intp),
        np.searchsorted(restless, bounds) * numbers,
        None if astray is None else astray[restless].ravel(),
    )  # fmt: skip
    out = np.zeros((units, *CAMERA_SHAPE), np.int64)
    out[:, _LAST] = ways
    out[:, _OTHERS] = _straight(ways)
    out[restless[:, None], _OTHERS] += found.reshape(-1, len(_OTHERS), 2)
    beyond = np.flatnonzero((np.abs(out) > MOTION_MAX).any(axis=(1, 2)))
    if beyond.size and isinstance(coder, Reader):
        coder.fail(bounds, beyond)
        np.clip(out, -MOTION_MAX, MOTION_MAX, out=out)
    return out.astype(np.int32)


def _straight(ways: _Wide) -> _Wide:
    """Where a camera of constant speed would be, (units, 8, 2)."""
    exact: _Wide = ways[:, None] * _DISTANCES[:, None]
    return (exact + _SPAN // 2) // _SPAN


def _levels(astray: _Wide) -> Ints:
    """Level of each unit, from the mean of what strays."""
    total = np.abs(astray).sum(axis=(1, 2))
    mean = -(-total // (2 * len(_OTHERS)))
    octave: Index = np.searchsorted(1 << np.arange(LEVELS - 1), mean, side="right").astype(np.intp)
    return octave.astype(np.int32)
