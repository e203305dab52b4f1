"""Bytes of a capture file with their offset, so that an error can say where."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from testbed.errors import InputError


class Source:
    """A file that is read from front to back; use as a context manager.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Where the next byte is read.
        self.offset = 0
        self._ahead = b""
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise InputError(f"{path}: cannot read: {_reason(error)}") from None

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def take(self, size: int, *, optional: bool = False) -> bytes:
        """The next `size` bytes; with `optional` none at all where the file ends just here.

        Raises:
            InputError: the file ends before that, or cannot be read.
        """
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        try:
            data += self._file.read(size - len(data))
        except OSError as error:
            raise InputError(f"{self.path}: cannot read: {_reason(error)}") from None
        if len(data) < size and not (optional and not data):
            self.fail(
                f"the file ends after {len(data)} of {size} bytes that should follow", self.offset
            )
        self.offset += len(data)
        return data

    def give_back(self, data: bytes) -> None:
        """Let what was just taken be taken again; the file may be a pipe."""
        self._ahead = data + self._ahead
        self.offset -= len(data)

    def fail(self, what: str, offset: int) -> NoReturn:
        """Refuse the file.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.path}: offset {offset}: {what}")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
