"""Loss without memory, and loss that replays what was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from testbed.errors import InputError
from testbed.network.loss.base import BLOCK, LOSS_MODELS, IndexedBy, LossModel, PacketMask
from testbed.network.options import probability, reject_unknown
from testbed.network.packet import Packet


class NoLoss:
    """Loses nothing."""

    indexed_by: IndexedBy = "packet"

    def lost(self, packet: Packet, now_ns: int) -> bool:  # noqa: ARG002
        """See `LossModel`."""
        return False


class Bernoulli(PacketMask):
    """Each packet is lost on its own with probability `rate` (mm-loss, F21, but seeded)."""

    def __init__(self, rate: float, rng: np.random.Generator) -> None:
        super().__init__()
        self.rate = rate
        self._rng = rng

    def draw_block(self) -> bytes:
        """See `PacketMask`."""
        return (self._rng.random(BLOCK) < self.rate).tobytes()


class ReplayedMask:
    """A recorded 0/1 sequence, one entry a packet number, repeating.

    Args:
        bits: shape (n,), n >= 1; 1 is lost.
    """

    indexed_by: IndexedBy = "packet"

    def __init__(self, bits: bytes) -> None:
        self._bits = bits

    def lost(self, packet: Packet, now_ns: int) -> bool:  # noqa: ARG002
        """See `LossModel`."""
        return self._bits[packet.number % len(self._bits)] == 1


_DIGITS: Final = {"0": 0, "1": 1}


def parse_mask(text: str, source: str) -> tuple[int, ...]:
    """The 0/1 digits of `text`; white space and commas between them are ignored.

    Raises:
        InputError: another character, or nothing at all; names `source` and the line.
    """
    bits: list[int] = []
    for line, content in enumerate(text.splitlines(), start=1):
        for character in content:
            if character in _DIGITS:
                bits.append(_DIGITS[character])
            elif not character.isspace() and character != ",":
                raise InputError(f"{source}, line {line}: {character!r}; must be 0 or 1")
    if not bits:
        raise InputError(f"{source}: is empty; must hold at least one 0 or 1")
    return tuple(bits)


def read_mask(path: Path) -> tuple[int, ...]:
    """The mask in a text file; see `parse_mask`.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        return parse_mask(path.read_text(encoding="ascii"), f"loss mask {path}")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not a text file"
        raise InputError(f"loss mask {path}: {reason}") from None


@LOSS_MODELS.register("none")
def _none(options: Mapping[str, Any], rng: np.random.Generator) -> LossModel:  # noqa: ARG001
    reject_unknown("loss none", options, ())
    return NoLoss()


@LOSS_MODELS.register("bernoulli")
def _bernoulli(options: Mapping[str, Any], rng: np.random.Generator) -> LossModel:
    reject_unknown("loss bernoulli", options, ("rate",))
    return Bernoulli(probability("loss bernoulli", options, "rate"), rng)


@LOSS_MODELS.register("mask")
def _mask(options: Mapping[str, Any], rng: np.random.Generator) -> LossModel:  # noqa: ARG001
    reject_unknown("loss mask", options, ("bits", "file"))
    if ("bits" in options) == ("file" in options):
        raise InputError("loss mask: needs either bits or file")
    if "file" in options:
        return ReplayedMask(bytes(read_mask(Path(str(options["file"])))))
    bits = options["bits"]
    if isinstance(bits, str):
        return ReplayedMask(bytes(parse_mask(bits, "loss mask: bits")))
    if not isinstance(bits, Sequence) or not bits or any(bit not in (0, 1) for bit in bits):
        raise InputError("loss mask: bits must be a non-empty list of 0 and 1")
    return ReplayedMask(bytes(int(bit) for bit in bits))
