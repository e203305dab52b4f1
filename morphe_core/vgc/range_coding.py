"""Symbols to bytes and back: one range coder a unit, all units of a GoP side by side.

The code that walks through a unit is the same for writing, reading and estimating; it is handed one
of three coders. Units are coded in step (all units' first group, then all units' second one), so
that the contexts of all units are computed in one go.

The models are tables of 16-bit frequencies; divided by 2 ** 16 they are exact as float32, so the
range coder's fixed-point models are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import constriction
import numpy as np
import numpy.typing as npt

from morphe_core.errors import BitstreamError

#: Frequencies of one context add up to this.
FREQUENCY_SUM = 1 << 16

Ints = npt.NDArray[np.int32]
Index = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]

_CATEGORICAL = constriction.stream.model.Categorical(perfect=False)
_UNIFORM = constriction.stream.model.Uniform()
_COIN = constriction.stream.model.Bernoulli(0.5, perfect=False)
_WORD_BYTES = 4
_STATE_WORDS = 2


@dataclass(frozen=True)
class Table:
    """Frequencies of the symbols in each context.

    Attributes:
        frequencies: (contexts, symbols) uint16 without the last symbol, whose frequency is what
            the others leave of `FREQUENCY_SUM`; every frequency is at least 1.
    """

    frequencies: npt.NDArray[np.uint16]

    @cached_property
    def probabilities(self) -> Floats:
        """(contexts, symbols) float32, exact."""
        return (self._complete() / FREQUENCY_SUM).astype(np.float32)

    @cached_property
    def bits(self) -> Floats:
        """(contexts, symbols) float32, length of each symbol in bits."""
        return (-np.log2(self._complete() / FREQUENCY_SUM)).astype(np.float32)

    @property
    def is_valid(self) -> bool:
        """Every symbol can be coded."""
        return bool((self._complete() >= 1).all())

    def _complete(self) -> npt.NDArray[np.int64]:
        known = self.frequencies.astype(np.int64)
        return np.concatenate([known, FREQUENCY_SUM - known.sum(1, keepdims=True)], axis=1)


class Coder(Protocol):
    """Writes, reads or measures symbols.

    In all methods `bounds` (units + 1) says which symbols belong to which unit, and `actual` holds
    the symbols to write; a reader ignores it. All return the symbols, int32.
    """

    def categorical(
        self, table: Table, contexts: Index, bounds: Index, actual: Ints | None
    ) -> Ints:
        """Symbols 0.. of `table`, each in its context."""
        ...

    def uniform(self, sizes: Ints, bounds: Index, actual: Ints | None) -> Ints:
        """Symbols that are equally probable, each below its size (2 or more)."""
        ...

    def coins(self, bounds: Index, actual: Ints | None) -> Ints:
        """Symbols 0 and 1 of equal probability."""
        ...


class Writer:
    """Writes one range-coded stream a unit.

    Args:
        units: number of units.
    """

    def __init__(self, units: int) -> None:
        self._coders = [constriction.stream.queue.RangeEncoder() for _ in range(units)]

    def categorical(
        self, table: Table, contexts: Index, bounds: Index, actual: Ints | None
    ) -> Ints:
        """See `Coder`."""
        assert actual is not None
        models = np.take(table.probabilities, contexts, axis=0)
        for coder, low, high in self._spans(bounds):
            coder.encode(actual[low:high], _CATEGORICAL, models[low:high])
        return actual

    def uniform(self, sizes: Ints, bounds: Index, actual: Ints | None) -> Ints:
        """See `Coder`."""
        assert actual is not None
        for coder, low, high in self._spans(bounds):
            coder.encode(actual[low:high], _UNIFORM, sizes[low:high])
        return actual

    def coins(self, bounds: Index, actual: Ints | None) -> Ints:
        """See `Coder`."""
        assert actual is not None
        for coder, low, high in self._spans(bounds):
            coder.encode(actual[low:high], _COIN)
        return actual

    def finish(self) -> list[bytes]:
        """The bytes of each unit."""
        return [_shortest(coder) for coder in self._coders]

    def _spans(
        self, bounds: Index
    ) -> list[tuple[constriction.stream.queue.RangeEncoder, int, int]]:
        ends = bounds.tolist()
        return [
            (coder, low, high)
            for coder, low, high in zip(self._coders, ends[:-1], ends[1:], strict=True)
            if high > low
        ]


class Reader:
    """Reads what `Writer` wrote.

    A unit whose bytes cannot be decoded is given zeros from there on and is listed in `failed`.

    Args:
        payloads: bytes of each unit; any bytes will do.
    """

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self._coders = [
            constriction.stream.queue.RangeDecoder(_words(payload)) for payload in payloads
        ]
        self.failed: set[int] = set()

    def categorical(
        self, table: Table, contexts: Index, bounds: Index, actual: Ints | None
    ) -> Ints:
        """See `Coder`."""
        del actual
        models = np.take(table.probabilities, contexts, axis=0)
        return self._read(
            bounds, lambda coder, low, high: coder.decode(_CATEGORICAL, models[low:high])
        )

    def uniform(self, sizes: Ints, bounds: Index, actual: Ints | None) -> Ints:
        """See `Coder`."""
        del actual
        return self._read(bounds, lambda coder, low, high: coder.decode(_UNIFORM, sizes[low:high]))

    def coins(self, bounds: Index, actual: Ints | None) -> Ints:
        """See `Coder`."""
        del actual
        return self._read(bounds, lambda coder, low, high: coder.decode(_COIN, high - low))

    def fail(self, bounds: Index, places: Index) -> None:
        """Give up the units of symbols, at these places within `bounds`, that make no sense."""
        self.failed.update((np.searchsorted(bounds, places, side="right") - 1).tolist())

    def check(self, unit: int) -> None:
        """Say whether a unit could be read.

        Raises:
            BitstreamError: it could not.
        """
        if unit in self.failed:
            raise BitstreamError("payload: its bytes are not those of a unit of this shape")

    def _read(
        self,
        bounds: Index,
        decode: Callable[[constriction.stream.queue.RangeDecoder, int, int], Ints],
    ) -> Ints:
        """The symbols of all units; `decode` reads one unit's, from `low` to `high`."""
        out = np.zeros(int(bounds[-1]), np.int32)
        for unit, (low, high) in enumerate(pairwise(bounds.tolist())):
            if high > low and unit not in self.failed:
                try:
                    out[low:high] = decode(self._coders[unit], low, high)
                except AssertionError:  # what constriction raises for impossible bytes
                    self.failed.add(unit)
        return out


class Meter:
    """Counts the bits of one unit without writing them.

    Attributes:
        last: bits of each symbol of the latest call.
        total: bits of all symbols so far.
    """

    def __init__(self) -> None:
        self.last: Floats = np.zeros(0, np.float32)
        self.total = 0.0

    def categorical(
        self, table: Table, contexts: Index, bounds: Index, actual: Ints | None
    ) -> Ints:
        """See `Coder`."""
        del bounds
        assert actual is not None
        bits = table.bits
        return self._add(np.take(bits, contexts * bits.shape[1] + actual), actual)

    def uniform(self, sizes: Ints, bounds: Index, actual: Ints | None) -> Ints:
        """See `Coder`."""
        del bounds
        assert actual is not None
        return self._add(np.log2(sizes.astype(np.float32)), actual)

    def coins(self, bounds: Index, actual: Ints | None) -> Ints:
        """See `Coder`."""
        del bounds
        assert actual is not None
        return self._add(np.ones(len(actual), np.float32), actual)

    def add(self, bits: Floats) -> None:
        """Count bits that were found otherwise."""
        self.last = bits
        self.total += float(bits.sum(dtype=np.float64))

    def _add(self, bits: Floats, actual: Ints) -> Ints:
        self.add(bits)
        return actual


def _words(payload: bytes) -> npt.NDArray[np.uint32]:
    """Bytes as the range coder's words; what was trimmed from the end was zero."""
    padded = payload + bytes(-len(payload) % _WORD_BYTES)
    return np.frombuffer(padded, ">u4").astype(np.uint32)


def _shortest(coder: constriction.stream.queue.RangeEncoder) -> bytes:
    """The fewest bytes that, followed by zeros, decode to what was encoded.

    The coder's state is an interval of 2 words behind the words that are final; any number in it
    will do, and the one with the most zero bytes at its end is the shortest.
    """
    words = coder.get_compressed()
    position, (lower, span) = coder.pos()
    size = (position + _STATE_WORDS) * _WORD_BYTES
    sealed = int.from_bytes(words.astype(">u4").tobytes().ljust(size, b"\0"), "big")
    # `lower` counts modulo 2 ** 64 and may be about to carry; `sealed` has carried.
    low = sealed - ((sealed - lower) & ((1 << 64) - 1))
    for zeros in range(_STATE_WORDS * _WORD_BYTES, -1, -1):
        value = -(-low >> 8 * zeros) << 8 * zeros
        if value < low + span:
            shortest: bytes = value.to_bytes(size, "big").rstrip(b"\0")
            return shortest
    raise AssertionError("unreachable: zeros = 0 gives the interval's lower end")
