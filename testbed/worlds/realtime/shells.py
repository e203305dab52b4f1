"""A session's path as nested mahimahi shells: what they are called with, and what they cannot do.

The sender sits outside all shells and the receiver inside, so media goes down and meets the
outermost shell first, feedback goes up and meets the innermost first (mahimahi F25). mm-loss and
mm-onoff act in one direction each, so loss lies before or behind the queue in either as the
scenario says. mm-delay acts in both: it is placed for the media direction; where the feedback's
order differs, its trace is shifted by the delay, which gives every packet the same times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from testbed.errors import InputError
from testbed.network.path import build_path
from testbed.network.servers import NS_PER_MS
from testbed.network.spec import LossSpec, PathSpec, QueueSpec
from testbed.network.trace import OPPORTUNITY_BYTES, OpportunityTrace
from testbed.randomness import generator
from testbed.worlds.session import SessionSpec

#: Before the session starts the link carries one opportunity a millisecond.
LEAD_PER_MS: Final = 1
#: A direction without a trace is a link of eight opportunities a millisecond (96 Mbit/s).
UNLIMITED_PER_MS: Final = 8
#: How long the traces go on after the session.
_TAIL_MS: Final = 5_000
#: Queues that mm-link knows.
QUEUES: Final = ("infinite", "droptail", "drophead", "codel", "pie")
_ONE_WAY: Final = {"down": "downlink", "up": "uplink"}


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One direction of mm-link.

    Attributes:
        trace: what mm-link replays; the session starts `lead_ms` after its base timestamp.
        queue: of mm-link.
        delay_in_front: mm-delay comes before the queue.
        loss_in_front: some loss comes before the queue.
        loss_behind: some loss comes after it.
    """

    trace: OpportunityTrace
    queue: QueueSpec
    delay_in_front: bool
    loss_in_front: bool
    loss_behind: bool


@dataclass(frozen=True, slots=True)
class ShellPlan:
    """The shells of one session.

    Attributes:
        shells: command lines from the outermost to the innermost; "mm-link" stands for mm-link,
            which gets its files where they lie.
        links: by direction.
        delay_ms: of mm-delay.
        lead_ms: from mm-link's base timestamp to the start of the session.
    """

    shells: tuple[tuple[str, ...], ...]
    links: dict[str, LinkPlan]
    delay_ms: int
    lead_ms: int


def plan_shells(spec: SessionSpec, *, end_ns: int, lead_ms: int) -> ShellPlan:
    """The shells that carry the session.

    Args:
        spec: the session.
        end_ns: when it ends.
        lead_ms: from mm-link's base timestamp to the start of the session.

    Raises:
        InputError: mahimahi cannot do this; names the field.
    """
    check_paths(spec)
    paths = {"down": spec.downlink, "up": spec.uplink}
    delay_ms = int(spec.downlink.delay.delay_ms)
    if delay_ms >= lead_ms:
        # What opens the way through the shells could not arrive before the session starts.
        raise InputError(f"--world mahimahi: delay_ms is {delay_ms}; at most {lead_ms - 1}")
    outermost = _before_queue(spec.downlink, "delay")
    links = {}
    for name, path in paths.items():
        # What the shells do to this direction: outermost is first for media, last for feedback.
        in_front = outermost if name == "down" else not outermost
        shift_ms = delay_ms * (in_front - _before_queue(path, "delay")) if delay_ms else 0
        before = _before_queue(path, "loss")
        links[name] = LinkPlan(
            trace=_unrolled(path, end_ns=end_ns, lead_ms=lead_ms, shift_ms=shift_ms),
            queue=path.queue,
            delay_in_front=bool(delay_ms) and in_front,
            loss_in_front=bool(path.loss) and before,
            loss_behind=bool(path.loss) and not before,
        )
    return ShellPlan(_nested(paths, delay_ms, outermost=outermost), links, delay_ms, lead_ms)


def check_paths(spec: SessionSpec) -> None:
    """Refuse what no shells carry.

    Raises:
        InputError: mahimahi cannot do this; names the field.
    """
    _check("downlink", spec.downlink)
    _check("uplink", spec.uplink)
    down_ms, up_ms = spec.downlink.delay.delay_ms, spec.uplink.delay.delay_ms
    if down_ms != up_ms:
        raise InputError(
            f"--world mahimahi: uplink.delay_ms is {up_ms:g} and downlink.delay_ms {down_ms:g}; "
            "mm-delay delays both directions alike"
        )


def _nested(
    paths: dict[str, PathSpec], delay_ms: int, *, outermost: bool
) -> tuple[tuple[str, ...], ...]:
    outside: list[tuple[str, ...]] = []
    inside: list[tuple[str, ...]] = []
    delay = [("mm-delay", str(delay_ms))] if delay_ms else []
    for name, path in paths.items():
        # Media meets the outside first, feedback the inside.
        first, last = (outside, inside) if name == "down" else (inside, outside)
        target = first if _before_queue(path, "loss") else last
        target += [_loss_shell(_ONE_WAY[name], loss) for loss in path.loss]
    shells = [*outside, ("mm-link",), *inside]
    return tuple([*delay, *shells] if outermost else [*shells, *delay])


def _before_queue(path: PathSpec, stage: str) -> bool:
    return path.order.index(stage) < path.order.index("queue")


def _check(field: str, path: PathSpec) -> None:
    """Refuse what no shell of mahimahi 0.98 does."""
    where = f"--world mahimahi: {field}"
    if path.trace is not None and (
        path.mode == "rate" or not isinstance(path.trace, OpportunityTrace)
    ):
        raise InputError(
            f"{where}.mode is a continuous rate; mm-link replays delivery opportunities "
            "(mode: opportunities)"
        )
    if path.queue.kind not in QUEUES:
        raise InputError(f"{where}.queue is {path.queue.kind}; mm-link has {', '.join(QUEUES)}")
    delay = path.delay
    if delay.jitter_ms or delay.trace_ms:
        raise InputError(f"{where} has jitter or a delay trace; mm-delay has neither")
    if delay.delay_ms != int(delay.delay_ms):
        raise InputError(f"{where}.delay_ms is {delay.delay_ms:g}; mm-delay takes whole ms")
    for loss in path.loss:
        if loss.kind not in _LOSS_SHELLS:
            raise InputError(
                f"{where}.loss is {loss.kind}; mahimahi has {', '.join(_LOSS_SHELLS)} "
                "(the relay has them all)"
            )


#: Loss models that a shell of 0.98 stands for: mm-loss and mm-onoff.
_LOSS_SHELLS: Final = ("bernoulli", "outage")


def _loss_shell(way: str, loss: LossSpec) -> tuple[str, ...]:
    options = loss.options
    if loss.kind == "bernoulli":
        return ("mm-loss", way, f"{options['rate']:.9f}")
    return ("mm-onoff", way, f"{options['mean_up_s']:g}", f"{options['mean_down_s']:g}")


def _unrolled(path: PathSpec, *, end_ns: int, lead_ms: int, shift_ms: int) -> OpportunityTrace:
    """The trace from the session's phase on, behind a lead, without coming to its period.

    mm-link always starts a trace at its beginning; like this the phase is the scenario's.
    """
    last_ms = -(-end_ns // NS_PER_MS) + _TAIL_MS
    lead = np.repeat(np.arange(1, lead_ms + 1), LEAD_PER_MS)
    if path.trace is None:
        session = np.repeat(np.arange(1, last_ms + 1), UNLIMITED_PER_MS)
    else:
        model = build_path(
            PathSpec(
                trace=path.trace, mode="opportunities", phase_ms=path.phase_ms, once=path.once
            ),
            rng=lambda name: generator(0, name),
        )
        counts = [
            model.capacity_bytes((ms - 1) * NS_PER_MS, ms * NS_PER_MS) // OPPORTUNITY_BYTES
            for ms in range(1, last_ms + 1)
        ]
        session = np.repeat(np.arange(1, last_ms + 1), counts)
    session = session + lead_ms + shift_ms
    lead = lead[lead <= lead_ms + min(shift_ms, 0)]
    # The last line is the period: it lies behind everything that the session can reach.
    period = np.array([lead_ms + shift_ms + last_ms + 1])
    return OpportunityTrace(np.concatenate([lead, session, period]).astype(np.int64))
