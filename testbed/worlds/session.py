"""One session as data: what goes into a world and what comes out of it.

A world is a function `(spec, sink, *, base)` that returns a `SessionResult`. One that can leave a
capture of its packets takes a keyword `tap` as well, a `testbed.capture.tap.Tap` or None, and with
a tap it does three things:

1. with a real clock, it calls `tap.starts_at` with the wall-clock time of session time 0 before
   the first datagram (virtual time has an epoch of its own, and needs no call);
2. it calls `tap.sent("down" or "up", data, now_ns=...)` for every datagram that an endpoint of the
   session lets go, whatever becomes of it;
3. it calls `tap.arrived(...)` with the same direction and bytes for every one that it hands to the
   other endpoint.

Calls of one interface ("sender": down sent and up arrived; "receiver": up sent and down arrived)
come in order of time; the two interfaces may be told one after the other. Competing flows' packets
are not told. The tap is opened and closed by whoever calls the world, and must change no table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from testbed.media.spec import ClipSpec
from testbed.media.types import ReceivedFrame
from testbed.network.spec import PathSpec


@dataclass(frozen=True, slots=True)
class CompetingSpec:
    """Flows that share both directions of the path with the session.

    Attributes:
        kind: "media" (the session's own transport and clip) or "tcp" (bulk data under CUBIC).
        count: flows of this sort, >= 1.
        start_s: when the first of them starts, >= 0.
        every_s: time between the start of one and that of the next.
        stop_s: when they end; None: with the session.
        extra_delay_ms: one-way delay that only they have, in both directions, before the path.
        reverse: their data goes where the session's feedback goes.
        transfer_kbytes: of tcp flows; after a transfer of so much the flow rests, and then begins
            anew. None: one without end.
        idle_s: mean of the exponentially distributed rest.
        rate_control: of media flows; "": the session's.
        rate_options: its keywords.
    """

    kind: str
    count: int = 1
    start_s: float = 0.0
    every_s: float = 0.0
    stop_s: float | None = None
    extra_delay_ms: float = 0.0
    reverse: bool = False
    transfer_kbytes: float | None = None
    idle_s: float = 0.0
    rate_control: str = ""
    rate_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """Everything that determines a session.

    Attributes:
        transport: registered name ("h264", "h265", "h266", "morphe").
        clip: what is streamed.
        downlink: the media direction.
        uplink: the feedback direction.
        rate_control: registered controller name ("fixed", "oracle").
        rate_options: its keywords ("kbps" for fixed).
        transport_options: keywords of the transport (intra period, retransmission, ...).
        compute: compute model ("measured", "rtx3090", "a100", "jetson-orin", "zero").
        playout_deadline_ms: a frame is late when not decoded this long after capture.
        seed: >= 0.
        keep_received: keep every frame's bytes in the result, for pixels (costs memory).
        competing: what else is on the path.
    """

    transport: str
    clip: ClipSpec
    downlink: PathSpec
    uplink: PathSpec
    rate_control: str = "fixed"
    rate_options: Mapping[str, Any] = field(default_factory=dict)
    transport_options: Mapping[str, Any] = field(default_factory=dict)
    compute: str = "zero"
    playout_deadline_ms: float = 400.0
    seed: int = 1
    keep_received: bool = True
    competing: tuple[CompetingSpec, ...] = ()


class TableSink(Protocol):
    """Where a world puts its rows; each row is a tuple in the order of `testbed.tables`."""

    def append(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Add rows to the table called `table` (a key of `testbed.tables.TABLES`)."""


class NoRows:
    """A sink that keeps nothing."""

    def append(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Nothing."""


@dataclass(slots=True)
class SessionResult:
    """What a world leaves besides the tables.

    Attributes:
        received: one entry a source frame, in order; what the decoder may work with.
        displayed: for each source frame slot, the index of the frame on the screen when the slot
            ended, or -1 before the first picture (the viewer sees black).
        codec: decoder to use on `received`, see `testbed.media.decoding`.
        conceal: the session asked the decoder to conceal what is missing.
        decoder_options: keywords of that decoder.
        facts: realised loss, phases and the like, for the manifest (JSON values).
    """

    received: list[ReceivedFrame]
    displayed: list[int]
    codec: str
    conceal: bool = False
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def takes_tap(world: Callable[..., SessionResult]) -> bool:
    """Whether a world can leave a capture: it takes a keyword `tap`."""
    kinds = {parameter.kind for parameter in inspect.signature(world).parameters.values()}
    named = "tap" in inspect.signature(world).parameters
    return named or inspect.Parameter.VAR_KEYWORD in kinds
