"""The encode cache: what an encoder said once it need not say again."""

from __future__ import annotations

from pathlib import Path


class EncodeCache:
    """Encoded frames by the hash of everything that determines them (an SQLite file)."""

    def __init__(self, path: Path) -> None:
        raise NotImplementedError

    @classmethod
    def default(cls) -> EncodeCache:
        """The user's cache, in `testbed.paths.cache_dir()`."""
        raise NotImplementedError
