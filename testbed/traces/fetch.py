"""Fetching the real LTE and 3G driving traces of Debian's package mahimahi-traces.

We ship no recording of others. Debian distributes these (17 Verizon, AT&T and T-Mobile
files, GPL-3+), so apt brings them, checked against Debian's keys, without root: everything that
apt writes goes into a private folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.errors import ToolFailedError, ToolMissingError
from testbed.paths import cache_dir

PACKAGE: Final = "mahimahi-traces"
#: Last Debian release with the package (0.98-1.1); Debian 12 has none.
SUITE: Final = "bullseye"
INSTALLED: Final = Path("/usr/share/mahimahi/traces")
_TIMEOUT_S: Final = 300
_APT: Final = Path("/etc/apt")


def fetched_folder() -> Path:
    """Where `fetch_driving` puts the traces."""
    return cache_dir() / "traces" / "debian-driving"


def driving_folder() -> Path | None:
    """The folder that holds the driving traces: installed by apt or fetched; None if neither."""
    for folder in (INSTALLED, fetched_folder()):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    return None


def fetch_driving() -> tuple[Path, bool]:
    """Get the driving traces unless they are there.

    Returns:
        Their folder, and whether they had to be fetched.

    Raises:
        ToolMissingError: not a Debian-like machine, or no Debian source to derive from.
        ToolFailedError: apt or dpkg failed; with their last line.
    """
    folder = driving_folder()
    if folder is not None:
        return folder, False
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise ToolMissingError(
                f"{tool} is not here; the driving traces come from Debian's package {PACKAGE}: "
                f"on a Debian or Ubuntu machine install it, or put its files into "
                f"{fetched_folder()}"
            )
    target = fetched_folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as scratch:
        package = _download(Path(scratch))
        unpacked = Path(scratch) / "unpacked"
        _run(["dpkg-deb", "-x", str(package), str(unpacked)], cwd=Path(scratch))
        traces = unpacked / INSTALLED.relative_to("/")
        if not traces.is_dir():
            raise ToolFailedError(f"{package.name} holds no {INSTALLED}")
        traces.chmod(0o755)
        traces.replace(target)
    return target, True


def _download(scratch: Path) -> Path:
    """The package file; first by the machine's own lists, then by a derived bullseye source."""
    try:
        _run(["apt-get", "download", PACKAGE], cwd=scratch)
    except ToolFailedError:
        options = _private_apt(scratch)
        _run(["apt-get", *options, "update"], cwd=scratch)
        _run(["apt-get", *options, "download", PACKAGE], cwd=scratch)
    packages = sorted(scratch.glob(f"{PACKAGE}_*.deb"))
    if not packages:
        raise ToolFailedError(f"apt-get download left no {PACKAGE} package")
    return packages[-1]


def _private_apt(scratch: Path) -> list[str]:
    """Options that give apt its own source, lists and cache under `scratch`."""
    source = debian_source()
    root = scratch / "apt"
    for name in ("lists/partial", "cache/archives/partial", "sources.list.d"):
        (root / name).mkdir(parents=True)
    (root / "status").touch()
    (root / "sources.list").write_text(source.line(SUITE) + "\n", encoding="utf-8")
    settings = {
        "Dir::Etc::sourcelist": root / "sources.list",
        "Dir::Etc::sourceparts": root / "sources.list.d",
        "Dir::State::lists": root / "lists",
        "Dir::State::status": root / "status",
        "Dir::Cache": root / "cache",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    if os.geteuid() == 0:
        # The unprivileged user that apt switches to cannot enter our private folder.
        options += ["-o", "APT::Sandbox::User=root"]
    return options


@dataclass(frozen=True, slots=True)
class DebianSource:
    """A Debian archive that this machine already trusts.

    Attributes:
        uri: base of the archive.
        signed_by: keyring file, or "" for apt's default.
    """

    uri: str
    signed_by: str

    def line(self, suite: str) -> str:
        """The one-line source for `suite`, component main."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {suite} main"


def debian_source(apt: Path = _APT) -> DebianSource:
    """The main Debian archive among the machine's apt sources.

    Raises:
        ToolMissingError: none there (not Debian).
    """
    files = [apt / "sources.list"]
    parts = apt / "sources.list.d"
    if parts.is_dir():
        files += sorted(p for p in parts.iterdir() if p.suffix in (".list", ".sources"))
    for path in files:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        found = _deb822(text) if path.suffix == ".sources" else _one_line(text)
        if found is not None:
            return found
    raise ToolMissingError(
        f"no Debian archive among the apt sources in {apt}; package {PACKAGE} is in Debian 11 "
        f"({SUITE}): get it there and put its files into {fetched_folder()}"
    )


def _is_main_archive(uri: str) -> bool:
    """Whether `uri` ends with /debian: not the security updates, not a third party."""
    return re.search(r"/debian/?$", uri) is not None


def _deb822(text: str) -> DebianSource | None:
    for stanza in re.split(r"\n\s*\n", text):
        fields = {}
        for line in stanza.splitlines():
            key, colon, value = line.partition(":")
            if colon and not line.startswith(("#", " ", "\t")):
                fields[key.strip().lower()] = value.strip()
        types = fields.get("types", "").split()
        if "deb" not in types or "main" not in fields.get("components", "").split():
            continue
        for uri in fields.get("uris", "").split():
            if _is_main_archive(uri):
                key = fields.get("signed-by", "")
                return DebianSource(uri, key if key.startswith("/") else "")
    return None


def _one_line(text: str) -> DebianSource | None:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+\S+\s+(.*)", line.strip())
        if match and "main" in match[3].split() and _is_main_archive(match[2]):
            key = re.search(r"signed-by=(/\S+)", match[1] or "")
            return DebianSource(match[2], key[1] if key else "")
    return None


def _run(command: list[str], *, cwd: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except subprocess.TimeoutExpired:
        raise ToolFailedError(f"{command[0]} took more than {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise ToolFailedError(f"{command[0]} failed: {lines[-1]}")
