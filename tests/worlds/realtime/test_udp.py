"""The UDP port on real sockets."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator

import pytest

from testbed.worlds.realtime.udp import LARGEST_BYTES, Address, UdpPort, udp_socket


@pytest.fixture
def ports() -> Iterator[tuple[UdpPort, UdpPort]]:
    made = UdpPort(udp_socket()), UdpPort(udp_socket())
    yield made
    for port in made:
        port.close()


def read_all(port: UdpPort) -> list[tuple[bytes, Address, int]]:
    """Everything that is there, waiting a moment for the first of it."""
    select.select([port.socket], [], [], 2.0)
    found = []
    while got := port.receive():
        found += got
    return found


def closed_address() -> Address:
    """An address that nobody listens at."""
    made = udp_socket()
    host, number = made.getsockname()
    made.close()
    return host, number


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, LARGEST_BYTES])
def test_any_payload_arrives_whole(ports: tuple[UdpPort, UdpPort], size: int) -> None:
    here, there = ports
    data = os.urandom(size)
    assert here.send(data, there.address)
    ((got, source, stamp_ns),) = read_all(there)
    assert got == data
    assert source == here.address
    assert stamp_ns > 0


def test_stamps_never_go_back(ports: tuple[UdpPort, UdpPort]) -> None:
    here, there = ports
    for number in range(200):
        here.send(number.to_bytes(2, "big"), there.address)
    got = read_all(there)
    assert [int.from_bytes(data, "big") for data, _, _ in got] == list(range(200))
    stamps = [stamp for _, _, stamp in got]
    assert stamps == sorted(stamps)
    assert there.overflowed == 0


def test_the_first_datagram_of_all_is_stamped_as_it_arrives() -> None:
    """The kernel begins to stamp some time after the machine's first socket has asked for it."""
    for _ in range(5):
        time.sleep(0.2)  # closed sockets are forgotten late; with the last of them stamping ends
        port = UdpPort(udp_socket())
        try:
            port.send(b"first", port.address)
            sent_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            time.sleep(0.05)
            ((_, _, stamp_ns),) = port.receive()
            assert stamp_ns - sent_ns < 25_000_000
        finally:
            port.close()


def test_timers_get_their_turn_under_a_flood(ports: tuple[UdpPort, UdpPort]) -> None:
    here, there = ports
    for _ in range(200):
        here.send(b"x", there.address)
    select.select([there.socket], [], [], 2.0)
    assert 0 < len(there.receive()) < 200


def test_what_nobody_reads_in_time_is_counted(ports: tuple[UdpPort, UdpPort]) -> None:
    here, there = ports
    there.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(500):
        assert here.send(bytes(1000), there.address)  # UDP does not tell the sender
    kept = len(read_all(there))
    assert 0 < kept < 500
    assert there.overflowed == 0  # the kernel says it with the next datagram
    here.send(b"one more", there.address)
    assert [data for data, _, _ in read_all(there)] == [b"one more"]
    assert there.overflowed == 500 - kept
    here.send(b"and again", there.address)
    read_all(there)
    assert there.overflowed == 500 - kept  # a total, not an increase


def test_what_the_kernel_refuses_is_counted(ports: tuple[UdpPort, UdpPort]) -> None:
    here, there = ports
    assert not here.send(bytes(LARGEST_BYTES + 1), there.address)  # EMSGSIZE
    assert not here.send(b"x", ("127.0.0.1", 0))  # EINVAL
    assert here.refused == 2
    assert here.send(b"still good", there.address)
    assert [data for data, _, _ in read_all(there)] == [b"still good"]
    assert here.refused == 2


def test_an_icmp_error_is_survived() -> None:
    """Only a connected socket is told of "port unreachable", so this one is."""
    made = udp_socket()
    nobody = closed_address()
    made.connect(nobody)
    port = UdpPort(made)
    try:
        assert port.send(b"to nobody", nobody)
        time.sleep(0.05)
        assert port.receive() == []  # reads the error, and goes on
        assert port.send(b"to nobody", nobody)  # the error has been taken
        time.sleep(0.05)
        assert not port.send(b"to nobody", nobody)  # this time the sending call gets it
        assert port.refused == 1
    finally:
        port.close()


def test_nobody_there_does_not_disturb_a_port_for_all(ports: tuple[UdpPort, UdpPort]) -> None:
    here, there = ports
    nobody = closed_address()
    for _ in range(20):
        assert here.send(b"to nobody", nobody)
        assert here.send(b"to somebody", there.address)
        assert there.send(b"back", here.address)
    assert len(read_all(there)) == 20
    assert len(read_all(here)) == 20
    assert here.refused == 0


def test_an_address_in_use_is_an_error_and_leaks_nothing(ports: tuple[UdpPort, UdpPort]) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(OSError, match="in use"):
        udp_socket(*ports[0].address)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
