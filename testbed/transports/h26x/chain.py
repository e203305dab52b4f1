"""Which frames can be decoded: the receiver's reference chain.

Low-delay H.26x as we encode it has no B-frames, and every frame refers to the one before it (or
further back). So a frame can be decoded when it is whole and the frame before it could be, or
when it is a whole key frame. The chain is in one of three states:

- FLOWING: the next frame follows the last decoded one; it may still be on its way or be waiting
  for a retransmission.
- BROKEN: the next frame will never be whole. Only a key frame goes on from here (or the missing
  packets after all, should they turn up late).
- BROKEN_ASKED: the same, and a key frame has been requested.

Events: DECODE (the next frame is whole), HOLE (a packet of the next frame was given up), ASK (the
request goes out), KEY (a whole later key frame was taken up).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from testbed.protocol.transitions import moved


class ChainState(Enum):
    """Where the reference chain stands."""

    FLOWING = "flowing"
    BROKEN = "broken"
    BROKEN_ASKED = "broken-asked"


class ChainEvent(Enum):
    """What moves it."""

    DECODE = "decode"
    HOLE = "hole"
    ASK = "ask"
    KEY = "key"


_S, _E = ChainState, ChainEvent
TRANSITIONS: Final[dict[tuple[ChainState, ChainEvent], ChainState]] = {
    (_S.FLOWING, _E.DECODE): _S.FLOWING,
    (_S.FLOWING, _E.HOLE): _S.BROKEN,
    (_S.FLOWING, _E.KEY): _S.FLOWING,
    (_S.BROKEN, _E.DECODE): _S.FLOWING,
    (_S.BROKEN, _E.ASK): _S.BROKEN_ASKED,
    (_S.BROKEN, _E.KEY): _S.FLOWING,
    (_S.BROKEN_ASKED, _E.DECODE): _S.FLOWING,
    (_S.BROKEN_ASKED, _E.ASK): _S.BROKEN_ASKED,
    (_S.BROKEN_ASKED, _E.KEY): _S.FLOWING,
}


class ReferenceChain:
    """Frame numbers through the table above.

    Attributes:
        state: where it stands.
        next_index: the frame that would follow the last decoded one.
    """

    def __init__(self) -> None:
        self.state = ChainState.FLOWING
        self.next_index = 0

    def apply(self, event: ChainEvent) -> None:
        """Move along the table.

        Raises:
            LocalProtocolError: the table has no such transition; the state stays.
        """
        self.state = moved(TRANSITIONS, self.state, event, of="reference chain")

    @property
    def broken(self) -> bool:
        """Nothing but a key frame (or a late repair) helps."""
        return self.state is not ChainState.FLOWING
