"""The relay world: one session of a scenario over real sockets, and its tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from testbed.errors import InputError, TestbedError
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.children import END_S, START_S, Children
from testbed.worlds.realtime.clock import monotonic_ns
from testbed.worlds.realtime.lateness import Lateness
from testbed.worlds.realtime.merge import Merger
from testbed.worlds.realtime.peers import receiver_main, relay_main, sender_main
from testbed.worlds.realtime.records import NetworkLog, PeerLog
from testbed.worlds.realtime.udp import udp_socket
from testbed.worlds.session import SessionResult, SessionSpec, TableSink
from testbed.worlds.simulator import run_session

#: From the order to start until the start.
LEAD_NS: Final = 300_000_000
#: The bound on lateness beyond which a run says more about the machine than about the scheme: the
#: 99th percentile of what the relay and the sender let go too late.
BUSY_P99_MS: Final = 2.0
BUSY_VARIABLE: Final = "TESTBED_BUSY_P99_MS"


class MachineBusyError(TestbedError):
    """The machine could not keep time; the run's numbers would be the machine's."""


class NoRows:
    """A sink that keeps nothing."""

    def append(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Nothing."""


def run_relay_session(spec: SessionSpec, sink: TableSink, *, base: Path) -> SessionResult:
    """Run one session in real time through the relay.

    Args:
        spec: everything that determines it.
        sink: where its table rows go.
        base: folder that relative clip paths start from.

    Raises:
        InputError: the clip, an option or a name cannot be used, or the world cannot do this.
        MachineBusyError: the machine was too busy for the numbers to mean anything.
        ToolFailedError: a process of the session died.
    """
    check(spec, "relay")
    busy_ms = busy_bound_ms()
    make = EndFactory(spec, base=base)
    warm_up(spec, base=base)
    sockets = {name: udp_socket() for name in ("sender", "near", "far", "receiver")}
    addresses = {name: made.getsockname() for name, made in sockets.items()}
    with Children() as children:
        shared = {"spec": spec, "base": base}
        children.start(
            "relay", relay_main, near=sockets["near"], sender=addresses["sender"],
            far=sockets["far"], receiver=addresses["receiver"], **shared,
        )  # fmt: skip
        children.start(
            "receiver", receiver_main, made=sockets["receiver"], peer=addresses["far"],
            keep_data=False, **shared,
        )  # fmt: skip
        children.start(
            "sender", sender_main, made=sockets["sender"], peer=addresses["near"],
            keep_data=False, **shared,
        )  # fmt: skip
        for made in sockets.values():
            made.close()
        children.expect("ready", timeout_s=START_S)
        children.tell(("start", monotonic_ns() + LEAD_NS))
        logs = children.expect("done", timeout_s=make.end_ns / 1e9 + END_S)
    return conclude(make, sink, logs["sender"], logs["receiver"], logs["relay"], busy_ms=busy_ms)


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
    *, busy_ms: float,
) -> SessionResult:  # fmt: skip
    """Write the tables and say how punctual everybody was.

    Raises:
        MachineBusyError: not punctual enough, or datagrams vanished on this machine.
    """
    merger = Merger(make, sender, receiver, network)
    _refuse_busy(sender, receiver, network, merger.unexplained, busy_ms)
    merger.write(sink)
    facts: dict[str, Any] = {
        "compute": sender.facts["compute"],
        "clip": make.clip.facts(),
        **{k: v for k, v in network.facts.items() if k.startswith("loss_")},
        "realtime": {
            "bound_p99_ms": busy_ms,
            "sender_late": sender.late.facts(),
            "receiver_late": receiver.late.facts(),
            "captures_late": sender.captures_late.facts(),
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
            raise MachineBusyError(
                f"machine too busy: {what} {p99_ms:.1f} ms late at the 99th percentile, the bound "
                f"is {busy_ms:g} ms ({BUSY_VARIABLE} sets another)"
            )
    lost = sum(unexplained.values())
    if lost:
        overflowed = sender.overflowed + receiver.overflowed
        raise MachineBusyError(
            f"machine too busy: {lost} datagrams vanished between our own sockets "
            f"({overflowed} in the kernel's buffers)"
        )
