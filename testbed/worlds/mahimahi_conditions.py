"""What mahimahi needs of a machine: every condition by itself, with its reason and its fix.

There are two ways to run its shells. Root makes namespaces in which the shells start as an ordinary
user, and whatever they need is set only there. An ordinary user starts them on the machine itself,
as mahimahi was made for; then the machine must forward packets, and its iptables must work when a
set-uid program calls it. What cannot be looked at by such a user is found by starting a shell.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from testbed.errors import ToolMissingError
from testbed.worlds.mahimahi_tools import SEARCH_PATH, last_words, said_by

#: How to get mm-link, for messages.
INSTALL_HINT: Final = "sudo sh tools/install_mahimahi.sh, or `testbed doctor --fix` (Debian 12)"
#: The ordinary user that root calls mm-link by: "nobody" on Debian.
UNPRIVILEGED_ID: Final = 65534
#: The shells that sessions use.
SHELLS: Final = ("mm-link", "mm-delay", "mm-loss", "mm-onoff")
TUN: Final = Path("/dev/net/tun")
#: Of the TUN device, linux/Documentation/admin-guide/devices.txt.
TUN_NUMBERS: Final = (10, 200)
IP_FORWARD: Final = Path("/proc/sys/net/ipv4/ip_forward")
_STATUS: Final = Path("/proc/self/status")
#: Exit status of Debian 12's iptables (1.8.9) when it is run set-uid.
IPTABLES_REFUSES: Final = 111

FORWARD_FIX: Final = (
    "sudo sysctl -w net.ipv4.ip_forward=1 (until the next boot; for good: "
    "echo net.ipv4.ip_forward=1 | sudo tee /etc/sysctl.d/60-mahimahi.conf)"
)
IPTABLES_FIX: Final = "`testbed doctor --fix` as root puts a wrapper in its place"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps mahimahi from running here.

    Attributes:
        what: what is wrong.
        fix: what to do about it.
    """

    what: str
    fix: str


#: Who needs a condition: whoever runs a shell, only root, or only an ordinary user.
Needed = Literal["any", "root", "user"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What was found of one condition.

    Attributes:
        name: what was looked at.
        needed: by whom.
        ok: it is met.
        detail: what is there, or what is wrong.
        fix: what to do; "" where nothing needs doing.
    """

    name: str
    needed: Needed
    ok: bool
    detail: str
    fix: str = ""


# --- what can be looked at ----------------------------------------------------------------


def installed() -> Condition:
    """Whether the shells are there."""
    missing = [tool for tool in SHELLS if shutil.which(tool) is None]
    if missing:
        few = missing if len(missing) < len(SHELLS) else missing[:1]
        return Condition(
            "mm-link", "any", False, f"{', '.join(few)} is not installed", INSTALL_HINT
        )
    return Condition("mm-link", "any", True, str(shutil.which("mm-link")))


def without_set_uid() -> list[Path]:
    """Shells that are there but do not become root when an ordinary user calls them."""
    found = [Path(path) for path in map(shutil.which, SHELLS) if path]
    return [path for path in found if not (_mode(path) & stat.S_ISUID and _owner(path) == 0)]


def set_uid() -> Condition | None:
    """Whether the shells become root when an ordinary user calls them; None without any."""
    name = "mm-link set-uid"
    path = shutil.which("mm-link")
    if path is None:
        return None
    lost = without_set_uid()
    if lost:
        paths = " ".join(map(str, lost))
        shown = ", ".join(path.name for path in lost)
        roots = all(_owner(path) == 0 for path in lost)
        fix = f"sudo chmod u+s {paths}" if roots else f"{INSTALL_HINT}: {paths} must be root's"
        return Condition(name, "any", False, f"{shown} is not set-uid root", fix)
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        what = f"{path} lies on a file system mounted nosuid"
        return Condition(name, "any", False, what, "mount it with suid, or install elsewhere")
    if re.search(r"^NoNewPrivs:\s*1", read(_STATUS), flags=re.MULTILINE):
        return Condition(
            name, "any", False, "set-uid has no effect in this process (no_new_privs)",
            "start the container without no-new-privileges",
        )  # fmt: skip
    return Condition(name, "any", True, "set")


def tun() -> Condition:
    """Whether there is a TUN device. The shells open it as root, whoever calls them."""
    in_container = "in a container: --device /dev/net/tun"
    fix = f"sudo modprobe tun; {in_container}"
    try:
        status = TUN.stat()
    except OSError:
        return Condition("/dev/net/tun", "any", False, f"{TUN} is not there", fix)
    if not stat.S_ISCHR(status.st_mode):
        return Condition("/dev/net/tun", "any", False, f"{TUN} is not a device", fix)
    if os.geteuid() == 0:
        try:
            os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            what = f"{TUN} cannot be opened: {error.strerror}"
            none = error.errno in (errno.ENODEV, errno.ENXIO)
            return Condition("/dev/net/tun", "any", False, what, fix if none else in_container)
    return Condition("/dev/net/tun", "any", True, "there")


def forwarding() -> Condition:
    """Whether the machine forwards packets; root's shells have that to themselves."""
    on = read(IP_FORWARD) == "1"
    detail = "on" if on else "off: this machine does not forward packets"
    return Condition("ip_forward", "user", on, detail, "" if on else FORWARD_FIX)


def iptables() -> Condition:
    """Whether iptables is there."""
    path = shutil.which("iptables", path=SEARCH_PATH)
    fix = "" if path else "apt-get install iptables"
    return Condition("iptables", "any", bool(path), path or "iptables is not installed", fix)


def namespace_tools() -> Condition:
    """Whether root has what makes namespaces."""
    packages = {"unshare": "util-linux", "setpriv": "util-linux", "ip": "iproute2"}
    missing = [tool for tool in packages if shutil.which(tool, path=SEARCH_PATH) is None]
    if not missing:
        return Condition("namespace tools", "root", True, ", ".join(packages))
    wanted = " ".join(sorted({packages[tool] for tool in missing}))
    return Condition(
        "namespace tools", "root", False, f"{', '.join(missing)} is not installed",
        f"apt-get install {wanted}",
    )  # fmt: skip


def caller() -> Condition:
    """Root or not, and what that means."""
    if os.geteuid() == 0:
        detail = "root: shells run in namespaces of their own, nothing on the machine changes"
        return Condition("root", "root", True, detail)
    return Condition(
        "root", "root", False,
        "needs root for its network namespaces",
        "run as root; `--world mahimahi` runs without, with its shells on the machine itself",
    )  # fmt: skip


def iptables_under_set_uid() -> Condition | None:
    """Whether iptables works for a set-uid caller; None where only a shell can tell (not root)."""
    setpriv = shutil.which("setpriv", path=SEARCH_PATH)
    found = shutil.which("iptables", path=SEARCH_PATH)
    if os.geteuid() != 0 or setpriv is None or found is None:
        return None
    done = said_by([
        *(setpriv, f"--ruid={UNPRIVILEGED_ID}", "--euid=0"), *(found, "-w", "-t", "nat", "-S")
    ])  # fmt: skip
    if done.returncode == 0:
        return Condition(_IPTABLES, "user", True, "works")
    if done.returncode == IPTABLES_REFUSES:
        return _TROUBLES[0][1]
    detail = f"iptables fails: {last_words(done.stderr, done.returncode)}"
    return Condition(_IPTABLES, "user", False, detail, "see whether `iptables -t nat -S` works")


def look(*needs: Needed) -> list[Condition]:
    """The conditions that can be looked at without starting a shell.

    Args:
        needs: only those that are needed by these; all where nothing is named.
    """
    found = [check() for needed, check in _CHECKS if not needs or needed in needs]
    return [condition for condition in found if condition is not None]


_CHECKS: Final[tuple[tuple[Needed, Callable[[], Condition | None]], ...]] = (
    ("any", installed),
    ("any", set_uid),
    ("any", tun),
    ("any", iptables),
    ("root", namespace_tools),
    ("root", caller),
    ("user", forwarding),
    ("user", iptables_under_set_uid),
)


# --- what a shell says --------------------------------------------------------------------

_IPTABLES: Final = "iptables under mm-link"
_START: Final = "starting a shell"

#: What mahimahi 0.98 says when it cannot start, and what is behind it.
_TROUBLES: Final[tuple[tuple[str, Condition], ...]] = (
    (
        f"status {IPTABLES_REFUSES}",
        Condition(_IPTABLES, "user", False, "refuses set-uid callers (Debian 12)", IPTABLES_FIX),
    ),
    (
        "needs to be installed setuid root",
        Condition(
            "mm-link set-uid", "user", False, "set-uid has no effect here",
            "a container without no-new-privileges, a file system without nosuid",
        ),
    ),
    (
        "please run as non-root",
        Condition(
            "group", "user", False, "mahimahi refuses callers of the group root",
            "run with an ordinary group (newgrp, docker run --user UID:GID)",
        ),
    ),
    (
        "ip_forward",
        Condition("ip_forward", "user", False, "off where the shell starts", FORWARD_FIX),
    ),
    (
        "/dev/net/tun",
        Condition(
            "/dev/net/tun", "user", False, "the shells cannot open it",
            "sudo modprobe tun; in a container: --device /dev/net/tun",
        ),
    ),
)  # fmt: skip

#: A shell in a shell looks for forwarding in the namespace of the outer one, which the kernel makes
#: after its initial namespace.
_NESTED: Final = Condition(
    "nested shells", "user", False,
    "a shell inside a shell finds ip_forward off: it is off in the machine's first namespace",
    "sysctl -w net.ipv4.ip_forward=1 (or net.core.devconf_inherit_init_net=3) on a container's "
    "host; or one shell (delay_ms: 0, no loss); or run as root",
)  # fmt: skip


def try_shell(*, nested: bool = False) -> Condition:
    """Start a shell as this ordinary user, and another in it if `nested`; what comes of it.

    It lives for a fraction of a second and takes what it set up with it.
    """
    delay = ("mm-delay", "0")
    done = said_by([*delay, *(delay if nested else ()), "true"])
    name = _NESTED.name if nested else _START
    if done.returncode == 0:
        return Condition(name, "user", True, "works")
    if nested and "ip_forward" in done.stderr and read(IP_FORWARD) == "1":
        return _NESTED
    for words, condition in _TROUBLES:
        if words in done.stderr:
            return condition
    return Condition(
        name,
        "user",
        False,
        f"mm-delay fails: {last_words(done.stderr, done.returncode)}",
        "see what it says",
    )


# --- for worlds ---------------------------------------------------------------------------


def find_problems() -> list[Problem]:
    """What keeps mm-link from running in namespaces of its own; empty when it can."""
    return [Problem(one.detail, one.fix) for one in look("any", "root") if not one.ok]


def find_plain_problems(*, nested: bool = False) -> list[Problem]:
    """What keeps an ordinary user from running mahimahi's shells on the machine itself.

    Args:
        nested: shells inside shells are wanted.
    """
    if os.geteuid() == 0:
        return [Problem("mahimahi's shells refuse to be called by root", "run as an ordinary user")]
    found = [one for one in look("any", "user") if not one.ok]
    if not found:
        tried = try_shell(nested=nested)
        found = [] if tried.ok else [tried]
    return [Problem(f"{one.name}: {one.detail}", one.fix) for one in found]


def require_mahimahi() -> None:
    """Make sure that mm-link can run in namespaces of its own.

    Raises:
        ToolMissingError: it cannot; one line with every reason and its fix.
    """
    _require(find_problems())


def require_shells(*, nested: bool) -> None:
    """Make sure that whoever runs this can have mahimahi's shells, as root or not.

    Args:
        nested: shells inside shells are wanted.

    Raises:
        ToolMissingError: they cannot; one line with every reason and its fix.
    """
    _require(find_problems() if os.geteuid() == 0 else find_plain_problems(nested=nested))


def _require(problems: Sequence[Problem]) -> None:
    if problems:
        reasons = "; ".join(f"{one.what} -> {one.fix}" for one in problems)
        raise ToolMissingError(f"mm-link cannot run here: {reasons}")


def read(path: Path) -> str:
    """A short text file, stripped; "" where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _mode(path: Path) -> int:
    return path.stat().st_mode


def _owner(path: Path) -> int:
    return path.stat().st_uid


__all__ = [
    "INSTALL_HINT",
    "SEARCH_PATH",
    "UNPRIVILEGED_ID",
    "Condition",
    "Problem",
    "find_plain_problems",
    "find_problems",
    "look",
    "require_mahimahi",
    "require_shells",
    "try_shell",
]
