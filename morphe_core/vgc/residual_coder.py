"""Symbols to bytes for the residual layer: adaptive tables of integers before a range coder.

Writer and reader share one call, so one walk over the symbols serves both ends: the writer returns
the values it was given, the reader the values it found. All probabilities come from integer counts
and are whole multiples of 2**-16; both ends therefore agree bit for bit on every machine.
"""

from __future__ import annotations

from typing import Any, Protocol

import constriction
import numpy as np
import numpy.typing as npt

from morphe_core.errors import BitstreamError

Ints = npt.NDArray[np.integer[Any]]
Counts = npt.NDArray[np.int64]

#: What one symbol adds to its count. Tables start with totals of 200 to 1000, so what they started
#: with counts for half after 25 to 125 symbols. Sizes with 2 to 16 differ by less than 0.6 %.
LEARN = 8
#: Probabilities are multiples of 1 / SCALE, exact in float32.
SCALE = 1 << 16
#: The coder's words are of four bytes.
_WORD_BYTES = 4

_MODELS = constriction.stream.model
_CODERS = constriction.stream.queue
_FAMILY = _MODELS.Categorical(perfect=False)


class ContextTables:
    """Counts of symbols by context, learnt while coding.

    Args:
        name: what the symbols are; coding does not depend on it.
        counts: (contexts, symbols) what they start with, each at least 1.
    """

    def __init__(self, name: str, counts: Counts) -> None:
        self.name = name
        self._counts = counts.astype(np.int64)

    @property
    def symbols(self) -> int:
        """Size of the alphabet."""
        return int(self._counts.shape[1])

    @property
    def contexts(self) -> int:
        """Number of contexts."""
        return int(self._counts.shape[0])

    def probabilities(self) -> npt.NDArray[np.float32]:
        """(contexts, symbols); every one is at least 1 / `SCALE`, every row sums to 1."""
        totals = self._counts.sum(axis=1, keepdims=True)
        shares = 1 + self._counts * (SCALE - self.symbols) // totals
        shares[:, 0] += SCALE - shares.sum(axis=1)
        result: npt.NDArray[np.float32] = (shares / SCALE).astype(np.float32)
        return result

    def learn(self, contexts: Ints, values: Ints) -> None:
        """Count symbols that were coded."""
        places = contexts.astype(np.intp) * self.symbols + values
        found = np.bincount(places, minlength=self._counts.size)
        self._counts += LEARN * found.reshape(self._counts.shape)


class SymbolCoder(Protocol):
    """Writes or reads symbols."""

    def code(self, tables: ContextTables, contexts: Ints, values: Ints) -> Ints:
        """Code one symbol a context and learn from them.

        Args:
            tables: probabilities.
            contexts: (n,) rows of the tables.
            values: (n,) what to write; a reader does not look at them.

        Returns:
            The symbols, written or read.

        Raises:
            BitstreamError: a reader met bytes that no writer made.
        """

    def code_uniform(self, size: int, values: Ints) -> Ints:
        """Code numbers 0 <= value < size, all equally likely; else as `code`."""


class UnitWriter:
    """A `SymbolCoder` that makes the bytes of one unit."""

    def __init__(self) -> None:
        self._encoder = _CODERS.RangeEncoder()

    def code(self, tables: ContextTables, contexts: Ints, values: Ints) -> Ints:
        """See `SymbolCoder`."""
        if values.size:
            table = tables.probabilities()[contexts]
            self._encoder.encode(values.astype(np.int32), _FAMILY, table)
            tables.learn(contexts, values)
        return values

    def code_uniform(self, size: int, values: Ints) -> Ints:
        """See `SymbolCoder`."""
        if values.size:
            self._encoder.encode(values.astype(np.int32), _MODELS.Uniform(size))
        return values

    def finish(self) -> bytes:
        """The bytes; zeros at their end are left away, as the reader puts them back."""
        words: npt.NDArray[np.uint32] = self._encoder.get_compressed()
        return words.astype("<u4").tobytes().rstrip(b"\0")


class UnitReader:
    """A `SymbolCoder` that reads what `UnitWriter` made."""

    def __init__(self, data: bytes) -> None:
        missing = -len(data) % _WORD_BYTES
        words = np.frombuffer(data + bytes(missing), dtype="<u4")
        self._decoder = _CODERS.RangeDecoder(words.astype(np.uint32))

    def code(self, tables: ContextTables, contexts: Ints, values: Ints) -> Ints:
        """See `SymbolCoder`."""
        if not values.size:
            return values
        found = self._decode(_FAMILY, tables.probabilities()[contexts])
        tables.learn(contexts, found)
        return found

    def code_uniform(self, size: int, values: Ints) -> Ints:
        """See `SymbolCoder`."""
        return self._decode(_MODELS.Uniform(size), values.size) if values.size else values

    def finish(self) -> None:
        """Look at what is left.

        Raises:
            BitstreamError: bytes are left over.
        """
        if not self._decoder.maybe_exhausted():
            raise BitstreamError("residual unit: bytes are left over")

    def _decode(self, model: Any, argument: Any) -> Ints:
        try:
            found: Ints = self._decoder.decode(model, argument)
        except AssertionError as error:  # what constriction raises for impossible bytes
            raise BitstreamError("residual unit: bytes that no encoder makes") from error
        return found
