"""The half of `kernel_tcp` that runs inside the fresh namespaces: one shell, one bulk TCP flow.

Started as `python -m testbed.worlds.kernel_tcp_inside FOLDER`. The sender is inside mm-link, so
that its packets meet the uplink's queue; the receiver is outside of the outermost shell.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from testbed.worlds.mahimahi_inside import (
    OUTER,
    PORT,
    end_shell,
    inner_pid,
    link_command,
    prepare,
    start_shell,
    within,
)

#: How long the connection may take to come about; a trace may begin with an outage.
_CONNECT_S: Final = 30.0
#: A blocked send or receive looks at the clock so often.
_POLL_S: Final = 0.2
_CHUNK_BYTES: Final = 64 * 1024
#: The lag is looked at so often.
_NAP_NS: Final = 5_000_000
#: Bytes a second; of asm-generic/socket.h, Python has no name for it.
_SO_MAX_PACING_RATE: Final = 47


#: Says its process id, waits for a line, and becomes the command that follows.
_WAIT: Final = ("sh", "-c", 'echo $$; read -r go; exec "$@"', "sh")


def open_shells(folder: Path, config: dict[str, Any]) -> tuple[subprocess.Popen[str], int]:
    """Start mm-link inside mm-delay; the process, and the id of the command inside both.

    mm-link wants ip_forward in its own namespace, which is mm-delay's, and an ordinary user cannot
    set it: so the command inside mm-delay waits until it has been set from here.
    """
    command = ["mm-delay", str(config["delay_ms"]), *_WAIT, *link_command(config)]
    shell = start_shell(folder, config["user"], command)
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    within(inner_pid(shell), lambda: forward.write_text("1"))
    assert shell.stdin is not None
    shell.stdin.write("go\n")
    shell.stdin.flush()
    return shell, inner_pid(shell)


def tcp_socket() -> socket.socket:
    """Neither bound nor connected."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def sink(listener: socket.socket, done: threading.Event) -> None:
    """Accept one connection and read it until `done`, so that its window never closes."""
    connection: socket.socket | None = None
    listener.settimeout(_POLL_S)
    while not done.is_set():
        try:
            if connection is None:
                connection, _ = listener.accept()
                connection.settimeout(_POLL_S)
            elif not connection.recv(_CHUNK_BYTES):
                return
        except TimeoutError:
            continue


def hurry() -> None:
    """Go before the machine's other work, shells included: what runs late is measured wrongly.

    Real-time scheduling, since niceness counts only among the processes of one session.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def watch_lag(lags_ms: list[float], done: threading.Event) -> None:
    """Note how much later than asked for this process wakes up, until `done`."""
    while not done.is_set():
        due_ns = time.monotonic_ns() + _NAP_NS
        time.sleep(_NAP_NS / 1e9)
        lags_ms.append((time.monotonic_ns() - due_ns) / 1e6)


def tune(sender: socket.socket, config: dict[str, Any]) -> None:
    """Choose the congestion control and the bound on its pacing."""
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, config["algorithm"].encode())
    max_kbps = config.get("max_kbps")
    if max_kbps is not None:
        sender.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, round(max_kbps * 1000 / 8))


def flow(sender: socket.socket, until_ns: int) -> None:
    """Send as much as the kernel takes until the monotonic clock says `until_ns`."""
    sender.settimeout(_CONNECT_S)
    sender.connect((OUTER, PORT))
    sender.settimeout(_POLL_S)
    chunk = bytes(_CHUNK_BYTES)
    while time.monotonic_ns() < until_ns:
        try:
            sender.send(chunk)
        except TimeoutError:
            continue


def main(folder: Path) -> None:
    """Run the flow that FOLDER/config.json describes; mm-link's logs stay in FOLDER."""
    hurry()
    config = prepare(folder)
    shell, pid = open_shells(folder, config)
    until_ns = time.monotonic_ns() + int(config["seconds"] * 1e9)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((OUTER, PORT))
    listener.listen(1)
    sender = within(pid, tcp_socket)
    done = threading.Event()
    lags_ms: list[float] = []
    threads = [
        threading.Thread(target=sink, args=(listener, done), daemon=True),
        threading.Thread(target=watch_lag, args=(lags_ms, done), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        tune(sender, config)
        flow(sender, until_ns)
    except OSError as error:
        sys.exit(f"the TCP flow failed: {error}")
    done.set()
    for thread in threads:
        thread.join()
    end_shell(shell)
    (folder / "lags.json").write_text(json.dumps(lags_ms))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
