"""What a receiver had, made again from what arrived at it.

A fresh receiver of the session's transport is fed the datagrams at their times, its own timers in
between, as a world does. Endpoints are functions of what they are given and of time, so it keeps
the frames that the session's receiver kept. (In a world with a clock of its own, timers went off
some microseconds late; a decision that hangs on these can come out otherwise.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

from testbed.errors import BrokenLogError
from testbed.media.types import ReceivedFrame
from testbed.protocol.endpoint import Endpoint
from testbed.transports import Transport
from testbed.transports.base import ReceiverContext


def rebuild(
    arrivals: Iterable[tuple[int, bytes]],
    transport: Transport,
    options: Any,
    *,
    fps: Fraction,
    frame_count: int,
    deadline_ns: int,
    end_ns: int,
    decode_ns: Callable[..., int] = lambda _scale=0: 0,
) -> list[ReceivedFrame]:
    """What the decoder may work with, one entry a source frame.

    Args:
        arrivals: time since the session began in ns, and UDP payload, in order of time.
        transport: the session's.
        options: the transport's parsed options.
        fps: of the source.
        frame_count: frames of the source.
        deadline_ns: playout deadline after capture.
        end_ns: when the session ended.
        decode_ns: how long decoding a frame took, see `ReceiverContext`.

    Raises:
        BrokenLogError: arrivals go back in time, or the transport's receiver keeps no frames.
    """
    receiver = transport.make_receiver(ReceiverContext(fps, decode_ns, deadline_ns, options))
    now_ns = 0
    for at_ns, data in arrivals:
        if at_ns < now_ns:
            raise BrokenLogError(f"capture: a packet at {at_ns} ns follows one at {now_ns} ns")
        if at_ns > end_ns:
            break
        _run_timers(receiver, now_ns, at_ns)
        now_ns = at_ns
        receiver.receive_datagram(data, now_ns=at_ns)
        _settle(receiver, at_ns)
    _run_timers(receiver, now_ns, end_ns)
    kept = getattr(receiver, "received_frames", None)
    if kept is None:
        raise BrokenLogError(f"transport {transport.name}: its receiver keeps no frames")
    frames: list[ReceivedFrame] = kept(frame_count)
    return frames


def _run_timers(receiver: Endpoint, now_ns: int, until_ns: int) -> None:
    """Wake the receiver whenever it wants to be before `until_ns`."""
    while True:
        timer_ns = receiver.next_timer()
        if timer_ns is None or timer_ns >= until_ns:
            return
        # A timer that has passed is due now; time does not go back.
        now_ns = max(now_ns, timer_ns)
        receiver.on_timer(now_ns=now_ns)
        _settle(receiver, now_ns)


def _settle(receiver: Endpoint, now_ns: int) -> None:
    """Take what the receiver would send and tell: nobody needs it, but it must not pile up."""
    receiver.events()
    receiver.datagrams_to_send(now_ns=now_ns)


def recorded_decode_ns(facts: Mapping[str, Any]) -> Callable[..., int]:
    """How long decoding a frame took, from a manifest's `facts["compute"]`.

    Args:
        facts: `decode_ms` is a number, or one for each scale ("2x").

    Raises:
        BrokenLogError: neither.
    """
    told = facts.get("decode_ms")
    if isinstance(told, Mapping):
        try:
            by_scale = {
                int(str(s).removesuffix("x")): round(float(ms) * 1e6) for s, ms in told.items()
            }
        except (TypeError, ValueError):
            raise BrokenLogError("manifest: facts.compute.decode_ms cannot be read") from None
        return lambda scale=0: by_scale.get(scale, 0)
    if not isinstance(told, int | float) or isinstance(told, bool):
        raise BrokenLogError("manifest: facts.compute.decode_ms is missing or no number")
    fixed_ns = round(told * 1e6)
    return lambda _scale=0: fixed_ns
