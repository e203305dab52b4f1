"""Folders of traces, and writing that never leaves half a file."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from testbed.errors import OutputError, TraceError

#: Environment variable: further folders of traces, separated like PATH.
FOLDERS_VARIABLE: Final = "TESTBED_TRACES"
#: What a folder of traces may hold beside traces.
_NOT_TRACES: Final = (".md", ".rst", ".manifest.json", ".png", ".svg", ".yaml", ".yml")
MANIFEST_SUFFIX: Final = ".manifest.json"


def user_folders() -> list[Path]:
    """The folders in `TESTBED_TRACES`, in order."""
    return [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]


def trace_files(folder: Path) -> list[Path]:
    """Files of `folder` (not of its subfolders) that may be traces, by name.

    Raises:
        TraceError: none there.
    """
    files = sorted(path for path in folder.iterdir() if _may_be_trace(path))
    if not files:
        raise TraceError(f"{folder}: no trace files in this folder")
    return files


def _may_be_trace(path: Path) -> bool:
    return (
        path.is_file()
        and not path.name.startswith((".", "README", "LICENSE", "COPYING"))
        and not path.name.endswith(_NOT_TRACES)
    )


def find_paths(pattern: str, *, base: Path) -> list[Path]:
    """Files named by a path or glob, relative to `base` or to a folder of `TESTBED_TRACES`.

    A folder stands for its files. Nothing found is an empty list.
    """
    for folder in (base, *user_folders()):
        path = folder / Path(pattern).expanduser()
        if path.is_dir():
            return trace_files(path)
        if path.exists():
            return [path]
        if any(mark in pattern for mark in "*?["):
            # Path.glob takes no absolute pattern, and base and pattern are one here.
            found = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
            found = [name for name in found if _may_be_trace(name)]
            if found:
                return found
    return []


def name_hash(name: str) -> str:
    """SHA-256 of a file name: a fixed order, and a fixed split, that no content decides."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends without an error.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text_whole(path: Path, text: str) -> None:
    """Write `text` to `path`, all or nothing (UTF-8, newlines as they are).

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
