"""What to do about a GoP of which something is missing (paper, section 6.2, "Hybrid Loss Design").

Tokens: what came is decoded at once; only when more than a threshold of them is missing, "typically
50 %", and an answer can still arrive in time, the receiver asks again. Residuals are never asked
for: where one is missing, the pictures are not enhanced.

The paper says nothing of how often to ask; here it is once a GoP. After asking, the receiver waits
for all that it asked for, as the answers come one behind the other, until they are overdue or the
GoP has to be decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from morphe_core.errors import CodecConfigError


class Action(Enum):
    """What the receiver does now."""

    DECODE = "decode"
    ASK = "ask"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class LossPolicy:
    """The parameters.

    Attributes:
        threshold: ask when more than this share of the token packets is missing, 0..1; 1 = never.
        retransmission: ask at all.

    Raises:
        CodecConfigError: a share outside 0..1.
    """

    threshold: float = 0.5
    retransmission: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise CodecConfigError(f"threshold {self.threshold}: must be within 0 and 1")


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a GoP whose missing packets will not come by themselves.

    Attributes:
        tokens: packets with tokens that the GoP has (or is supposed to have), >= 1.
        missing: sequence numbers of those missing, I tokens first.
        round_trip_ns: from a request to its answer, >= 0.
        left_ns: until the GoP has to be decoded; may be negative.
        asked: a request went out before.
        overdue_in_ns: until its answers are overdue; only looked at when `asked`.
    """

    tokens: int
    missing: Sequence[int]
    round_trip_ns: int
    left_ns: int
    asked: bool = False
    overdue_in_ns: int = 0

    @property
    def missing_share(self) -> float:
        """Share of the token packets that is missing, 0..1."""
        return len(self.missing) / self.tokens


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do.

    Attributes:
        action: decode what is there, ask, or wait.
        ask: sequence numbers to ask for, in this order; empty unless `action` is ASK.
    """

    action: Action
    ask: tuple[int, ...] = ()


DECODE = Decision(Action.DECODE)
WAIT = Decision(Action.WAIT)


def decide(situation: Situation, policy: LossPolicy) -> Decision:
    """What to do about a GoP; a pure function of what is known."""
    if not situation.missing:
        return DECODE
    if situation.asked:
        more = situation.overdue_in_ns > 0 and situation.left_ns > 0
        return WAIT if more else DECODE
    if not policy.retransmission or situation.missing_share <= policy.threshold:
        return DECODE
    if situation.round_trip_ns > situation.left_ns:
        return DECODE
    return Decision(Action.ASK, tuple(situation.missing))
