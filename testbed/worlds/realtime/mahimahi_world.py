"""The mahimahi world: one session of a scenario through real mm-delay, mm-link, mm-loss, mm-onoff.

The endpoints' processes are those of the relay world; only where their sockets come from differs.
What happened on the link is read from mm-link's own logs, and held against our link model.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from testbed.capture.tap import Tap
from testbed.errors import ToolFailedError
from testbed.network.mmlog import LinkLog, parse_log, replay
from testbed.network.servers import NS_PER_MS
from testbed.randomness import generator
from testbed.worlds.ends import EndFactory
from testbed.worlds.fidelity import STATISTICAL_QUEUES
from testbed.worlds.mahimahi import (
    SEARCH_PATH,
    UNPRIVILEGED_ID,
    queue_arguments,
    write_traces,
)
from testbed.worlds.mahimahi_conditions import require_shells
from testbed.worlds.mahimahi_tools import last_words
from testbed.worlds.realtime.children import END_S, START_S, Children
from testbed.worlds.realtime.clock import monotonic_ns, wall_minus_monotonic_ns
from testbed.worlds.realtime.peers import receiver_main, sender_main
from testbed.worlds.realtime.plain_shells import plain_shells
from testbed.worlds.realtime.records import NetworkLog, PeerLog
from testbed.worlds.realtime.shell_log import (
    HOUSEKEEPING_BYTES,
    link_rows,
    passages,
    read_direction,
)
from testbed.worlds.realtime.shells import LinkPlan, ShellPlan, plan_shells
from testbed.worlds.realtime.udp import Address
from testbed.worlds.realtime.world import Watcher, busy_bound_ms, check, conclude, warm_up
from testbed.worlds.session import SessionResult, SessionSpec, TableSink

#: From mm-link's base timestamp to the start of the session: shells and sockets come up meanwhile.
LEAD_MS: Final = 3_000
#: The endpoints get at least this long to get ready once they have their sockets.
_LEAST_NOTICE_NS: Final = 100_000_000
#: How long shells may take to come up, and to end.
_UP_S: Final = 30.0
_DOWN_S: Final = 20.0


@dataclass(slots=True)
class Shells:
    """Running shells.

    Attributes:
        outer, inner: sockets outside and inside.
        outer_peer, inner_peer: whom each of them talks to.
        epoch_ns: CLOCK_MONOTONIC at the start of the session.
        epoch_ms: the same on mm-link's clock.
        up_shift_ms: how much later than the media direction's the feedback's trace began.
        lifeline: has something to read once the shells are gone.
        failure: says why they are.
        housekeeping: the kernel's IPv6 packets go through mm-link as well.
    """

    outer: socket.socket
    inner: socket.socket
    outer_peer: Address
    inner_peer: Address
    epoch_ns: int
    epoch_ms: int
    up_shift_ms: int
    lifeline: socket.socket | int
    failure: Callable[[], ToolFailedError]
    housekeeping: bool = False


def run_mahimahi_session(
    spec: SessionSpec, sink: TableSink, *, base: Path, tap: Tap | None = None,
    watcher: Watcher | None = None,
) -> SessionResult:  # fmt: skip
    """Run one session in real time through mahimahi's shells.

    Args:
        spec: everything that determines it.
        sink: where its table rows go.
        base: folder that relative clip paths start from.
        tap: is told of the session's datagrams, see `testbed.worlds.session`.
        watcher: is told what happens while it happens.

    Raises:
        InputError: the clip, an option or a name cannot be used, or mahimahi cannot do this.
        MachineBusyError: the machine was too busy for the numbers to mean anything.
        ToolMissingError: mahimahi cannot run here.
        ToolFailedError: a process of the session died.
    """
    check(spec, "mahimahi")
    busy_ms = busy_bound_ms()
    make = EndFactory(spec, base=base)
    plan = plan_shells(spec, end_ns=make.end_ns, lead_ms=LEAD_MS)
    require_shells(nested=len(plan.shells) > 1)
    warm_up(spec, base=base)
    with Children() as children:
        shared = {
            "spec": spec, "base": base, "keep_data": tap is not None,
            "watched": watcher is not None,
        }  # fmt: skip
        children.start("receiver", receiver_main, **shared)
        children.start("sender", sender_main, **shared)
        children.expect("ready", timeout_s=START_S)
        with tempfile.TemporaryDirectory(prefix="testbed-mm-") as name:
            with running_shells(plan, Path(name)) as shells:
                if watcher is not None:
                    watcher("world", ("start", shells.epoch_ns))
                children.launch("receiver", shells.epoch_ns, [(shells.inner, shells.inner_peer)])
                children.launch("sender", shells.epoch_ns, [(shells.outer, shells.outer_peer)])
                limit_s = make.end_ns / 1e9 + END_S
                line = (shells.lifeline, shells.failure)
                logs = children.expect("done", timeout_s=limit_s, on_news=watcher, lifeline=line)
            sender, receiver = logs["sender"], logs["receiver"]
            network = read_network(Path(name), plan, shells, make, sender, receiver)
    return conclude(
        make,
        sink,
        sender,
        receiver,
        network,
        busy_ms=busy_ms,
        tap=tap,
        epoch_ns=shells.epoch_ns,
    )


@contextlib.contextmanager
def running_shells(plan: ShellPlan, work: Path) -> Iterator[Shells]:
    """Start the shells; end them well, or at once where that fails.

    Root has them in namespaces of their own, an ordinary user on the machine itself.

    Raises:
        ToolMissingError: an ordinary user's machine cannot have shells inside shells.
        ToolFailedError: they did not come up, or did not end; carries the last line of stderr.
    """
    write_traces(work, "session", uplink=plan.links["up"].trace, downlink=plan.links["down"].trace)
    if os.geteuid() == 0:
        with _in_namespaces(plan, work) as shells, shells.outer, shells.inner:
            yield shells
        return
    running = plain_shells(plan, work, priority=_may_have_priority())
    with running as plain, plain.outer, plain.inner:
        yield _shells(
            plain.outer, plain.inner, plain.answer, plan, lifeline=plain.lifeline,
            failure=plain.failure, housekeeping=True,
        )  # fmt: skip


@contextlib.contextmanager
def _in_namespaces(plan: ShellPlan, work: Path) -> Iterator[Shells]:
    config = {
        "shells": [list(shell) for shell in plan.shells],
        "queues": {
            "uplink": queue_arguments(plan.links["up"].queue),
            "downlink": queue_arguments(plan.links["down"].queue),
        },
        "user": UNPRIVILEGED_ID,
        "priority": _may_have_priority(),
    }
    (work / "config.json").write_text(json.dumps(config))
    os.chown(work, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    ours, theirs = socket.socketpair()
    errors = (work / "stderr").open("w+")
    process = subprocess.Popen(
        [
            *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),
            *("--mount-proc", sys.executable, "-m"),
            *("testbed.worlds.realtime.shells_inside", str(work)),
        ],
        stdin=theirs.fileno(),
        # Not in our process group: when that is killed, it still gets to tidy up.
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env={**os.environ, "PATH": f"{SEARCH_PATH}:{os.environ.get('PATH', '')}"},
    )
    theirs.close()
    try:
        with ours, errors:
            yield _sockets(ours, process, plan, work)
            with contextlib.suppress(ConnectionError):  # died just now; its status says so
                ours.sendall(b"end")
            try:
                status = process.wait(timeout=_DOWN_S)
            except subprocess.TimeoutExpired:
                raise _failed(process, work, "the shells did not end") from None
            if status != 0:
                raise _failed(process, work)
    finally:
        process.kill()  # with --kill-child this ends everything inside
        process.wait()


def _sockets(
    ours: socket.socket, process: subprocess.Popen[bytes], plan: ShellPlan, work: Path
) -> Shells:
    ours.settimeout(_UP_S)
    try:
        data, handles, _, _ = socket.recv_fds(ours, 4096, 2)
    except TimeoutError:
        raise _failed(process, work, "the shells did not come up") from None
    if len(handles) != 2:
        raise _failed(process, work)
    outer, inner = (socket.socket(fileno=handle) for handle in handles)
    return _shells(
        outer, inner, json.loads(data), plan, lifeline=ours,
        failure=partial(_failed, process, work),
    )  # fmt: skip


def _shells(
    outer: socket.socket, inner: socket.socket, answer: dict[str, Any], plan: ShellPlan, *,
    lifeline: socket.socket | int, failure: Callable[[], ToolFailedError],
    housekeeping: bool = False,
) -> Shells:  # fmt: skip
    """The session's start and the sockets' peers, from what `way_through` says."""
    init_ms, base_ms = answer["down"]
    epoch_ms = base_ms + plan.lead_ms
    epoch_ns = (init_ms + epoch_ms) * NS_PER_MS - wall_minus_monotonic_ns()
    if epoch_ns - monotonic_ns() < _LEAST_NOTICE_NS:
        outer.close()
        inner.close()
        raise ToolFailedError(f"mahimahi: the shells took longer than {plan.lead_ms} ms to come up")
    return Shells(
        outer, inner, tuple(answer["peer"]), tuple(answer["outer"]), epoch_ns, epoch_ms,
        answer["up"][1] - base_ms, lifeline, failure, housekeeping,
    )  # fmt: skip


def _failed(process: subprocess.Popen[bytes], work: Path, reason: str = "") -> ToolFailedError:
    """One line: our reason if there is one, and what the shells said."""
    if not reason:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_DOWN_S)
    text = (work / "stderr").read_text(errors="replace")
    said = last_words(text, process.poll()) if text.strip() or not reason else ""
    return ToolFailedError(f"mahimahi: {'; '.join(filter(None, [reason, said]))}")


def _may_have_priority() -> bool:
    """Whether real-time scheduling is allowed here."""
    try:
        os.sched_setscheduler(
            0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR))
        )
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        return False
    return True


def read_network(
    work: Path, plan: ShellPlan, shells: Shells, make: EndFactory, sender: PeerLog,
    receiver: PeerLog,
) -> NetworkLog:  # fmt: skip
    """What mm-link's logs say, datagram by datagram."""
    network = NetworkLog()
    network.facts["shells"] = [" ".join(shell) for shell in plan.shells]
    network.facts["uplink_trace_later_ms"] = shells.up_shift_ms
    network.facts["ipv6_housekeeping"] = shells.housekeeping
    ends = {
        "down": (sender.sent, receiver.arrived),
        "up": (receiver.sent, sender.arrived),
    }
    for name, (sent, arrived) in ends.items():
        log = parse_log((work / f"session.{name}.log").read_text(), f"mm-link's {name}link log")
        link = plan.links[name]
        verdict, dropped = _held_against_model(log, link)
        # Later than this the sockets are closed, and the kernel answers what still comes (ICMP).
        end_ms = make.end_ns // NS_PER_MS + plan.delay_ms
        seen = [p for p in passages(log, shells.epoch_ms, dropped) if p.in_ms <= end_ms]
        result = read_direction(
            sent, arrived, seen, link, delay_ms=plan.delay_ms, end_ns=make.end_ns,
            foreign=HOUSEKEEPING_BYTES if shells.housekeeping else frozenset(),
        )  # fmt: skip
        network.carried[name] = result.carried
        rows = link_rows(
            log, seen, name, epoch_ms=shells.epoch_ms, duration_ns=make.duration_ns,
            lost_ns=result.lost_ns,
        )  # fmt: skip
        network.link_rows += rows
        if name == "down":
            network.capacity_bytes = [row[2] for row in rows]
        network.facts[name] = {
            "link": verdict,
            "vanished": result.vanished,
            "unmatched": result.unmatched,
            "housekeeping": result.housekeeping,
        }
    network.link_rows.sort(key=lambda row: row[0])
    return network


def _held_against_model(log: LinkLog, link: LinkPlan) -> tuple[dict[str, Any], list[bool] | None]:
    """mm-link's departures beside those of our link for the same arrivals; what ours dropped.

    None for the latter where the two differ, or the queue decides by its own clock or chance.
    """
    ours = replay(log, link.trace, link.queue, generator(1, "fidelity/queue"))
    same = (one == other for one, other in zip(log.departures, ours.departures, strict=False))
    verdict = {
        "arrivals": len(log.arrivals),
        "departures": len(log.departures),
        "equal": sum(takewhile(bool, same)),
    }
    alike = log.departures == ours.departures and link.queue.kind not in STATISTICAL_QUEUES
    return verdict, ours.dropped if alike else None


__all__ = ["run_mahimahi_session", "running_shells"]
