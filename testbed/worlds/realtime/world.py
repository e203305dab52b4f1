"""The relay world: one session of a scenario over real sockets, and its tables."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from testbed.capture.tap import Tap
from testbed.errors import InputError, TestbedError
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.children import END_S, START_S, Children
from testbed.worlds.realtime.clock import monotonic_ns, wall_minus_monotonic_ns
from testbed.worlds.realtime.lateness import Lateness
from testbed.worlds.realtime.merge import Merger
from testbed.worlds.realtime.peers import receiver_main, relay_main, sender_main
from testbed.worlds.realtime.records import NetworkLog, PeerLog
from testbed.worlds.realtime.udp import udp_socket
from testbed.worlds.session import NoRows, SessionResult, SessionSpec, TableSink
from testbed.worlds.simulator import run_session

#: From the order to start until the start.
LEAD_NS: Final = 300_000_000
#: The bound on lateness beyond which a run says more about the machine than about the scheme: the
#: 99th percentile of what the relay and the sender let go too late.
BUSY_P99_MS: Final = 2.0
BUSY_VARIABLE: Final = "TESTBED_BUSY_P99_MS"


#: Is told what happens in a session while it happens: (process, (kind, ...)). The "world" tells
#: ("start", CLOCK_MONOTONIC in ns); the rest comes from `driver` and `relay`.
Watcher = Callable[[str, tuple[Any, ...]], None]


class MachineBusyError(TestbedError):
    """The machine could not keep time; the run's numbers would be the machine's."""


def run_relay_session(
    spec: SessionSpec, sink: TableSink, *, base: Path, tap: Tap | None = None,
    watcher: Watcher | None = None,
) -> SessionResult:  # fmt: skip
    """Run one session in real time through the relay.

    Args:
        spec: everything that determines it.
        sink: where its table rows go.
        base: folder that relative clip paths start from.
        tap: is told of the session's datagrams, see `testbed.worlds.session`.
        watcher: is told what happens while it happens.

    Raises:
        InputError: the clip, an option or a name cannot be used, or the world cannot do this.
        MachineBusyError: the machine was too busy for the numbers to mean anything.
        ToolFailedError: a process of the session died.
    """
    check(spec, "relay")
    busy_ms = busy_bound_ms()
    make = EndFactory(spec, base=base)
    warm_up(spec, base=base)
    with Children() as children, relay_sockets() as sockets:
        shared = {"spec": spec, "base": base, "watched": watcher is not None}
        children.start("relay", relay_main, **shared)
        children.start("receiver", receiver_main, keep_data=tap is not None, **shared)
        children.start("sender", sender_main, keep_data=tap is not None, **shared)
        children.expect("ready", timeout_s=START_S)
        epoch_ns = monotonic_ns() + LEAD_NS
        if watcher is not None:
            watcher("world", ("start", epoch_ns))
        at = {name: made.getsockname() for name, made in sockets.items()}
        children.launch(
            "relay", epoch_ns, [(sockets["near"], at["sender"]), (sockets["far"], at["receiver"])]
        )
        children.launch("receiver", epoch_ns, [(sockets["receiver"], at["far"])])
        children.launch("sender", epoch_ns, [(sockets["sender"], at["near"])])
        logs = children.expect("done", timeout_s=make.end_ns / 1e9 + END_S, on_news=watcher)
    return conclude(
        make,
        sink,
        logs["sender"],
        logs["receiver"],
        logs["relay"],
        busy_ms=busy_ms,
        tap=tap,
        epoch_ns=epoch_ns,
    )


@contextlib.contextmanager
def relay_sockets() -> Iterator[dict[str, socket.socket]]:
    """Sockets of the sender, of the relay's two sides, and of the receiver."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(udp_socket())
            for name in ("sender", "near", "far", "receiver")
        }


def check(spec: SessionSpec, world: str) -> None:
    """Refuse what cannot run in real time.

    Raises:
        InputError: says what.
    """
    if spec.competing:
        raise InputError(f"--world {world}: competing flows run in the simulator only")


def busy_bound_ms() -> float:
    """The bound on lateness, from the environment or the default.

    Raises:
        InputError: the environment's is no positive number.
    """
    text = os.environ.get(BUSY_VARIABLE, "")
    if not text:
        return BUSY_P99_MS
    try:
        bound = float(text)
    except ValueError:
        bound = 0.0
    if not 0 < bound < float("inf"):
        raise InputError(f"{BUSY_VARIABLE} is {text!r}; must be a positive number of milliseconds")
    return bound


def warm_up(spec: SessionSpec, *, base: Path) -> None:
    """Run the session in virtual time first, so that its encodes are in the cache.

    At a fixed rate the stream does not depend on the network, and no encoder has to work while the
    clock runs. Where it does depend, the encoders' libraries and files are warm at least.
    """
    run_session(spec, NoRows(), base=base)


def conclude(
    make: EndFactory, sink: TableSink, sender: PeerLog, receiver: PeerLog, network: NetworkLog,
    *, busy_ms: float, tap: Tap | None, epoch_ns: int,
) -> SessionResult:  # fmt: skip
    """Write the tables and say how punctual everybody was.

    Args:
        make: the session's ends.
        sink: where the rows go.
        sender: the sender's memory.
        receiver: the receiver's.
        network: what lay between them.
        busy_ms: the bound on lateness.
        tap: is told of the datagrams.
        epoch_ns: CLOCK_MONOTONIC at the start of the session.

    Raises:
        MachineBusyError: not punctual enough, or datagrams vanished on this machine.
    """
    merger = Merger(make, sender, receiver, network)
    _refuse_busy(sender, receiver, network, merger.unexplained, busy_ms)
    merger.write(sink)
    if tap is not None:
        merger.tell(tap, start_ns=epoch_ns + wall_minus_monotonic_ns())
    facts: dict[str, Any] = {
        "compute": sender.facts["compute"],
        "clip": make.clip.facts(),
        **{k: v for k, v in network.facts.items() if k.startswith("loss_")},
        "realtime": {
            "bound_p99_ms": busy_ms,
            "sender_late": sender.late.facts(),
            "receiver_late": receiver.late.facts(),
            "captures_late": sender.captures_late.facts(),
            "encoding": sender.encoding.facts(),
            "network_late": network.late.facts(),
            "host_delay_down": _distribution(merger.down.host_delay_ns()),
            "host_delay_up": _distribution(merger.up.host_delay_ns()),
            "strangers": {"sender": sender.strangers, "receiver": receiver.strangers},
            "scheduling": {
                "sender": sender.facts["scheduling"],
                "receiver": receiver.facts["scheduling"],
            },
            "network": {k: v for k, v in network.facts.items() if not k.startswith("loss_")},
        },
    }
    for name, log in (("sender", sender), ("receiver", receiver)):
        if log.facts["endpoint"]:
            facts[name] = log.facts["endpoint"]
    return make.result(receiver.received, merger.frames, facts)


def _distribution(values_ns: list[int]) -> dict[str, Any]:
    late = Lateness()
    for value in values_ns:
        late.add(value)
    return late.facts()


def _refuse_busy(
    sender: PeerLog, receiver: PeerLog, network: NetworkLog, unexplained: dict[str, int],
    busy_ms: float,
) -> None:  # fmt: skip
    for what, late in (
        ("the sender's datagrams left", sender.late),
        ("the relay's datagrams left", network.late),
    ):
        p99_ms = late.percentile_ns(99.0) / 1e6
        if p99_ms > busy_ms:
            busy = sender.encoding.percentile_ns(99.0) / 1e6
            encodes = late is sender.late and busy > 1
            why = f"; a frame kept its encoder busy for {busy:.0f} ms likewise" if encodes else ""
            raise MachineBusyError(
                f"machine too busy: {what} {p99_ms:.1f} ms late at the 99th percentile, the bound "
                f"is {busy_ms:g} ms ({BUSY_VARIABLE} sets another){why}"
            )
    lost = sum(unexplained.values())
    if lost:
        overflowed = sender.overflowed + receiver.overflowed
        raise MachineBusyError(
            f"machine too busy: {lost} datagrams vanished between our own sockets "
            f"({overflowed} in the kernel's buffers)"
        )
