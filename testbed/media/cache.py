"""The encode cache: what an encoder said once it need not say again.

A frame is filed under the hash of everything that determines it: the clip's pictures, the codec,
its configuration and version, the key frame that its segment starts with, and every target since.
A sweep over loss rates therefore encodes each clip once; only what a key frame request changed is
encoded anew. The time that the encoder took is kept too, so that a session with the compute model
`measured` repeats exactly. docs/decisions/0004-encode-cache.md says why it is built like this.
"""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import OutputError
from testbed.paths import cache_dir

#: Changes when old rows must not be found any more.
SCHEMA = 1
#: 500 kbps make 3.75 MB a minute; this holds about nine hours of video.
LIMIT_BYTES = 2 << 30
#: Room is made for this share of the limit at once.
SHRINK_SHARE = 0.25
#: Waiting for another process to finish writing.
BUSY_TIMEOUT_S = 30.0

Coded = tuple[bytes, int]
"""An access unit and the ns that its encoder took."""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds.

    Attributes:
        path: the file.
        frames: number of access units.
        media_bytes: their total size.
        file_bytes: size on disk.
    """

    path: Path
    frames: int
    media_bytes: int
    file_bytes: int


class EncodeCache:
    """Encoded frames by the hash of everything that determines them (an SQLite file).

    Several processes may use the same file at once. A file that is not a cache is set aside with a
    warning.

    Args:
        path: the file; its folder is made.
        limit_bytes: bound of the media in it, kept roughly by dropping the oldest.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(self, path: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self._limit = limit_bytes
        self._since_check = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._set_aside(error)
                self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{path}: cannot be used as encode cache ({error})") from None

    @classmethod
    def default(cls) -> EncodeCache:
        """The user's cache, in `testbed.paths.cache_dir()`."""
        return cls(default_path())

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, key: bytes) -> Coded | None:
        """What is filed under `key`."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Coded]:
        """What is filed under any of `keys`."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, encode_ns, data FROM frames WHERE key IN ({marks})"  # noqa: S608 (marks are "?")
        try:
            rows = self._db.execute(query, keys).fetchall()
        except sqlite3.DatabaseError as error:
            self._recover(error)
            return {}
        return {key: (data, encode_ns) for key, encode_ns, data in rows}

    def put_many(self, frames: Sequence[tuple[bytes, Coded]]) -> list[Coded]:
        """File `frames`; what is there already stays.

        Returns:
            What is now filed under each key: of two processes that encode the same frame, both
            get the time that the first one took.
        """
        rows = [(key, encode_ns, data) for key, (data, encode_ns) in frames]
        try:
            with self._db:
                self._db.executemany("INSERT OR IGNORE INTO frames VALUES (?, ?, ?)", rows)
            filed = self.get_many([key for key, _ in frames])
        except sqlite3.DatabaseError as error:
            self._recover(error)
            filed = {}
        self._since_check += sum(len(coded[0]) for _, coded in frames)
        if self._since_check > self._limit // 64:
            self._since_check = 0
            self._shrink()
        return [filed.get(key, coded) for key, coded in frames]

    def info(self) -> CacheInfo:
        """What the cache holds."""
        query = "SELECT count(*), coalesce(sum(length(data)), 0) FROM frames"
        frames, media = self._db.execute(query).fetchone()
        return CacheInfo(self.path, frames, media, self.path.stat().st_size)

    def clear(self) -> None:
        """Remove everything."""
        with self._db:
            self._db.execute("DELETE FROM frames")
        self._db.execute("VACUUM")

    def _open(self) -> sqlite3.Connection:
        """Open the file; several processes may be making it at this moment.

        Changing the journal mode does not wait for a lock as other statements do, so we wait.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                return self._connect()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=OFF")  # what is lost can be made again
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA):
                db.execute("DROP TABLE IF EXISTS frames")
            db.execute(
                "CREATE TABLE IF NOT EXISTS frames "
                "(key BLOB PRIMARY KEY, encode_ns INTEGER NOT NULL, data BLOB NOT NULL)"
            )
            db.execute(f"PRAGMA user_version={SCHEMA}")
            db.commit()
            db.execute("SELECT key, encode_ns, data FROM frames LIMIT 1").fetchall()
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_suffix(".damaged")
        warnings.warn(
            f"{self.path} is damaged ({error}); set aside as {aside.name}, starting afresh",
            stacklevel=3,
        )
        self.path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        """Go on without the cache's help when it breaks under us; a full disk is not our end."""
        if isinstance(error, sqlite3.OperationalError):
            warnings.warn(f"{self.path}: {error}; encoding without the cache", stacklevel=3)
            return
        with suppress(sqlite3.Error):
            self._db.close()
        self._set_aside(error)
        self._db = self._open()

    def _shrink(self) -> None:
        """Drop the oldest frames when the limit is passed."""
        with suppress(sqlite3.Error), self._db:
            query = "SELECT coalesce(sum(length(data)), 0) FROM frames"
            excess = self._db.execute(query).fetchone()[0] - self._limit
            if excess <= 0:
                return
            mean = self._db.execute("SELECT avg(length(data)) FROM frames").fetchone()[0]
            count = int((excess + SHRINK_SHARE * self._limit) / mean) + 1
            oldest = "SELECT rowid FROM frames ORDER BY rowid LIMIT ?"
            self._db.execute(f"DELETE FROM frames WHERE rowid IN ({oldest})", (count,))  # noqa: S608 (a constant)


def default_path() -> Path:
    """Where the user's cache lies."""
    return cache_dir() / "encodes.sqlite"
