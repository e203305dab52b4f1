"""Bring about what mahimahi needs of a machine; every step does nothing where nothing is to do.

All of it needs root, and all of it can be undone; each step says how.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from testbed.errors import ToolFailedError, ToolMissingError
from testbed.paths import data_dir
from testbed.worlds import mahimahi_conditions as conditions
from testbed.worlds.mahimahi_tools import SEARCH_PATH, last_words

#: A package manager at the end of a slow line.
_INSTALL_S: Final = 1800.0
#: Any other tool.
_TOOL_S: Final = 60.0
#: What a package must not replace is put below /usr/local (Filesystem Hierarchy Standard, 4.9).
SHIM: Final = Path("/usr/local/lib/morphe-testbed/iptables")
#: Above the priorities of Debian's own alternatives, 10 and 20.
_PRIORITY: Final = 100

#: `-p`: a shell gives up a set-uid caller's rights without it. The environment is cleared as
#: iptables would otherwise follow that of an ordinary user (XTABLES_LIBDIR), which is why it
#: refuses such callers. Whoever is not root already gains nothing by it.
_SHIM_TEXT: Final = """#!/bin/sh -p
# iptables for set-uid callers such as mahimahi's mm-link; Debian 12's refuses them (status 111).
# Put here by `testbed doctor --fix`.
if [ "$(/usr/bin/id -u)" = 0 ] && [ "$(/usr/bin/id -ru)" != 0 ]; then
    exec /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
        /usr/bin/setpriv --reuid=0 --regid=0 --clear-groups -- {real} "$@"
fi
exec {real} "$@"
"""


def install() -> list[str]:
    """The packages of mahimahi, by the script that is shipped."""
    if conditions.installed().ok and conditions.iptables().ok:
        return []
    script = data_dir("tools") / "install_mahimahi.sh"
    if not script.is_file():
        raise ToolMissingError(f"{script} is not there; install the testbed again")
    _tool(["sh", str(script)], timeout_s=_INSTALL_S)
    return ["installed mahimahi from Debian 11 (undo: apt-get remove mahimahi mahimahi-traces)"]


def set_uid() -> list[str]:
    """Shells become root again when an ordinary user calls them."""
    done = []
    for path in conditions.without_set_uid():
        _demand_roots(path)
        path.chmod(path.stat().st_mode & 0o7777 | stat.S_ISUID)
        done.append(f"chmod u+s {path} (undo: chmod u-s {path})")
    return done


def tun() -> list[str]:
    """The kernel's module, then the device."""
    if conditions.tun().ok:
        return []
    done = []
    if shutil.which("modprobe", path=SEARCH_PATH) and _try(["modprobe", "tun"]):
        done = ["modprobe tun (undo: modprobe -r tun)"]
    made = not conditions.TUN.exists()
    if made:
        conditions.TUN.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        numbers = os.makedev(*conditions.TUN_NUMBERS)
        os.mknod(conditions.TUN, stat.S_IFCHR, numbers)
        conditions.TUN.chmod(0o666)  # as udev makes it; to use it is root's alone all the same
        done.append(f"mknod {conditions.TUN} c 10 200 (undo: rm {conditions.TUN})")
    now = conditions.tun()
    if not now.ok:
        if made:
            conditions.TUN.unlink()
        raise ToolFailedError(f"{now.detail}; {now.fix}")
    return done


def forwarding() -> list[str]:
    """The machine forwards packets."""
    if conditions.forwarding().ok:
        return []
    try:
        conditions.IP_FORWARD.write_text("1\n")
    except OSError as error:
        raise ToolFailedError(
            f"{conditions.IP_FORWARD}: {error.strerror}; "
            "in a container: docker run --sysctl net.ipv4.ip_forward=1"
        ) from None
    done = (
        "sysctl -w net.ipv4.ip_forward=1, until the next boot; for good: "
        "echo net.ipv4.ip_forward=1 > /etc/sysctl.d/60-mahimahi.conf "
        "(undo: sysctl -w net.ipv4.ip_forward=0)"
    )
    return [done]


# --- iptables -----------------------------------------------------------------------------


@dataclass(slots=True)
class Choice:
    """One alternative: its priority, and what it has for the slave links."""

    priority: int = 0
    slaves: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Alternatives:
    """What `update-alternatives --query iptables` says.

    Attributes:
        link: what is chosen among the choices ("/usr/sbin/iptables").
        value: the choice that it stands for.
        automatic: the best one is chosen, not one that somebody set.
        slaves: links that go with it, by name.
        choices: by path.
    """

    link: str = ""
    value: str = ""
    automatic: bool = True
    slaves: dict[str, str] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)


def parse_alternatives(text: str) -> Alternatives:
    """Read the answer of `update-alternatives --query`.

    Raises:
        ToolFailedError: it names no link.
    """
    found = Alternatives()
    slaves = found.slaves
    choice = Choice()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        value = value.strip()
        if line.startswith(" "):
            slave, _, path = line.strip().partition(" ")
            slaves[slave] = path
        elif name == "Link":
            found.link = value
        elif name == "Value":
            found.value = value
        elif name == "Status":
            found.automatic = value == "auto"
        elif name == "Alternative":
            choice = found.choices.setdefault(value, Choice())
            slaves = choice.slaves
        elif name == "Priority" and value.lstrip("-").isdecimal():
            choice.priority = int(value)
    if not found.link:
        raise ToolFailedError("update-alternatives does not know iptables")
    return found


def iptables(shim: Path = SHIM) -> list[str]:
    """An iptables that set-uid programs can call, as one of Debian's alternatives.

    Args:
        shim: where the wrapper goes.
    """
    found = conditions.iptables_under_set_uid()
    if found is None or found.ok:
        return []
    if shutil.which("update-alternatives", path=SEARCH_PATH) is None:
        raise ToolMissingError("update-alternatives is not there; this is not Debian")
    before = parse_alternatives(_tool(["update-alternatives", "--query", "iptables"]))
    real = _real(before, shim)
    undo = [f"update-alternatives --remove iptables {shim}", f"rm -r {shim.parent}"]
    _write_shim(shim, real)
    command = ["update-alternatives", "--install", before.link, "iptables", str(shim)]
    command.append(str(_PRIORITY))
    # Without its own, the slave links (iptables-save and -restore) would be taken away.
    for name, path in before.choices[real].slaves.items():
        command += ["--slave", before.slaves[name], name, path]
    _tool(command)
    if not before.automatic and before.value != str(shim):
        _tool(["update-alternatives", "--set", "iptables", str(shim)])
        undo.insert(0, f"update-alternatives --set iptables {before.value}")
    now = conditions.iptables_under_set_uid()
    if now is None or not now.ok:
        reason = now.detail if now else "it is not there"
        raise ToolFailedError(f"{before.link} with {shim} in its place: {reason}")
    return [f"{before.link} works for set-uid callers, through {shim} (undo: {' && '.join(undo)})"]


def _real(found: Alternatives, shim: Path) -> str:
    """The iptables that the wrapper runs: the present one, or the best."""
    choices = {path: choice for path, choice in found.choices.items() if path != str(shim)}
    if found.value in choices:
        return found.value
    if not choices:
        raise ToolFailedError("update-alternatives knows no other iptables; install it again")
    return max(choices, key=lambda path: choices[path].priority)


def _write_shim(shim: Path, real: str) -> None:
    """As a file that only root can change, since it runs as root."""
    shim.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _demand_roots(shim.parent)
    new = shim.with_name(f".{shim.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
    with os.fdopen(handle, "w") as file:
        file.write(_SHIM_TEXT.format(real=real))
    new.chmod(0o755)
    new.replace(shim)


def _demand_roots(path: Path) -> None:
    """Only root may be able to change what runs as root, and every folder above it.

    Raises:
        ToolFailedError: somebody else can.
    """
    path = path.resolve()
    for one in (path, *path.parents):
        status = one.stat()
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ToolFailedError(f"{one} can be changed by others than root: {path} left as it is")


#: What `testbed doctor --fix` does, in order.
STEPS: Final[tuple[tuple[str, Callable[[], list[str]]], ...]] = (
    ("mm-link", install),
    ("mm-link set-uid", set_uid),
    ("/dev/net/tun", tun),
    ("ip_forward", forwarding),
    ("iptables under mm-link", iptables),
)


def _try(command: Sequence[str]) -> bool:
    try:
        _tool(command)
    except ToolFailedError:
        return False
    return True


def _tool(command: Sequence[str], *, timeout_s: float = _TOOL_S) -> str:
    """What a tool prints.

    Raises:
        ToolFailedError: it failed; with its last words.
    """
    path = f"{os.environ.get('PATH', '')}:{SEARCH_PATH}"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s,
            check=False, stdin=subprocess.DEVNULL, env={**os.environ, "PATH": path, "LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ToolFailedError(f"{command[0]}: no end after {timeout_s:g} s") from None
    except OSError as error:
        raise ToolFailedError(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise ToolFailedError(f"{command[0]}: {last_words(done.stderr, done.returncode)}")
    return done.stdout


__all__ = ["SHIM", "STEPS", "Alternatives", "Choice", "parse_alternatives"]
