"""Where shipped data lies: the repository's own folders, or their copies inside the wheel."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """Folder of shipped data: `traces`, `scenarios` or `tools`."""
    packaged = _PACKAGE / "_data" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def cache_dir() -> Path:
    """Folder for what can always be made again (encoded clips, fetched traces).

    `TESTBED_CACHE` wins over `XDG_CACHE_HOME`, which wins over `~/.cache`.
    """
    own = os.environ.get("TESTBED_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "morphe-testbed"
