"""What a result was made with: code, tools, host."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

import testbed

_PACKAGE: Final = Path(testbed.__file__).resolve().parent
#: Code that a run's tables depend on; the command line and the figures may change freely.
_DETERMINING: Final = (
    "network",
    "protocol",
    "transports",
    "media",
    "worlds",
    "codec/core.py",
    "codec/gops.py",
    "codec/pixels.py",
    "codec/rates.py",
    "codec/units.py",
    "experiments/runner.py",
    "randomness.py",
    "tables.py",
)
#: Packages whose version can change a number.
_PACKAGES: Final = (
    "numpy",
    "simpy",
    "pandas",
    "pyarrow",
    "scipy",
    "av",
    "imageio-ffmpeg",
    "aiortc",
    "aioice",
)


@cache
def code_hash() -> str:
    """First 16 hex digits of SHA-256 over the sources that determine a run.

    Sources rather than a commit: it also holds for an installed wheel and for a checkout with
    changes, and a commit that touches only documents does not throw results away.
    """
    digest = hashlib.sha256()
    for name in _DETERMINING:
        root = _PACKAGE / name
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def git_commit() -> str | None:
    """Commit of the checkout that the code runs from, with `+changes`; None outside of one."""
    root = _PACKAGE.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


@cache
def encoder_versions() -> Mapping[str, str]:
    """Versions of what encodes and decodes; a new encoder means new numbers."""
    import av

    found = {"av": av.__version__, "av_ffmpeg": str(av.ffmpeg_version_info)}
    try:
        import imageio_ffmpeg

        found["imageio_ffmpeg"] = str(imageio_ffmpeg.__version__)
        found["ffmpeg"] = str(imageio_ffmpeg.get_ffmpeg_version())
    except (ImportError, RuntimeError):
        found["ffmpeg"] = "none"
    return found


@cache
def versions() -> Mapping[str, Any]:
    """Everything the manifest says about software."""
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = package_version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "python": platform.python_version(),
        "testbed": testbed.__version__,
        "code": code_hash(),
        "git": git_commit(),
        **packages,
        **encoder_versions(),
    }


@cache
def host() -> Mapping[str, Any]:
    """CPU model, usable cores and platform."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "platform": platform.platform(),
    }


@cache
def cpu_model() -> str:
    """The CPU as the kernel names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
