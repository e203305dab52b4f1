"""The half of `mahimahi` that runs inside the fresh namespaces: one mm-link shell, one sender.

Started by `testbed.worlds.mahimahi` as `python -m testbed.worlds.mahimahi_inside FOLDER`; whatever
it changes (addresses, ip_forward, mounts) ends with its namespaces. Only the standard library is
imported, so that a shell starts quickly.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: mahimahi's addresses on the two ends of its TUN device (F29).
OUTER: Final = "100.64.0.1"
INNER: Final = "100.64.0.2"
PORT: Final = 9000
#: `CLONE_NEWNET` of linux/sched.h, for setns(2); Python offers os.setns only from 3.12 on.
_CLONE_NEWNET: Final = 0x40000000
#: Exit status of Debian 12's iptables when it is run set-uid.
_IPTABLES_REFUSES: Final = 111
#: How long the shell may take to come up, and to end.
_START_S: Final = 30.0
_END_S: Final = 15.0
#: How long the shell stays after the last datagram; nothing is flushed on exit (F13).
_DRAIN_S: Final = 0.5

# With mm-link's euid of 0 but the user's real uid, iptables refuses; with both 0 it works.
_SHIM: Final = """#!{python} -IS
import os, sys
os.setresgid(0, 0, 0)
os.setresuid(0, 0, 0)
os.execv({iptables!r}, ["iptables", *sys.argv[1:]])
"""


def prepare_namespace(folder: Path, user: int) -> None:
    """Loopback, forwarding, no IPv6 housekeeping (F28), and an iptables that mm-link can call."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    forward_without_ipv6()
    probe = subprocess.run(
        ["setpriv", f"--ruid={user}", "--euid=0", "iptables", "-w", "-t", "nat", "-S"],
        capture_output=True,
        check=False,
    )
    if probe.returncode == _IPTABLES_REFUSES:
        _mount_iptables_shim(folder)


def forward_without_ipv6() -> None:
    """Forwarding on, IPv6 and its housekeeping off, in the network namespace of this thread."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for scope in ("all", "default"):
        ipv6 = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
        if ipv6.exists():
            ipv6.write_text("1")


def _mount_iptables_shim(folder: Path) -> None:
    """Put a shim in the place of iptables, in this mount namespace only.

    The place is the multi-call binary behind `iptables`; the shim runs a copy of it, since the
    original can no longer be reached once it is covered.
    """
    found = shutil.which("iptables")
    assert found is not None  # find_problems has looked for it
    target = Path(found).resolve()
    private = folder / "shim"
    private.mkdir(mode=0o755)
    copy = private / target.name
    shutil.copy2(target, copy)
    python = private / "python"  # a short way to it: the kernel limits the length of a #! line
    python.symlink_to(Path(sys.executable).resolve())
    shim = private / "iptables"
    shim.write_text(_SHIM.format(python=python, iptables=str(copy)))
    shim.chmod(0o755)
    subprocess.run(["mount", "--bind", str(shim), str(target)], check=True)


def link_command(config: dict[str, Any]) -> list[str]:
    """mm-link, with a command that says its process id and ends when its stdin does."""
    name = config["name"]
    arguments = []
    for link, short in (("uplink", "up"), ("downlink", "down")):
        arguments.append(f"--{link}-log={name}.{short}.log")
        kind, limits = config["queues"][link]
        if kind != "infinite":  # the default; 0.98 knows no name for it on the command line
            arguments.append(f"--{link}-queue={kind}")
            arguments.append(f"--{link}-queue-args={limits}")
    return [
        *("mm-link", f"{name}.up.trace", f"{name}.down.trace", *arguments),
        *("--", "sh", "-c", "echo $$; exec cat"),
    ]


def start_shell(folder: Path, user: int, command: list[str]) -> subprocess.Popen[str]:
    """Start a shell of mahimahi as an ordinary user; it ends when our end of its stdin closes."""
    return subprocess.Popen(
        ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def inner_pid(shell: subprocess.Popen[str]) -> int:
    """Process id of the command inside the shell; says so when the shell died instead."""
    assert shell.stdout is not None
    ready, _, _ = select.select([shell.stdout], [], [], _START_S)
    line = shell.stdout.readline() if ready else ""
    if not line.strip().isdecimal():
        shell.kill()
        sys.exit("mm-link did not start" if not ready else f"mm-link died (status {shell.wait()})")
    return int(line)


def within(pid: int, act: Callable[[], T]) -> T:
    """What `act` returns in the network namespace of process `pid`.

    A namespace belongs to a thread, so `act` runs in one of its own; a socket that it makes keeps
    the namespace that it was made in.
    """
    results: list[T] = []

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/proc/{pid}/ns/net").open() as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) == 0:
                results.append(act())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not results:
        sys.exit("cannot enter the network namespace of the shell")
    return results[0]


def udp_socket(address: str = "") -> socket.socket:
    """A socket on `PORT` of one address, or of all."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, PORT))
    return made


def end_shell(shell: subprocess.Popen[str]) -> None:
    """Close the shell's stdin and wait; exit with a message where it does not end well."""
    assert shell.stdin is not None
    shell.stdin.close()
    try:
        status = shell.wait(timeout=_END_S)
    except subprocess.TimeoutExpired:
        sys.exit("mm-link did not end")
    if status != 0:
        sys.exit(f"mm-link ended with status {status}")


def prepare(folder: Path) -> dict[str, Any]:
    """Prepare folder and namespaces for a shell; the configuration in FOLDER/config.json."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    os.umask(0o022)
    folder.chmod(0o755)
    prepare_namespace(folder, config["user"])
    return config


def send(traffic: list[tuple[int, str, int]], outer: socket.socket, inner: socket.socket) -> None:
    """Send each datagram at its time, or as soon after as the machine allows."""
    ways = {"up": (inner, (OUTER, PORT)), "down": (outer, (INNER, PORT))}
    payload = bytes(65536)
    start_ns = time.monotonic_ns()
    for at_ns, direction, size in traffic:
        wait_ns = start_ns + at_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        from_socket, to_address = ways[direction]
        try:
            from_socket.sendto(payload[:size], to_address)
        except OSError:  # a full device queue; what was not sent is not in the log either
            continue


def main(folder: Path) -> None:
    """Run the shell that FOLDER/config.json describes; its logs stay in FOLDER."""
    config = prepare(folder)
    shell = start_shell(folder, config["user"], link_command(config))
    inner = within(inner_pid(shell), udp_socket)
    outer = udp_socket()
    send(config["traffic"], outer, inner)
    time.sleep(_DRAIN_S)
    end_shell(shell)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
