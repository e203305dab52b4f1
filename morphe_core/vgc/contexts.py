"""What a decoder knows of a token matrix while it decodes it: the context of every symbol.

A matrix is coded in *groups* of channels, and each group first in the even and then in the odd
columns. So a token of an even column knows its own earlier groups and those of its neighbours left
and right; one of an odd column also knows its neighbours' present group. Rows know nothing of each
other, because a unit holds rows that are not adjacent.

What is known is kept as a row of small integers per token, in an order in which every step's
knowledge is a prefix of the row: nothing that is not yet decoded can be looked at. All arithmetic
is on integers (held as floats where the matrix product of a library is wanted, and small enough to
be exact), so that it gives the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.range_coding import Floats, Index, Ints

#: Ends of the groups of channels; the last one is cut at the number of channels. Small groups
#: first: what they show of a block's activity makes the later ones cheap.
GROUP_ENDS = (4, 8, 16, 28, 44, 64, 96, 144, 208, 288, 400, 544, 768)
#: Channels whose signed values are predicted from the neighbours.
PREDICTED = 8
#: Numbers at the head of every row: the quality, its square, known neighbours, something left.
BASE = 4
#: Largest number in a row: the sum of two levels.
INPUT_MAX = 48
#: Fixed point of predictions.
PREDICTION_SHIFT = 8
#: Contexts of a predicted channel's sign: the fraction cut off in eight classes, and the sign of
#: what was predicted.
SIGN_CONTEXTS = 24

_LEVEL_END = 64

_Number = TypeVar("_Number", bound=np.generic)


def _levels() -> Floats:
    """Level of a magnitude: 4 * log2(1 + magnitude), rounded, in integers alone."""
    out = []
    for magnitude in range(_LEVEL_END):
        level = 0
        # 2 ** (level + 1/2) <= (1 + magnitude) ** 4, both sides squared.
        while 2 ** (2 * level + 1) <= (1 + magnitude) ** 8:
            level += 1
        out.append(level)
    return np.array(out, np.float32)


_LEVELS = _levels()


def level(values: npt.NDArray[np.integer]) -> Floats:
    """The logarithm of magnitudes in quarter octaves, 0..24; same shape."""
    levels: Floats = _LEVELS[np.minimum(np.abs(values), _LEVEL_END - 1)]
    return levels


@dataclass(frozen=True, slots=True)
class Layout:
    """How a matrix is cut into groups, and where in a row the numbers of each are.

    Attributes:
        channels: numbers of a token.
        extras: numbers that are known of every token before the first step.
        ends: ends of the groups.
        predicted: the first so many channels are predicted; the end of a group.
    """

    channels: int
    extras: int
    ends: tuple[int, ...]
    predicted: int

    @classmethod
    def of_tokens(cls, channels: int, extras: int) -> Layout:
        """The layout of a token matrix."""
        ends = (*(end for end in GROUP_ENDS if end < channels), channels)
        return cls(channels, extras, ends, min(PREDICTED, channels))

    @property
    def groups(self) -> list[tuple[int, int]]:
        """First channel and end of each group."""
        return list(pairwise((0, *self.ends)))

    @property
    def width(self) -> int:
        """Numbers of a whole row."""
        return BASE + self.extras + 2 * self.channels + 2 * self.predicted

    def start(self, group: int) -> int:
        """Where in a row a group's numbers begin."""
        low = self.groups[group][0]
        return BASE + self.extras + 2 * low + 2 * min(low, self.predicted)

    def known(self, group: int, odd: int) -> int:
        """How much of a row is known before a step."""
        low, high = self.groups[group]
        now = high - low + self.leading(group) if odd else 0
        return self.start(group) + now

    def leading(self, group: int) -> int:
        """Predicted channels of a group."""
        low, high = self.groups[group]
        return high - low if low < self.predicted else 0

    def signed_known(self, group: int, odd: int) -> int:
        """How many signed numbers are known before a step of a predicted group."""
        low, high = self.groups[group]
        return 3 * low + (2 * (high - low) if odd else 0)

    def inputs(self, group: int, odd: int) -> int:
        """Numbers that a step's context is computed from."""
        guess = 2 * self.leading(group) if odd else 0
        return self.known(group, odd) + guess


class Columns:
    """The tokens of one parity that are to be coded.

    Attributes:
        shape: rows and columns of this parity.
        where: places of the tokens in the flattened plane.
        bounds: (units + 1) which tokens belong to which unit.
        left, right: (tokens, 1) bool, whether the neighbours are there.
    """

    def __init__(self, sent: npt.NDArray[np.bool_], odd: int, unit_rows: Index) -> None:
        mine, other = sent[:, odd::2], sent[:, 1 - odd :: 2]
        self.odd = odd
        self.shape = mine.shape
        self.sent = mine
        self.complete = bool(mine.all())
        self.where = np.flatnonzero(mine)
        self.bounds = np.searchsorted(self.where, unit_rows * mine.shape[1])
        left, right = self._sides(other[..., None])
        self.left, self.right = self.pick(left), self.pick(right)
        self._doubled = (self.left ^ self.right).astype(np.float32) + 1.0

    def pick(self, plane: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """The tokens' numbers out of a plane (rows, columns, n), as (tokens, n)."""
        flat = plane.reshape(plane.shape[0] * plane.shape[1], plane.shape[2])
        return flat if self.complete else flat[self.where]

    def spread(self, numbers: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """The inverse of `pick`: (rows, columns, n), zero where no token is."""
        if self.complete:
            return numbers.reshape(*self.shape, numbers.shape[1])
        plane = np.zeros((self.shape[0] * self.shape[1], numbers.shape[1]), numbers.dtype)
        plane[self.where] = numbers
        return plane.reshape(*self.shape, numbers.shape[1])

    def around(self, other: Floats) -> Floats:
        """Sum of both neighbours' levels out of the other plane; a lone one counts twice."""
        left, right = self._sides(other)
        total: Floats = self.pick(left + right) * self._doubled
        return total

    def signed(self, other: Ints) -> tuple[Ints, Ints]:
        """Values left and right, (tokens, n) each; a missing one is replaced by the other."""
        left, right = (self.pick(side) for side in self._sides(other))
        return np.where(self.left, left, right), np.where(self.right, right, left)

    def _sides(
        self, other: npt.NDArray[_Number]
    ) -> tuple[npt.NDArray[_Number], npt.NDArray[_Number]]:
        rows, columns = self.shape
        blank = np.zeros((rows, 1, other.shape[2]), other.dtype)
        if self.odd:
            left, right = other, np.concatenate([other[:, 1:], blank], axis=1)
        else:
            left, right = np.concatenate([blank, other], axis=1), other
            if right.shape[1] < columns:
                right = np.concatenate([right, blank], axis=1)
        return left[:, :columns], right[:, :columns]


class Contexts:
    """What is known of a matrix, filled in as it is coded.

    Args:
        layout: of the matrix.
        sent: (rows, cols) bool, the tokens to code.
        unit_rows: (units + 1), first row of each unit and the end.
        quality: of the matrix, 0..127, or (rows,) of each row.
        extras: (rows, cols, layout.extras) float32, integers 0..`INPUT_MAX`.
    """

    def __init__(
        self, layout: Layout, sent: npt.NDArray[np.bool_], unit_rows: Index,
        quality: int | Index,
        extras: Floats,
    ) -> None:  # fmt: skip
        self.layout = layout
        self.columns = (Columns(sent, 0, unit_rows), Columns(sent, 1, unit_rows))
        self.rows: list[Floats] = []
        self.values: list[Ints] = []
        self._signed: list[npt.NDArray[np.float64]] = []
        coarse = np.broadcast_to(quality, len(sent)) // 4
        for columns in self.columns:
            count = len(columns.where)
            rows = np.zeros((count, layout.width), np.float32)
            own = coarse[columns.where // max(columns.shape[1], 1)]
            rows[:, 0], rows[:, 1] = own, own * own // 32
            rows[:, 2:3] = columns.left.astype(np.float32) + columns.right
            rows[:, 3] = columns.where % max(columns.shape[1], 1) == 0
            rows[:, BASE : BASE + layout.extras] = columns.pick(extras[:, columns.odd :: 2])
            self.rows.append(rows)
            self.values.append(np.zeros((*columns.shape, layout.channels), np.int32))
            self._signed.append(np.zeros((count, 3 * layout.predicted)))

    def known(self, group: int, odd: int) -> Floats:
        """The part of the rows that a step may look at."""
        return self.rows[odd][:, : self.layout.known(group, odd)]

    def signed_known(self, group: int, odd: int) -> npt.NDArray[np.float64]:
        """The signed numbers that a predicted step may look at."""
        return self._signed[odd][:, : self.layout.signed_known(group, odd)]

    def publish(self, group: int, odd: int, values: Ints) -> None:
        """Make a step's values (tokens, channels of the group) known to the steps to come."""
        layout, columns = self.layout, self.columns[odd]
        low, high = layout.groups[group]
        plane = columns.spread(values)
        self.values[odd][:, :, low:high] = plane
        size, leading, start = high - low, layout.leading(group), layout.start(group)
        levels = level(values)
        own = start + (size + leading if odd else 0)
        self.rows[odd][:, own : own + size] = levels
        other = self.columns[1 - odd]
        around = start + (size if odd else 0)
        level_plane = level(plane)
        self.rows[1 - odd][:, around : around + size] = other.around(level_plane)
        if leading:
            self._publish_signed(group, odd, values, plane)

    def _publish_signed(self, group: int, odd: int, values: Ints, plane: Ints) -> None:
        layout, other = self.layout, self.columns[1 - odd]
        low, high = layout.groups[group]
        size, start, signed = high - low, layout.start(group), 3 * low
        own = signed + (2 * size if odd else 0)
        self._signed[odd][:, own : own + size] = values
        left, right = other.signed(plane)
        sums = signed + (size if odd else 0)
        self._signed[1 - odd][:, sums : sums + size] = left + right
        self._signed[1 - odd][:, sums + size : sums + 2 * size] = right - left
        across = start + (2 * size if odd else size)
        self.rows[1 - odd][:, across : across + size] = level(right - left)
        if odd:
            self._bend(0, group, left, right, self.columns[0].pick(self.values[0][:, :, low:high]))
            here = self.columns[1].signed(self.values[0][:, :, low:high])
            self._bend(1, group, *here, values)

    def _bend(self, odd: int, group: int, left: Ints, right: Ints, here: Ints) -> None:
        """How far a value is from the middle of its neighbours'."""
        low, high = self.layout.groups[group]
        at = self.layout.start(group) + 3 * (high - low)
        self.rows[odd][:, at : at + high - low] = level((2 * here - left - right) // 2)
