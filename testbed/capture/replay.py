"""What arrived at the receiver, out of a session's capture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from testbed.capture.datagram import RECEIVER
from testbed.capture.links import udp_in
from testbed.capture.reading import open_capture
from testbed.capture.tap import INTERFACES, session_start_ns
from testbed.errors import InputError


def arrivals(path: Path) -> Iterator[tuple[int, bytes]]:
    """The datagrams of direction "down" that reached the receiver, in order.

    Args:
        path: a capture that `testbed.capture.tap.Tap` wrote.

    Yields:
        Time of arrival in ns since the start of the session, and the UDP payload.

    Raises:
        InputError: it cannot be read, or is not the capture of a session.
    """
    with open_capture(path) as capture:
        start_ns = session_start_ns(capture.comments)
        if start_ns is None:
            raise InputError(
                f"{path}: not the capture of a session; `testbed run --capture` makes one"
            )
        for packet in capture:
            if packet.interface != INTERFACES[1] or packet.time_ns is None:
                continue
            datagram = udp_in(packet.link_type, packet.data)
            if datagram is None or (datagram.destination, datagram.destination_port) != (
                RECEIVER.address,
                RECEIVER.port,
            ):
                continue
            yield packet.time_ns - start_ns, datagram.payload
