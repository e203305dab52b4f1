"""The half of the mahimahi world that runs inside fresh namespaces: shells, and two sockets.

Started as `python -m testbed.worlds.realtime.shells_inside FOLDER`, with a Unix socket as its
standard input. It starts the shells, makes a UDP socket outside and one inside of them, finds out
how the outer one reaches the inner one (every shell translates addresses), and hands both over with
mm-link's time stamps. Then it waits: "end" lets the shells end well, a closed socket ends them at
once. Whatever it changes ends with its namespaces. Only the standard library is imported.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from testbed.worlds.mahimahi_inside import (
    end_shell,
    forward_without_ipv6,
    inner_pid,
    prepare,
    start_shell,
    udp_socket,
    within,
)

#: The outer socket's address (RFC 5737). Shells inside shells use 100.64.0.1 again and again, so
#: the innermost could not tell it from its neighbour's.
ADDRESS: Final = "192.0.2.1"
#: The greeting that opens the way through the shells' address translation.
GREETING: Final = b"\xf0testbed: greeting"
_GREET_EVERY_S: Final = 0.02
_GREET_S: Final = 20.0
#: How often mm-link's log is looked at until its header is whole.
_HEADER_S: Final = 10.0
_LOOK_S: Final = 0.01
_LOOK_AT_SHELLS_S: Final = 0.1


#: What every shell runs: it says its process id, and ends when its standard input does.
_INNER: Final = ("sh", "-c", "echo $$; exec cat")


def start_nested(
    folder: Path, config: dict[str, Any], running: list[subprocess.Popen[str]]
) -> socket.socket:
    """Start every shell inside the one before it; a socket inside of all.

    A shell checks for forwarding in the namespace that it starts in, and a namespace made by
    another shell has it off; so each is started by us, from there, once it is on.

    Args:
        folder: where shells run.
        config: the plan.
        running: gets the shells from the outermost on.
    """
    pid: int | None = None
    for shell in config["shells"]:
        line = [*(link_line(config) if shell == ["mm-link"] else shell), *_INNER]

        def start(command: list[str] = line) -> subprocess.Popen[str]:
            forward_without_ipv6()
            return start_shell(folder, config["user"], command)

        running.append(start() if pid is None else within(pid, start))
        pid = inner_pid(running[-1])
    assert pid is not None

    def inside() -> socket.socket:
        forward_without_ipv6()
        return udp_socket()

    return within(pid, inside)


def link_line(config: dict[str, Any]) -> list[str]:
    """mm-link with its files in the working folder; what it runs follows."""
    arguments = ["mm-link", "session.up.trace", "session.down.trace"]
    for link, short in (("uplink", "up"), ("downlink", "down")):
        arguments.append(f"--{link}-log=session.{short}.log")
        kind, limits = config["queues"][link]
        if kind != "infinite":  # the default; 0.98 knows no name for it on the command line
            arguments += [f"--{link}-queue={kind}", f"--{link}-queue-args={limits}"]
    return [*arguments, "--"]


def greet(inner: socket.socket, outer: socket.socket) -> tuple[str, int] | None:
    """Send from the inside until something comes out; where it comes from, None if nothing does."""
    until = time.monotonic() + _GREET_S
    while time.monotonic() < until:
        inner.sendto(GREETING, outer.getsockname())
        ready, _, _ = select.select([outer], [], [], _GREET_EVERY_S)
        if ready:
            data, source = outer.recvfrom(2048)
            if data == GREETING:
                return source[0], source[1]
    return None


def drain(*sockets: socket.socket) -> None:
    """Forget the greetings that are still under way."""
    time.sleep(5 * _GREET_EVERY_S)
    for one in sockets:
        one.setblocking(False)
        while True:
            try:
                one.recv(2048)
            except BlockingIOError:
                break


def stamps_of(folder: Path, short: str) -> tuple[int, int] | None:
    """Init (wall clock) and base (after init) of mm-link's log, both in ms; None without them."""
    path = folder / f"session.{short}.log"
    until = time.monotonic() + _HEADER_S
    while time.monotonic() < until:
        found: dict[str, int] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                for name in ("init", "base"):
                    lead = f"# {name} timestamp: "
                    if line.startswith(lead) and line[len(lead) :].isdecimal():
                        found[name] = int(line[len(lead) :])
        if len(found) == 2:
            return found["init"], found["base"]
        time.sleep(_LOOK_S)
    return None


def way_through(folder: Path, outer: socket.socket, inner: socket.socket) -> dict[str, Any]:
    """How the sockets reach each other, and mm-link's time stamps, once there is a way.

    Raises:
        RuntimeError: there is none; one line.
    """
    source = greet(inner, outer)
    if source is None:
        raise RuntimeError("nothing comes through the shells")
    drain(inner, outer)
    answer: dict[str, Any] = {"peer": source, "outer": outer.getsockname()}
    for short in ("up", "down"):
        answer[short] = stamps_of(folder, short)
        if answer[short] is None:
            raise RuntimeError("mm-link wrote no header")
    return answer


def main(folder: Path) -> None:
    """Run the shells that FOLDER/config.json describes; the logs stay in FOLDER."""
    parent = socket.socket(fileno=os.dup(0))
    try:
        run(folder, parent)
    finally:
        if gone(parent):
            # Whoever would have removed the folder was killed.
            shutil.rmtree(folder, ignore_errors=True)


def gone(parent: socket.socket) -> bool:
    """Whether the other end of the socket is closed."""
    try:
        return not parent.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def run(folder: Path, parent: socket.socket) -> None:
    """Start everything, hand the sockets over, wait for the end."""
    config = prepare(folder)
    if config["priority"]:
        # Inherited by the shells: they keep time as the relay does.
        lowest = os.sched_get_priority_min(os.SCHED_RR)
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(lowest))
    running: list[subprocess.Popen[str]] = []
    inner = start_nested(folder, config, running)
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    outer = udp_socket(ADDRESS)
    try:
        answer = way_through(folder, outer, inner)
    except RuntimeError as error:
        sys.exit(str(error))
    socket.send_fds(parent, [json.dumps(answer).encode()], [outer.fileno(), inner.fileno()])
    inner.close()
    outer.close()
    wait_for_end(parent, running)


def wait_for_end(parent: socket.socket, running: list[subprocess.Popen[str]]) -> None:
    """Until the parent says so, or is gone, or a shell dies."""
    while True:
        ready, _, _ = select.select([parent], [], [], _LOOK_AT_SHELLS_S)
        if ready:
            if not parent.recv(16):
                sys.exit("nobody is waiting for these shells any more")
            for shell in reversed(running):
                end_shell(shell)
            return
        for shell in running:
            if shell.poll() is not None:
                sys.exit(f"a shell died (status {shell.returncode})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
