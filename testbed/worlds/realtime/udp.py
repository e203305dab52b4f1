"""A UDP socket with what a measurement wants: kernel time stamps, and a count of what it lost."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Final

from testbed.worlds.realtime.port import Address

__all__ = ["LARGEST_BYTES", "Address", "UdpPort", "udp_socket"]

#: linux/socket.h; Python has no names for them. They are the same on x86, ARM and RISC-V.
_SO_TIMESTAMPNS: Final = 35
_SO_RXQ_OVFL: Final = 40
_TIMESPEC: Final = struct.Struct("@qq")
_COUNT: Final = struct.Struct("@I")
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(_COUNT.size)
#: The largest UDP payload over IPv4.
LARGEST_BYTES: Final = 65_507
#: Seconds of a fast stream; the kernel takes what it allows.
_BUFFER_BYTES: Final = 8 << 20
#: How long the kernel may take to begin stamping, and how long a datagram lies before it is read.
_STAMPING_S: Final = 0.25
_LIES_S: Final = 0.0005
#: Datagrams read at a time, so that timers get their turn under a flood.
_AT_ONCE: Final = 64


class UdpPort:
    """A bound socket, not blocking.

    Args:
        made: the socket; this object owns it from now on.

    Attributes:
        overflowed: datagrams that the kernel dropped because nobody read them in time.
    """

    def __init__(self, made: socket.socket) -> None:
        made.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        _until_stamping()
        self.socket = made
        self.overflowed = 0
        self.refused = 0

    @property
    def address(self) -> Address:
        """What it is bound to."""
        host, port = self.socket.getsockname()[:2]
        return host, port

    def send(self, data: bytes, to: Address) -> bool:
        """Send at once; False where the kernel would not take it."""
        try:
            self.socket.sendto(data, to)
        except OSError:  # a full buffer, or an ICMP error of an earlier datagram
            self.refused += 1
            return False
        return True

    def receive(self) -> list[tuple[bytes, Address, int]]:
        """What has arrived, as (payload, from whom, CLOCK_REALTIME stamp or 0)."""
        got: list[tuple[bytes, Address, int]] = []
        for _ in range(_AT_ONCE):
            try:
                data, ancillary, _, source = self.socket.recvmsg(LARGEST_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error of something that we sent; the next read may work
                continue
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                    self.overflowed = _COUNT.unpack_from(value)[0]
            got.append((data, source[:2], _stamp_ns(ancillary)))
        return got

    def attach(self, loop: AbstractEventLoop, readable: Callable[[], None]) -> None:
        """See `Port`."""
        loop.add_reader(self.socket, readable)

    def detach(self, loop: AbstractEventLoop) -> None:
        """See `Port`."""
        loop.remove_reader(self.socket)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """CLOCK_REALTIME at which the kernel took the datagram; 0 where it does not say."""
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            return int(seconds * 10**9 + nanoseconds)
    return 0


def _until_stamping() -> None:
    """Wait until datagrams are stamped as they arrive; call it with a socket that asked for that.

    The kernel stamps for the whole machine or not at all, and begins a moment after the first
    socket asks (a work queue patches the code: net_enable_timestamp in net/core/dev.c). What
    arrives before that is stamped as it is read, which may be much later.
    """
    with (
        contextlib.suppress(OSError),  # no loopback here: the first stamps are what they are
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        probe.setblocking(False)
        probe.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        probe.bind(("127.0.0.1", 0))
        end = time.monotonic() + _STAMPING_S
        while time.monotonic() < end:
            probe.sendto(b"", probe.getsockname())
            time.sleep(_LIES_S)
            reading_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            with contextlib.suppress(BlockingIOError):  # not even there yet
                if 0 < _stamp_ns(probe.recvmsg(1, _ANCILLARY_BYTES)[1]) < reading_ns:
                    return


def udp_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket bound to an address; port 0 takes any that is free.

    Raises:
        OSError: the address cannot be used.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
