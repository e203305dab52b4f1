"""What a world tells of its datagrams, as a capture with the two ends' interfaces.

A world calls `Tap.sent` when an endpoint lets a datagram go and `Tap.arrived` when one reaches the
other endpoint. The file has two interfaces, "sender" and "receiver": a packet that gets through is
on both, with the times at which it passed them, and one that was lost is on that of its origin
alone.

Calls have to be in order of time for each interface; one interface may be behind the other, as when
two processes hand over what they saw. Packets wait in a nameless file an interface, and are merged
by time when the tap is closed, so memory is constant. What happens at one moment, as on a path
without delay, stays in the order of the calls.
"""

from __future__ import annotations

import heapq
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import BinaryIO, Final

from testbed.capture.datagram import RECEIVER, SENDER, Framing
from testbed.capture.pcapng import file_header, next_packet_block, packet_block
from testbed.errors import LocalProtocolError, OutputError
from testbed.protocol.ntp import VIRTUAL_EPOCH_NTP_S

#: The capture's name in a run folder.
CAPTURE_NAME: Final = "capture.pcapng"
#: Interfaces of the file, in the order of their numbers.
INTERFACES: Final = ("sender", "receiver")
#: NTP counts from 1900, the capture from 1970 (RFC 868): days between, in seconds.
_NTP_TO_UNIX_S: Final = 2_208_988_800
#: Where virtual time begins, in ns since 1970: at the moment that its RTCP reports name as well.
VIRTUAL_EPOCH_NS: Final = (VIRTUAL_EPOCH_NTP_S - _NTP_TO_UNIX_S) * 10**9

#: Interface numbers of who sends and who receives, by direction.
_ENDS: Final = {"down": (0, 1), "up": (1, 0)}
_START: Final = re.compile(r"session start (\d+) ns after 1970")
#: Stands before a block while it waits: which call it is from.
_NUMBER: Final = Struct("<Q")
_COPY_BYTES: Final = 1 << 20


def comment_of(start_ns: int, *, virtual: bool) -> str:
    """The comment of a capture: when its session starts, and by which clock.

    Args:
        start_ns: since 1970, in ns.
        virtual: time is simulated, and the start a label.
    """
    clock = "virtual time, the start is a label" if virtual else "wall clock"
    moment = datetime.fromtimestamp(start_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"morphe-testbed session; session start {start_ns} ns after 1970 ({moment}); {clock}; "
        "competing flows are not captured"
    )


def session_start_ns(comments: list[str]) -> int | None:
    """The start that a comment of ours names, in ns since 1970; None: no such comment."""
    for comment in comments:
        found = _START.search(comment)
        if found:
            return int(found[1])
    return None


class Tap:
    """Writes a session's capture; use as a context manager.

    Leaving it without an exception finishes the file, which has its name only then; with one,
    nothing stays behind.

    Args:
        path: the file to write.
        start_ns: when the session starts by the wall clock, in ns since 1970; None: the session
            runs in virtual time, which begins at `VIRTUAL_EPOCH_NS`.

    Raises:
        OutputError: the file cannot be written; every call may raise it.
    """

    def __init__(self, path: Path, *, start_ns: int | None = None) -> None:
        self.path = path
        self._virtual = start_ns is None
        self._start_ns = VIRTUAL_EPOCH_NS if start_ns is None else start_ns
        self._framing = {"down": Framing(SENDER, RECEIVER), "up": Framing(RECEIVER, SENDER)}
        self._packets = 0
        self._last_ns = [0] * len(INTERFACES)
        self._spools: list[BinaryIO] = []
        with self._writing():
            for _ in INTERFACES:
                self._spools.append(tempfile.TemporaryFile(dir=path.parent))  # noqa: SIM115 - open until _discard

    def __enter__(self) -> Tap:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def starts_at(self, start_ns: int) -> None:
        """The session runs by the wall clock and starts then; worlds with a real clock say so.

        Args:
            start_ns: since 1970, in ns.

        Raises:
            LocalProtocolError: there are packets already.
        """
        if self._packets:
            raise LocalProtocolError("the start of a session comes before its packets")
        self._virtual = False
        self._start_ns = start_ns

    def sent(self, direction: str, data: bytes, *, now_ns: int) -> None:
        """An endpoint let a datagram go.

        Args:
            direction: "down" (media, from the sender) or "up" (feedback, from the receiver).
            data: the UDP payload.
            now_ns: since the start of the session.

        Raises:
            LocalProtocolError: no such direction, or an earlier time than the interface's last.
        """
        self._write(direction, data, now_ns, inbound=False)

    def arrived(self, direction: str, data: bytes, *, now_ns: int) -> None:
        """A datagram reached the other endpoint; see `sent`."""
        self._write(direction, data, now_ns, inbound=True)

    def _write(self, direction: str, data: bytes, now_ns: int, *, inbound: bool) -> None:
        ends = _ENDS.get(direction)
        if ends is None:
            raise LocalProtocolError(f"no direction {direction!r}; known: {', '.join(_ENDS)}")
        interface = ends[inbound]
        if now_ns < self._last_ns[interface]:
            raise LocalProtocolError(
                f"interface {INTERFACES[interface]}: {now_ns} ns comes after "
                f"{self._last_ns[interface]} ns"
            )
        packet = self._framing[direction].packet(data)
        time_ns = self._start_ns + now_ns
        block = packet_block(interface, packet, time_ns=time_ns, inbound=inbound)
        self._last_ns[interface] = now_ns
        self._packets += 1
        with self._writing():
            self._spools[interface].write(_NUMBER.pack(self._packets) + block)

    def close(self) -> None:
        """Merge by time and give the file its name; further calls do nothing."""
        if not self._spools:
            return
        unfinished = self.path.with_name(f".{self.path.name}.tmp")
        try:
            with self._writing(), unfinished.open("wb", buffering=_COPY_BYTES) as file:
                comment = comment_of(self._start_ns, virtual=self._virtual)
                file.write(file_header(INTERFACES, comment=comment))
                for block in self._merged():
                    file.write(block)
            with self._writing():
                unfinished.replace(self.path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        finally:
            self._discard()

    def _merged(self) -> Iterator[bytes]:
        """All blocks by time, then by the order of the calls."""
        for spool in self._spools:
            spool.seek(0)
        for _, _, block in heapq.merge(*map(_blocks, self._spools), key=lambda row: row[:2]):
            yield block

    def _discard(self) -> None:
        for spool in self._spools:
            # What is still buffered has no place on a full disk, and no meaning now.
            try:
                spool.close()
            except OSError:
                continue
        self._spools = []

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise OutputError(f"{self.path}: cannot write: {why}") from None


def _blocks(spool: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Time, number of the call, and bytes of every block that waits in a file."""
    while number := spool.read(_NUMBER.size):
        time_ns, block = next_packet_block(spool)
        yield time_ns, _NUMBER.unpack(number)[0], block
