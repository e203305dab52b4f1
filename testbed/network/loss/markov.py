"""Loss with memory: Gilbert-Elliott, and probabilities conditioned on the losses just before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import InputError
from testbed.network.loss.base import BLOCK, LOSS_MODELS, IndexedBy, LossModel, PacketMask
from testbed.network.options import number, probability, reject_unknown
from testbed.network.packet import Packet

_GE: Final = "loss gilbert-elliott"


class GilbertElliott(PacketMask):
    """Two states that move once a packet (Gilbert 1960, Elliott 1963).

    Args:
        p: probability of moving from good to bad.
        r: probability of moving from bad to good.
        h: probability that a packet gets through in the bad state.
        k: probability that a packet gets through in the good state.
        rng: two draws a packet.

    It starts in its stationary distribution, so the expected loss is the same at every packet:
    (1-k)·r/(p+r) + (1-h)·p/(p+r). With h = 0 and k = 1 a burst lasts 1/r packets on average.
    """

    def __init__(self, p: float, r: float, h: float, k: float, rng: np.random.Generator) -> None:
        super().__init__()
        self.p, self.r, self.h, self.k = p, r, h, k
        self._rng = rng
        self._bad = _starts_bad(p, r, rng)

    def draw_block(self) -> bytes:
        """See `PacketMask`."""
        draws = self._rng.random((2, BLOCK))
        states, self._bad = _walk(draws[0], self._bad, self.p, self.r)
        fate: NDArray[np.bool_] = draws[1] >= np.where(states, self.h, self.k)
        return fate.tobytes()


class GilbertElliottPerFrame:
    """The same two states, but moving once a source frame (Tambur and ringmaster).

    The state belongs to the newest frame seen so far, so that a retransmission meets the state of
    its own time and a packet of no frame (feedback, padding) meets the current one; whether a
    packet is lost in that state is drawn by packet number.
    """

    indexed_by: IndexedBy = "frame"

    def __init__(self, p: float, r: float, h: float, k: float, rng: np.random.Generator) -> None:
        # Two generators, so that the states do not depend on how many packets a frame has.
        self._states_rng, self._draws_rng = rng.spawn(2)
        self.p, self.r, self.h, self.k = p, r, h, k
        self._bad = _starts_bad(p, r, self._states_rng)
        self._states = bytearray()
        self._draws: list[float] = []
        self._newest = 0

    def lost(self, packet: Packet, now_ns: int) -> bool:  # noqa: ARG002
        """See `LossModel`."""
        if packet.frame > self._newest:
            self._newest = packet.frame
        while self._newest >= len(self._states):
            states, self._bad = _walk(self._states_rng.random(BLOCK), self._bad, self.p, self.r)
            self._states += states.tobytes()
        while packet.number >= len(self._draws):
            self._draws += self._draws_rng.random(BLOCK).tolist()
        through = self.h if self._states[self._newest] else self.k
        return self._draws[packet.number] >= through


def _starts_bad(p: float, r: float, rng: np.random.Generator) -> bool:
    return bool(rng.random() * (p + r) < p)


def _walk(
    draws: NDArray[np.float64], bad: bool, p: float, r: float
) -> tuple[NDArray[np.bool_], bool]:
    """States of `len(draws)` steps, the first being `bad` itself, and the state after them."""
    states = np.empty(draws.size, dtype=np.bool_)
    for step, draw in enumerate(draws.tolist()):
        states[step] = bad
        bad = draw >= r if bad else draw < p
    return states, bad


class Conditional(PacketMask):
    """Loss probability given how many packets were just lost in a row (rattan's pattern).

    Args:
        pattern: entry i is the probability after i losses in a row; the last one also stands for
            all longer runs, so a last 0 caps the burst length. Shape (n,), n >= 1.
        rng: one draw a packet.
    """

    def __init__(self, pattern: tuple[float, ...], rng: np.random.Generator) -> None:
        super().__init__()
        self.pattern = pattern
        self._rng = rng
        self._run = 0

    def draw_block(self) -> bytes:
        """See `PacketMask`."""
        pattern, last, run = self.pattern, len(self.pattern) - 1, self._run
        fate = bytearray()
        for draw in self._rng.random(BLOCK).tolist():
            lost = draw < pattern[min(run, last)]
            run = run + 1 if lost else 0
            fate.append(lost)
        self._run = run
        return bytes(fate)


def from_mean_burst(rate: float, mean_burst: float) -> tuple[float, float]:
    """Gilbert's p and r for a loss rate and a mean burst length (h = 0, k = 1).

    r = 1/mean_burst and p = r·rate/(1-rate), as in WebRTC's simulated network.

    Args:
        rate: stationary loss, 0 <= rate < 1.
        mean_burst: mean run of losses in packets, >= 1.

    Raises:
        InputError: no such chain: losses that frequent need longer bursts.
    """
    if rate >= 1.0:
        raise InputError(f"{_GE}: rate is {rate:g}; with mean_burst it must be < 1")
    r = 1.0 / mean_burst
    p = r * rate / (1.0 - rate)
    if p > 1.0 + 1e-12:  # rounding must not refuse the exact limit
        raise InputError(
            f"{_GE}: rate {rate:g} needs mean_burst >= rate/(1-rate) = {rate / (1.0 - rate):g}; "
            f"it is {mean_burst:g}"
        )
    return min(p, 1.0), r


@LOSS_MODELS.register("gilbert-elliott")
def _gilbert_elliott(options: Mapping[str, Any], rng: np.random.Generator) -> LossModel:
    reject_unknown(_GE, options, ("p", "r", "h", "k", "rate", "mean_burst", "per"))
    if "rate" in options or "mean_burst" in options:
        mixed = [name for name in ("p", "r", "h", "k") if name in options]
        if mixed:
            raise InputError(f"{_GE}: {mixed[0]} cannot go with rate and mean_burst")
        p, r = from_mean_burst(
            probability(_GE, options, "rate"), number(_GE, options, "mean_burst", low=1.0)
        )
        h, k = 0.0, 1.0
    else:
        p, r = probability(_GE, options, "p"), probability(_GE, options, "r")
        h = probability(_GE, options, "h", default=0.0)
        k = probability(_GE, options, "k", default=1.0)
        if p + r == 0.0:
            raise InputError(f"{_GE}: p and r are both 0; at least one must be > 0")
    per = options.get("per", "packet")
    if per not in _FORMS:
        raise InputError(f"{_GE}: per is {per!r}; must be packet or frame")
    return _FORMS[per](p, r, h, k, rng)


_FORMS: Final[dict[str, type[GilbertElliott] | type[GilbertElliottPerFrame]]] = {
    "packet": GilbertElliott,
    "frame": GilbertElliottPerFrame,
}


@LOSS_MODELS.register("conditional")
def _conditional(options: Mapping[str, Any], rng: np.random.Generator) -> LossModel:
    owner = "loss conditional"
    reject_unknown(owner, options, ("pattern",))
    pattern = options.get("pattern")
    if not isinstance(pattern, Sequence) or isinstance(pattern, str) or not pattern:
        raise InputError(f"{owner}: pattern must be a non-empty list of probabilities")
    named = {f"pattern entry {i + 1}": value for i, value in enumerate(pattern)}
    return Conditional(tuple(probability(owner, named, name) for name in named), rng)
