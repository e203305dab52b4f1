"""Recovering lost packets from repair packets, whatever code made them.

Every repair packet is an equation: its symbol is a known combination of source packets, of which
some have arrived. What is missing are the unknowns. Whenever an equation or a packet comes, the
decoder looks which unknowns follow from all equations together (Gaussian elimination over GF(2^8))
and hands those packets out. With Reed-Solomon blocks this is the usual erasure decoding; with a
sliding window, repairs of several frames help each other.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from testbed.errors import RemoteProtocolError
from testbed.protocol.fec.gf256 import Bytes, combine, determined
from testbed.protocol.fec.weights import weights
from testbed.protocol.fec.wire import (
    MAX_PAYLOAD_BYTES,
    MAX_SOURCES,
    SOURCE_HEADER_BYTES,
    Repair,
    SourcePacket,
    pack_source,
    parse_source,
)

#: Source packets remembered: the longest window, its frames reordered, several times over.
MAX_MEMORY: Final = 1024
#: Equations kept and solved at once. More only come from nonsense, and solving takes the cube.
MAX_EQUATIONS: Final = 128
#: Source packets that may be unknown at once.
MAX_UNKNOWN: Final = 128


class _Equation:
    """A repair packet that still has unknowns."""

    __slots__ = ("missing", "repair", "weights")

    def __init__(self, repair: Repair, missing: set[int]) -> None:
        self.repair = repair
        self.missing = missing
        self.weights = weights(repair.code, base=repair.base, count=repair.count, row=repair.row)


class ErasureDecoder:
    """See the module's text. Memory and time are bounded whatever arrives.

    Attributes:
        recovered: packets handed out so far.
        contradictions: recovered symbols that were no packets; what led to them is forgotten.
    """

    def __init__(self) -> None:
        self._symbols: dict[int, bytes] = {}
        self._equations: list[_Equation] = []
        self._highest = -1
        self._floor = 0
        self.recovered = 0
        self.contradictions = 0

    def on_source(
        self, sequence: int, timestamp: int, marker: bool, payload: bytes
    ) -> list[SourcePacket]:
        """A media packet came, at first hand or as a retransmission; what follows from it.

        Args:
            sequence: extended.
            timestamp: RTP timestamp.
            marker: RTP marker bit.
            payload: RTP payload; one that cannot be protected is ignored.
        """
        symbols = self._symbols
        if sequence in symbols or sequence < self._floor or len(payload) > MAX_PAYLOAD_BYTES:
            return []
        symbols[sequence] = pack_source(payload, marker=marker, timestamp=timestamp)
        if sequence > self._highest:
            self._highest = sequence
            if sequence - self._floor > MAX_MEMORY:
                self._forget()
        return self._on_known(sequence) if self._equations else []

    def on_repair(self, repair: Repair) -> list[SourcePacket]:
        """A repair packet came, with its base number extended; what follows from it.

        Raises:
            RemoteProtocolError: it is of packets too far from those that came.
        """
        end = repair.base + repair.count - 1
        if repair.base > self._highest + 1 + MAX_SOURCES:
            raise RemoteProtocolError(f"repair packet for packets {repair.base}..{end}")
        if repair.base < self._floor:
            return []  # too late to matter
        missing = {number for number in range(repair.base, end + 1) if number not in self._symbols}
        if not missing:
            return []
        self._equations.append(_Equation(repair, missing))
        if len(self._equations) > MAX_EQUATIONS:
            del self._equations[0]
        return self._solve()

    def _on_known(self, sequence: int) -> list[SourcePacket]:
        touched = False
        for equation in self._equations:
            if sequence in equation.missing:
                equation.missing.discard(sequence)
                touched = True
        if not touched:
            return []
        self._equations = [equation for equation in self._equations if equation.missing]
        return self._solve()

    def _forget(self) -> None:
        """Drop what is more than `MAX_MEMORY` numbers old."""
        floor = self._highest - MAX_MEMORY
        if floor - self._floor > 2 * MAX_MEMORY:  # the numbers jumped
            self._symbols = {n: s for n, s in self._symbols.items() if n >= floor}
        else:
            for number in range(self._floor, floor):
                self._symbols.pop(number, None)
        self._floor = floor
        self._equations = [e for e in self._equations if e.repair.base >= floor]

    # --- solving --------------------------------------------------------------------------

    def _solve(self) -> list[SourcePacket]:
        """All packets that the equations tell."""
        equations = self._equations
        # The smallest solvable set of equations has no more unknowns than equations.
        if not equations or min(len(e.missing) for e in equations) > len(equations):
            return []
        unknowns = sorted(set().union(*(e.missing for e in equations)))
        if len(unknowns) > MAX_UNKNOWN:
            unknowns = unknowns[-MAX_UNKNOWN:]
            oldest = unknowns[0]
            equations = [e for e in equations if min(e.missing) >= oldest]
        told = determined(self._matrix(equations, unknowns))
        packets = []
        for place, by in told.items():
            packet = self._rebuild(unknowns[place], equations, by)
            if packet is None:
                break
            packets.append(packet)
        if packets:
            known = {packet.sequence for packet in packets}
            for equation in self._equations:
                equation.missing -= known
            self._equations = [e for e in self._equations if e.missing]
        return packets

    @staticmethod
    def _matrix(equations: list[_Equation], unknowns: list[int]) -> Bytes:
        """Coefficients of the unknowns; uint8 (equations, unknowns)."""
        matrix = np.zeros((len(equations), len(unknowns)), dtype=np.uint8)
        place = {number: column for column, number in enumerate(unknowns)}
        for row, equation in enumerate(equations):
            base = equation.repair.base
            for number in equation.missing:
                matrix[row, place[number]] = equation.weights[number - base]
        return matrix

    def _rebuild(self, sequence: int, equations: list[_Equation], by: Bytes) -> SourcePacket | None:
        """The packet that `equations`, times `by`, add up to; None if it is none."""
        used = [(int(by[row]), equations[row]) for row in np.flatnonzero(by)]
        try:
            sides = [self._side(equation) for _, equation in used]
            size_bytes = max(map(len, sides))
            symbol = combine([weight for weight, _ in used], sides, size_bytes)
            packet = parse_source(symbol, sequence=sequence)
        except RemoteProtocolError:
            # One of them is not what our sender makes; none of them can be trusted.
            bad = {id(equation) for _, equation in used}
            self._equations = [e for e in self._equations if id(e) not in bad]
            self.contradictions += 1
            return None
        self._symbols[sequence] = symbol[: SOURCE_HEADER_BYTES + len(packet.payload)]
        self.recovered += 1
        return packet

    def _side(self, equation: _Equation) -> bytes:
        """What the unknowns of an equation add up to: its symbol less what is known."""
        repair = equation.repair
        factors, parts = [1], [repair.symbol]
        for place, weight in enumerate(equation.weights):
            number = repair.base + place
            if number not in equation.missing:
                symbol = self._symbols[number]
                if len(symbol) > len(repair.symbol):
                    raise RemoteProtocolError("a repair packet shorter than what it protects")
                factors.append(weight)
                parts.append(symbol)
        return combine(factors, parts, len(repair.symbol))
