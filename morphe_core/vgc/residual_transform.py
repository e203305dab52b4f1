"""The residual layer in a block transform: 16x16 luma and 8x8 chroma blocks.

Of each block the encoder sends how far from the corner its coefficients reach (its *extent*; 0 =
the block is skipped) and the coefficients up to there. What is sent is what pays: levels, extents
and skipped blocks are chosen by squared error plus bits (the rate-distortion optimised
quantisation of video encoders; Sullivan and Wiegand, IEEE Signal Processing Magazine, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from morphe_core.errors import BitstreamError
from morphe_core.vgc.residual_blocks import (
    BESIDE,
    MACROBLOCK,
    Average,
    Choice,
    Correction,
    Floats,
    Plan,
    Samples,
    code_classes,
    from_blocks,
    neighbour_mean,
    to_blocks,
)
from morphe_core.vgc.residual_coder import (
    ContextTables,
    Counts,
    Ints,
    SymbolCoder,
    UnitReader,
)
from morphe_core.vgc.residual_dct import STEP_BITS, Scan
from morphe_core.vgc.residual_levels import ESCAPED, LevelContexts, code_levels
from morphe_core.vgc.residual_tables import (
    CHROMA_EXTENTS,
    ESCAPE,
    LEVELS,
    LUMA_EXTENTS,
)

#: Quantisation steps in sixteenths: a level is an eighth of an octave, steps are 1 to 235.
STEPS: Final = tuple(round(2 ** (STEP_BITS + level / 8)) for level in range(64))
#: Price of a bit in squared steps. Where it was tried (two test clips), 0.10 to 0.17 gave the same
#: quality for the same bytes to 0.05 dB. Between two levels it grows by about as much as takes the
#: bytes to the next level.
_PRICE: Final = 0.11
_PRICE_OCTAVES: Final = 0.37
#: Coefficients below half a step are never sent.
_LEAST: Final = 0.5
#: About what a coefficient and a block cost, in bits; decides where units are cut, nothing else.
_LEVEL_BITS: Final = 5.0
_BLOCK_BITS: Final = 4.0


@dataclass(frozen=True)
class _Kind:
    """Luma or chroma blocks.

    Attributes:
        scan: their form.
        limit: largest context of an extent from the extents around it.
        extents: counts that the extents' tables start with.
    """

    scan: Scan
    limit: int
    extents: Counts


_LUMA: Final = _Kind(Scan(MACROBLOCK, (1, 2, 3, 4, 6, 8, 12, 16, 31)), 9, LUMA_EXTENTS)
_CHROMA: Final = _Kind(Scan(MACROBLOCK // 2, (1, 2, 3, 4, 6, 8, 15)), 3, CHROMA_EXTENTS)
#: Context of a chroma extent from the luma extent at its place.
_BESIDE: Final = np.array([0, 1, 1, 1, 1, 2, 2, 2, 2, 2])


@dataclass
class _Blocks:
    """Quantised blocks.

    Attributes:
        extents: (rows, cols) of blocks.
        levels: (n, rows * cols).
    """

    extents: Ints
    levels: Ints

    @classmethod
    def empty(cls, kind: _Kind, rows: int, cols: int) -> _Blocks:
        side = kind.scan.side
        return cls(np.zeros((rows, cols), np.int32), np.zeros((side * side, rows * cols), np.int32))

    def rows(self, rows: range) -> _Blocks:
        """Some rows."""
        cols = self.extents.shape[1]
        return _Blocks(
            self.extents[rows.start : rows.stop],
            self.levels[:, rows.start * cols : rows.stop * cols],
        )

    def bits(self) -> npt.NDArray[np.float64]:
        """About the bits of each row."""
        count = np.count_nonzero(self.levels, axis=0).reshape(self.extents.shape)
        bits: npt.NDArray[np.float64] = np.where(
            self.extents > 0, _BLOCK_BITS + _LEVEL_BITS * count, 0.0
        ).sum(axis=1)
        return bits


def _walk(coder: SymbolCoder, luma: _Blocks, chroma: _Blocks) -> None:
    """Code a unit; a reader fills both."""
    levels = ContextTables("levels", LEVELS)
    extents = ContextTables("luma_extents", _LUMA.extents)
    code_classes(coder, extents, luma.extents, _LUMA.limit)
    code_levels(coder, levels, _LUMA.scan, luma.extents.ravel(), luma.levels)
    extents, beside = ContextTables("chroma_extents", _CHROMA.extents), _beside(luma.extents)
    code_classes(coder, extents, chroma.extents, _CHROMA.limit, beside=beside)
    code_levels(coder, levels, _CHROMA.scan, chroma.extents.ravel(), chroma.levels)


def _beside(luma_extents: Ints) -> Ints:
    return np.repeat(_BESIDE[luma_extents], 2, axis=1)


class _Choice:
    """See `Choice`."""

    def __init__(self, level: int, luma: _Blocks, chroma: _Blocks, gain: float) -> None:
        self.level = level
        self.row_bits = luma.bits() + chroma.bits()
        self.gain = gain
        self._luma, self._chroma = luma, chroma

    def walk(self, coder: SymbolCoder, rows: range) -> None:
        """See `Choice`."""
        _walk(coder, self._luma.rows(rows), self._chroma.rows(rows))


class _Plan:
    """See `Plan`."""

    def __init__(self, average: Average) -> None:
        self._rows, self._cols = average.grid
        self._samples = _split(average.luma, average.chroma)
        kinds = (_LUMA, _CHROMA)
        self._coefficients = [
            kind.scan.forward(blocks) for kind, blocks in zip(kinds, self._samples, strict=True)
        ]

    def choose(self, coarseness: float) -> Choice:
        """See `Plan`."""
        level = min(int(coarseness), len(STEPS) - 1)
        price = _PRICE * 2 ** (_PRICE_OCTAVES * (coarseness - level))
        rows, cols = self._rows, self._cols
        luma, luma_gain = self._quantise(0, _LUMA, (rows, cols), level, price, None)
        beside = _beside(luma.extents)
        chroma, gain = self._quantise(1, _CHROMA, (rows, 2 * cols), level, price, beside)
        return _Choice(level, luma, chroma, luma_gain + gain)

    def _quantise(
        self, number: int, kind: _Kind, shape: tuple[int, int], level: int, price: float,
        beside: Ints | None,
    ) -> tuple[_Blocks, float]:  # fmt: skip
        blocks = _Blocks.empty(kind, *shape)
        scaled = self._coefficients[number] / np.float32(STEPS[level] / 2**STEP_BITS)
        active = np.flatnonzero((np.abs(scaled) >= _LEAST).any(axis=0))
        if not active.size:
            return blocks, 0.0
        optimiser = _Optimiser(kind, scaled, active, shape, price, beside)
        blocks.levels[: optimiser.depth, active] = optimiser.levels()
        # Samples are rounded: what a block is worth is counted after that.
        sent = kind.scan.inverse(blocks.levels[:, active], STEPS[level]).astype(np.float32)
        gains = (sent * (2 * self._samples[number][active] - sent)).sum(axis=(1, 2))
        blocks.levels[:, active[gains <= 0]] = 0
        blocks.extents[...] = kind.scan.extents(blocks.levels).reshape(shape)
        return blocks, float(np.maximum(gains, 0).sum())


class _Optimiser:
    """Chooses levels of the blocks that have any.

    Attributes:
        depth: coefficients in `Scan.order` beyond which none is worth a look.
    """

    def __init__(
        self, kind: _Kind, scaled: Floats, active: Ints, shape: tuple[int, int], price: float,
        beside: Ints | None,
    ) -> None:  # fmt: skip
        self._kind, self._shape, self._active, self._beside = kind, shape, active, beside
        self._price = np.float32(price)
        deepest = int(np.flatnonzero((np.abs(scaled) >= _LEAST).any(axis=1))[-1])
        self.depth = int(kind.scan.ends[np.searchsorted(kind.scan.ends, deepest + 1)])
        self._signed = scaled[: self.depth, active]
        # Only these may become more than 0; there are few, so they are kept apart.
        sizes = np.abs(self._signed).ravel()
        self._places = np.flatnonzero(sizes >= _LEAST)
        self._sizes = sizes[self._places]

    def levels(self) -> Ints:
        """(depth, active blocks) levels.

        Costs depend on contexts and these on levels; the second round starts from good ones.
        """
        chosen = np.zeros(self._signed.shape, np.int32)
        chosen.ravel()[self._places] = np.minimum(self._sizes + 0.3, _LARGEST)
        for _ in range(2):
            extents = self._kind.scan.extents(chosen)
            contexts = LevelContexts(self._kind.scan, len(self._active)).of_all(chosen, extents)
            gains = -self._price * _LEVEL_COSTS[:, 0][contexts]
            best, gain = self._best(contexts.ravel()[self._places])
            chosen.ravel()[self._places] = best
            gains.ravel()[self._places] = gain
            self._cut(chosen, gains, extents)
        return chosen * np.sign(self._signed).astype(np.int32)

    def _best(self, contexts: Ints) -> tuple[Ints, Floats]:
        """The better of the two levels around each size, or 0, and what it gains."""
        costs = _LEVEL_COSTS * self._price
        best = np.zeros(self._sizes.size, np.int32)
        most = -costs[contexts, 0]
        upper = np.minimum(self._sizes + 0.5, _LARGEST).astype(np.int32)
        for level in (np.maximum(upper - 1, 1), upper):
            gain = level * (2 * self._sizes - level) - costs[contexts, np.minimum(level, ESCAPE)]
            better = gain > most
            best[better] = level[better]
            most[better] = gain[better]
        return best, most

    def _cut(self, chosen: Ints, gains: Floats, extents: Ints) -> None:
        """Shorten blocks to the extents that gain most."""
        ends = self._kind.scan.ends
        used = int(np.searchsorted(ends, self.depth))
        total = np.zeros((used + 1, len(self._active)), np.float32)
        np.cumsum(np.add.reduceat(gains, ends[:used], axis=0), axis=0, out=total[1:])
        around = np.zeros(self._shape, np.int32)
        around.ravel()[self._active] = extents
        contexts = neighbour_mean(around, np.ones(self._shape, np.bool_), self._kind.limit)
        if self._beside is not None:
            contexts = BESIDE * contexts + self._beside
        costs = _costs(self._kind.extents)[contexts.ravel()[self._active], : used + 1]
        best = np.argmax(total - self._price * costs.T, axis=0)
        chosen[np.arange(self.depth)[:, None] >= ends[best]] = 0


def _costs(counts: Counts) -> Floats:
    """Bits of symbols by context."""
    costs: Floats = -np.log2(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return costs


#: Largest magnitude of a level.
_LARGEST: Final = ESCAPE + ESCAPED - 1
_LEVEL_COSTS: Final = _costs(LEVELS)
_LEVEL_COSTS[:, 1:] += 1  # the sign
_LEVEL_COSTS[:, ESCAPE] += np.log2(ESCAPED)


class TransformForm:
    """The form called "transform"; see `Form`."""

    code = 1
    start = 36.0
    coarsest = float(len(STEPS) + 12)

    def plan(self, average: Average) -> Plan:
        """See `Form`."""
        return _Plan(average)

    def read(self, data: bytes, level: int, rows: int, cols: int) -> Correction:
        """See `Form`."""
        if level >= len(STEPS):
            raise BitstreamError(f"residual level {level}: must be less than {len(STEPS)}")
        reader = UnitReader(data)
        luma, chroma = _Blocks.empty(_LUMA, rows, cols), _Blocks.empty(_CHROMA, rows, 2 * cols)
        _walk(reader, luma, chroma)
        reader.finish()
        step = STEPS[level]
        return _join(
            _LUMA.scan.inverse(luma.levels, step), _CHROMA.scan.inverse(chroma.levels, step), cols
        )


def _split(luma: Floats, chroma: Floats) -> tuple[Floats, Floats]:
    """Planes as blocks; of chroma, the two at one place follow each other."""
    halves = [to_blocks(plane, MACROBLOCK // 2) for plane in chroma]
    side = MACROBLOCK // 2
    return to_blocks(luma, MACROBLOCK), np.stack(halves, axis=1).reshape(-1, side, side)


def _join(luma: Samples, chroma: Samples, cols: int) -> Correction:
    """The reverse of `_split`."""
    halves = chroma.reshape(-1, 2, *chroma.shape[1:])
    planes = [from_blocks(halves[:, number], cols) for number in range(2)]
    return Correction(from_blocks(luma, cols), np.stack(planes))
