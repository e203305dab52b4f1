"""What a loss model is, and the stage that applies one or several of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

import numpy as np

from testbed.network.chain import ChainStage
from testbed.network.packet import Packet
from testbed.network.spec import LossSpec
from testbed.registry import Registry

IndexedBy = Literal["packet", "frame", "time"]

#: Packets whose fate is drawn at a time; part of the meaning of a seed, so never change it.
BLOCK: Final = 1024


class LossModel(Protocol):
    """Decides which packets are lost.

    Attributes:
        indexed_by: what the mask depends on besides the generator. "packet": only the packet's
            number, so every transport loses the same positions of its sequence. "frame": the
            packet's number, and the newest frame seen so far. "time": only the time at which the
            packet passes, so every transport suffers the same outages.
    """

    indexed_by: IndexedBy

    def lost(self, packet: Packet, now_ns: int) -> bool:
        """Whether the packet that passes at `now_ns` (never decreasing) is lost."""


LossFactory = Callable[[Mapping[str, Any], np.random.Generator], LossModel]

#: Loss models by name; third parties use the entry-point group `testbed.loss_models`.
LOSS_MODELS: Registry[LossFactory] = Registry("loss model", group="testbed.loss_models")


def make_loss(spec: LossSpec, rng: np.random.Generator) -> LossModel:
    """The model that `spec` describes.

    Raises:
        InputError: unknown kind or option, or an impossible value; names field and allowed values.
    """
    return LOSS_MODELS.get(spec.kind)(spec.options, rng)


class PacketMask:
    """Base of models whose mask is a sequence over packet numbers.

    The mask is drawn in blocks, in order, whatever the packets do; so it depends on nothing but
    the generator, also when packets in between never get here. One byte a packet is kept.
    """

    indexed_by: IndexedBy = "packet"

    def __init__(self) -> None:
        self._mask = bytearray()

    def draw_block(self) -> bytes:
        """Fate of the next `BLOCK` packets, one byte each: 1 is lost."""
        raise NotImplementedError

    def lost(self, packet: Packet, now_ns: int) -> bool:  # noqa: ARG002
        """See `LossModel`."""
        number = packet.number
        while number >= len(self._mask):
            self._mask += self.draw_block()
        return self._mask[number] == 1


class LossStage(ChainStage):
    """Passes packets on at once, or loses them.

    Every model sees every packet; one that any of them loses is lost. A lost packet keeps the
    stamps of the stages before (it may have used capacity) and gets `drop = "loss"`.

    Attributes:
        packets: packets that reached the stage.
        lost: how many of them were lost.
    """

    __slots__ = ("_bursts", "_models", "_passed", "_run", "lost", "packets")

    def __init__(self, models: list[LossModel]) -> None:
        self._models = models
        self._passed: deque[tuple[int, Packet]] = deque()
        self._bursts: Counter[int] = Counter()
        self._run = 0  # length of the burst under way
        self.packets = 0
        self.lost = 0

    def loses(self, packet: Packet, now_ns: int) -> bool:
        """Decide about a packet that passes at `now_ns`; a lost one is stamped."""
        self.packets += 1
        lost = False
        for model in self._models:
            if model.lost(packet, now_ns):
                lost = True
        if lost:
            packet.drop = "loss"
            self.lost += 1
            self._run += 1
        elif self._run:
            self._bursts[self._run] += 1
            self._run = 0
        return lost

    def enqueue(self, packet: Packet, *, now_ns: int) -> None:
        """See `Stage`."""
        if not self.loses(packet, now_ns):
            self._passed.append((now_ns, packet))

    def next_time(self) -> int | None:
        """See `Stage`."""
        return self._passed[0][0] if self._passed else None

    def take(self, now_ns: int) -> list[tuple[int, Packet]]:  # noqa: ARG002
        """See `ChainStage`."""
        passed = list(self._passed)
        self._passed.clear()
        return passed

    def realised(self) -> dict[str, Any]:
        """What happened so far; see `Path.realised_loss`."""
        bursts = self._bursts.copy()
        if self._run:
            bursts[self._run] += 1
        return {
            "packets": self.packets,
            "lost": self.lost,
            "rate": self.lost / self.packets if self.packets else 0.0,
            "bursts": dict(sorted(bursts.items())),
            "indexed_by": [model.indexed_by for model in self._models],
        }
