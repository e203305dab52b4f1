"""mahimahi's shells as an ordinary user runs them: on the machine itself, one inside the other.

An ordinary user has no namespaces to make, so the shells nest on one command line and what they
need must hold on the machine (`testbed.worlds.mahimahi_conditions`). The innermost command is
`shell_inner`, which hands a UDP socket out. IPv6 cannot be turned off in shells that somebody else
owns: their kernel's housekeeping goes through mm-link and stands in its log.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import testbed
from testbed.errors import ToolFailedError, ToolMissingError
from testbed.worlds.mahimahi import queue_arguments
from testbed.worlds.mahimahi_tools import SEARCH_PATH, end_gently, last_words
from testbed.worlds.realtime.shell_inner import OUTER_NAME, WELL_DONE
from testbed.worlds.realtime.shells import ShellPlan
from testbed.worlds.realtime.shells_inside import link_line, way_through

#: Where the machine's address towards the rest of the world is asked for (TEST-NET-2, RFC 5737):
#: an address that nobody has, so that the default route is taken. Nothing is sent.
_ELSEWHERE: Final = ("198.51.100.1", 9)
#: mahimahi's addresses (F29) are the first of RFC 6598's shared space; it uses them anew in every
#: shell inside a shell.
_MAHIMAHIS: Final = ipaddress.ip_network("100.64.0.0/10")
#: How often the shells are looked at while they come up.
_LOOK_S: Final = 0.05
#: How long they may take to come up, and to end.
_UP_S: Final = 30.0
_DOWN_S: Final = 20.0
_SOCKET_NAME: Final = "inner.sock"
#: The lowest real-time priority (sched(7)), where this user may have it.
_PRIORITY: Final = ("chrt", "--rr", "1")
#: A shell that ends says so to the one inside with SIGHUP, and waits. Under nohup it is ignored.
_HEARS_OF_THE_END: Final = ("env", "--default-signal=HUP")
#: The dynamic loader takes this away from what is set-uid; Python may need it inside again.
_LIBRARIES: Final = "LD_LIBRARY_PATH"


@dataclass(frozen=True, slots=True)
class PlainShells:
    """Running shells.

    Attributes:
        answer: what `way_through` says.
        outer, inner: sockets outside and inside; the caller closes them.
        lifeline: a handle that has something to read once the outermost shell is gone.
        failure: says why they are.
    """

    answer: dict[str, Any]
    outer: socket.socket
    inner: socket.socket
    lifeline: int
    failure: Callable[[], ToolFailedError]


def nested_command(plan: ShellPlan, work: Path, *, priority: bool = False) -> list[str]:
    """All shells on one command line, from the outermost to what runs inside of all."""
    config = {
        "queues": {
            "uplink": queue_arguments(plan.links["up"].queue),
            "downlink": queue_arguments(plan.links["down"].queue),
        }
    }
    line = [*(_PRIORITY if priority else ()), *_HEARS_OF_THE_END]
    for shell in plan.shells:
        line += link_line(config) if shell == ("mm-link",) else shell
    if _LIBRARIES in os.environ:
        line += ["env", f"{_LIBRARIES}={os.environ[_LIBRARIES]}"]
    inner = ("-m", "testbed.worlds.realtime.shell_inner", str(work / _SOCKET_NAME))
    return [*line, sys.executable, *inner]


@contextlib.contextmanager
def plain_shells(plan: ShellPlan, work: Path, *, priority: bool) -> Iterator[PlainShells]:
    """Start the shells in WORK, which has mm-link's traces; end them from the inside out.

    Args:
        plan: the shells.
        work: a folder of this user's own; the logs come to lie there.
        priority: this user may have real-time scheduling.

    Raises:
        ToolMissingError: this machine has no address that shells inside shells can reach.
        ToolFailedError: they did not come up, or did not end; carries what stderr ends with.
    """
    own = own_address()
    if own is None and len(plan.shells) > 1:
        raise ToolMissingError(
            "mahimahi: shells inside shells need an address of this machine towards a default "
            "route, and it has none; connect it to a network, or run as root"
        )
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        try:
            listener.bind(str(work / _SOCKET_NAME))
        except OSError as error:
            raise ToolFailedError(f"mahimahi: {work / _SOCKET_NAME}: {error}") from None
        listener.listen(1)
        errors = stack.enter_context((work / "stderr").open("w"))
        process = subprocess.Popen(
            nested_command(plan, work, priority=priority),
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=_environment(),
            start_new_session=True,  # a terminal's Ctrl-C is ours alone to answer
        )
        # Undone from below: a closed listener, or connection, is what ends the shells.
        stack.callback(end_gently, process, wait_s=_DOWN_S)
        stack.callback(listener.close)
        lifeline = os.pidfd_open(process.pid)
        stack.callback(os.close, lifeline)
        with _connection(listener, process, work) as connection:
            listener.close()
            yield _handed_over(connection, process, work, own, lifeline)
            with contextlib.suppress(ConnectionError):  # they died just now; the status says so
                connection.sendall(WELL_DONE)
        try:
            status = process.wait(timeout=_DOWN_S)
        except subprocess.TimeoutExpired:
            raise ToolFailedError(_message("the shells did not end", process, work)) from None
        if status != 0:
            raise _died(process, work)


def _environment() -> dict[str, str]:
    """With the testbed on Python's path: the shells' working folder is not the caller's."""
    root = str(Path(testbed.__file__).resolve().parent.parent)
    path = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PATH": f"{os.environ.get('PATH', '')}:{SEARCH_PATH}",
        "PYTHONPATH": os.pathsep.join(path),
    }


def _connection(
    listener: socket.socket, process: subprocess.Popen[bytes], work: Path
) -> socket.socket:
    """The connection of `shell_inner`."""
    listener.settimeout(_LOOK_S)
    until = time.monotonic() + _UP_S
    while time.monotonic() < until:
        with contextlib.suppress(TimeoutError):
            return listener.accept()[0]
        if process.poll() is not None:
            raise ToolFailedError(_message("", process, work))
    raise ToolFailedError(_message("the shells did not come up", process, work))


def _handed_over(
    connection: socket.socket, process: subprocess.Popen[bytes], work: Path, own: str | None,
    lifeline: int,
) -> PlainShells:  # fmt: skip
    connection.settimeout(_UP_S)
    try:
        data, handles, _, _ = socket.recv_fds(connection, 4096, 1)
    except OSError:
        data, handles = b"", []
    if len(handles) != 1:
        raise ToolFailedError(_message("no socket came out of the shells", process, work))
    inner = socket.socket(fileno=handles[0])
    outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        address = own or json.loads(data)["outer"]
        outer.bind((address, 0))
        answer = way_through(work, outer, inner)
        return PlainShells(answer, outer, inner, lifeline, partial(_died, process, work))
    except BaseException as error:
        outer.close()
        inner.close()
        if not isinstance(error, RuntimeError | OSError | ValueError | KeyError | TypeError):
            raise
        hint = f"; a firewall on this machine may drop UDP from {_MAHIMAHIS}"
        reason = f"{error}{hint}" if isinstance(error, RuntimeError) else f"{OUTER_NAME}: {error}"
        raise ToolFailedError(_message(reason, process, work)) from None


def own_address() -> str | None:
    """The machine's address towards its default route; None without one.

    An address of mahimahi's own counts as none: somebody runs the testbed inside a shell, and
    shells inside of that use it again.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if ipaddress.ip_address(address) in _MAHIMAHIS else address


def _died(process: subprocess.Popen[bytes], work: Path) -> ToolFailedError:
    """Why the shells are gone; the outermost one is the last."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_DOWN_S)
    return ToolFailedError(_message(f"a shell died (status {process.returncode})", process, work))


def _message(reason: str, process: subprocess.Popen[bytes], work: Path) -> str:
    """One line: our reason, and what the shells said."""
    text = (work / "stderr").read_text(errors="replace")
    said = last_words(text, process.poll()) if text.strip() or not reason else ""
    return f"mahimahi: {'; '.join(filter(None, [reason, said]))}"


__all__ = ["PlainShells", "nested_command", "own_address", "plain_shells"]
