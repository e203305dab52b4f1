"""`h264-twice`: H.264 over RTP of which every media packet leaves twice, back to back.

A packet is lost only with all its copies. They count within the rate: the encoder gets half.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from testbed.errors import InputError
from testbed.protocol.endpoint import Datagram, Endpoint
from testbed.protocol.payload import PAYLOADS
from testbed.transports.base import SenderContext
from testbed.transports.h26x.options import H26xOptions
from testbed.transports.h26x.sender import H26xSender
from testbed.transports.h26x.transport import H26xTransport


@dataclass(frozen=True)
class TwiceOptions(H26xOptions):
    """Those of `h264`, and one more.

    Attributes:
        copies: how often each media packet leaves, 1-4.
    """

    copies: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.copies, int) or not 1 <= self.copies <= 4:
            raise ValueError(f"copies: must be in 1..4 (got {self.copies!r})")


class Share:
    """A rate control that leaves a share of its target; all else is the rate control's own."""

    def __init__(self, controller: Any, share: float) -> None:
        self._controller, self._share = controller, share

    def __getattr__(self, name: str) -> Any:
        return getattr(self._controller, name)

    def target_kbps(self, *, now_ns: int) -> float:
        """What the encoder and the pacer may have."""
        return self._share * self._controller.target_kbps(now_ns=now_ns)


class TwiceSender(H26xSender):
    """The H.26x sender with copies of what its pacer lets go."""

    def datagrams_to_send(self, *, now_ns: int) -> list[Datagram]:
        """What leaves now, each media packet as often as the options say."""
        out = []
        for sent in super().datagrams_to_send(now_ns=now_ns):
            out.append(sent)
            if sent.kind == "media":
                # Told as redundancy: the log counts each picture byte once.
                copy = dataclasses.replace(sent, kind="fec", token=-1, retransmission_of=sent.token)
                out += [copy] * (self._options.copies - 1)
        return out


class TwiceTransport(H26xTransport):
    """H.264's encoder, decoder and receiver, with a sender of its own."""

    display_name = "H.264 twice"
    summary = "h264 of which every media packet leaves twice"
    options_type = TwiceOptions
    look: ClassVar[dict[str, Any]] = {
        "display_name": display_name, "colour": "#117733", "marker": "8", "line": [6, 2, 2, 2],
    }  # fmt: skip

    def make_sender(self, context: SenderContext) -> Endpoint:
        """A sender; the contract's other calls are H.264's own."""
        if context.controller.tracks_packets:
            raise InputError("h264-twice: its copies would mislead this rate control; use fixed")
        half = Share(context.controller, 1 / context.options.copies)
        return TwiceSender(dataclasses.replace(context, controller=half), PAYLOADS.get("h264"))


TRANSPORT = TwiceTransport("h264-twice", "h264", most_slices=32)
