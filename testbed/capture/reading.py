"""Opens a capture of either format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testbed.capture.pcap import MAGICS, PcapReader
from testbed.capture.pcapng import SECTION_HEADER, PcapngReader
from testbed.capture.source import Source

_PCAPNG: Final = SECTION_HEADER.to_bytes(4, "little")


@contextmanager
def open_capture(path: Path) -> Iterator[PcapngReader | PcapReader]:
    """A reader of the file: iterate over its packets; `comments` are those on the capture.

    Raises:
        InputError: it cannot be read or is neither pcapng nor pcap; the packets raise it too.
    """
    with Source(path) as source:
        magic = source.take(4)
        if magic in MAGICS:
            yield PcapReader(source, magic)
        elif magic == _PCAPNG:
            source.give_back(magic)
            yield PcapngReader(source)
        else:
            source.fail("neither pcapng nor pcap: the first bytes are " + magic.hex(" "), 0)
