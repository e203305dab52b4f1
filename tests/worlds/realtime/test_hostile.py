"""Anybody may send anything to a session's sockets while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import MemorySink, path, run, session

from testbed.protocol.endpoint import Datagram
from testbed.protocol.session import is_control
from testbed.worlds import direction as direction_module
from testbed.worlds.realtime import world
from testbed.worlds.realtime.children import Children
from testbed.worlds.realtime.clock import new_loop
from testbed.worlds.realtime.remote import receive_session, send_session
from testbed.worlds.realtime.udp import Address, UdpPort, udp_socket
from testbed.worlds.session import SessionResult, SessionSpec

pytestmark = pytest.mark.slow

PSK = b"a key that both sides of a test have"
EACH = 10_000
#: Datagrams to each target at a time, and between two times; a socket's buffer holds some hundreds.
BURST = 16
PAUSE_S = 0.002
#: What a process may grow by while it is flooded: what it remembers of its own session.
GROWTH_KIB = 6 * 1024


def real_datagrams(monkeypatch: pytest.MonkeyPatch, spec: SessionSpec) -> list[bytes]:
    """What a simulated session sends, in both directions."""
    found: list[bytes] = []
    real = direction_module.Direction.send

    def send(self: Any, datagrams: list[Datagram], *, now_ns: int) -> None:
        found.extend(one.data for one in datagrams)
        real(self, datagrams, now_ns=now_ns)

    with monkeypatch.context() as patch:
        patch.setattr(direction_module.Direction, "send", send)
        run(spec)
    return found


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A copy with something wrong: bits, its length, a piece of it, or (seldom) nothing at all."""
    copy = bytearray(data)
    for _ in range(rng.randrange(4)):
        if copy:
            copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
    kind = rng.randrange(4)
    if kind == 0:
        return bytes(copy[: rng.randrange(len(copy) + 1)])
    if kind == 1:
        return bytes(copy) + rng.randbytes(rng.randrange(40))
    return bytes(copy)


def random_bytes(rng: random.Random) -> bytes:
    size = rng.choice((0, 1, 4, 12, rng.randrange(64), rng.randrange(1473)))
    data = bytearray(rng.randbytes(size))
    if data and rng.random() < 0.5:
        data[0] = 0x80 | data[0] & 0x3F  # RTP and RTCP say version 2
    return bytes(data)


Make = Callable[[random.Random], bytes]


class Flood(threading.Thread):
    """Sends so many of each kind over each way, with pauses.

    Args:
        ways: (socket, target).
        kinds: what makes a datagram.
    """

    def __init__(
        self, ways: Sequence[tuple[socket.socket, Address]], kinds: Sequence[Make]
    ) -> None:
        super().__init__(daemon=True)
        self.ways, self.kinds = ways, kinds
        self.sent = 0  # over each way
        self.before: dict[int, int] = {}
        self.after: dict[int, int] = {}
        self.pids: list[int] = []

    def run(self) -> None:
        rng = random.Random(1)
        self.before = {pid: resident_kib(pid) for pid in self.pids}
        while self.sent < EACH * len(self.kinds):
            for _ in range(BURST):
                make = self.kinds[self.sent % len(self.kinds)]
                for from_socket, target in self.ways:
                    from_socket.sendto(make(rng), target)
                self.sent += 1
            time.sleep(PAUSE_S)
        self.after = {pid: resident_kib(pid) for pid in self.pids}

    def check_memory(self) -> None:
        """Every process is as large as before."""
        assert self.before
        for pid, kib in self.before.items():
            assert self.after[pid] - kib < GROWTH_KIB


def resident_kib(pid: int) -> int:
    (line,) = [
        one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in one
    ]
    return int(line.split()[1])


# --- the relay world ---------------------------------------------------------------------------


class Inside:
    """A relay session's sockets and processes, seen from outside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sockets: dict[str, socket.socket] = {}
        self.pids: dict[str, int] = {}
        self.flood: Flood | None = None
        self.start: Callable[[Inside], Flood] | None = None
        sockets, launch = world.relay_sockets, Children.launch

        @contextlib.contextmanager
        def known() -> Iterator[dict[str, socket.socket]]:
            with sockets() as self.sockets:
                try:
                    yield self.sockets
                finally:
                    if self.flood is not None:
                        self.flood.join()

        def launched(children: Children, name: str, epoch_ns: int, ends: Any) -> None:
            launch(children, name, epoch_ns, ends)
            if name == "sender" and self.start is not None:
                self.flood = self.start(self)
                self.flood.pids = list(children.pids.values())
                threading.Timer(0.6, self.flood.start).start()  # once the session runs

        monkeypatch.setattr(world, "relay_sockets", known)
        monkeypatch.setattr(Children, "launch", launched)


def run_relay(
    spec: SessionSpec, inside: Inside, start: Callable[[Inside], Flood]
) -> tuple[dict[str, pd.DataFrame], SessionResult, Flood]:
    """A session under a flood. A machine that is too slow for the flood itself loses datagrams in
    its kernel, and says so; then it is tried again."""
    inside.start = start
    for tries_left in (2, 1, 0):
        sink = MemorySink()
        try:
            result = world.run_relay_session(spec, sink, base=Path.cwd())
        except world.MachineBusyError:
            if not tries_left:
                raise
            continue
        assert inside.flood is not None
        return sink.tables(), result, inside.flood
    raise AssertionError


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    made = udp_socket()
    yield made
    made.close()


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Inside:
    monkeypatch.setenv(world.BUSY_VARIABLE, "10000")
    return Inside(monkeypatch)


def relay_spec(*, transport: str, seconds: float) -> SessionSpec:
    """Long enough for the flood; a far deadline, as lateness is not the point."""
    clean = path(kbps=5_000, delay_ms=10, packets=None)
    return session(
        transport=transport, down=clean, up=clean, duration_s=seconds, deadline_ms=2_000,
        options={"retransmission": False},
    )  # fmt: skip


def test_strangers_at_every_socket_of_a_relay_session(
    monkeypatch: pytest.MonkeyPatch, inside: Inside, stranger: socket.socket
) -> None:
    spec = relay_spec(transport="h264", seconds=5.0)
    known = real_datagrams(monkeypatch, spec)

    def flood(seen: Inside) -> Flood:
        ways = [(stranger, made.getsockname()) for made in seen.sockets.values()]
        return Flood(ways, [random_bytes, lambda rng: mutated(rng, rng.choice(known))])

    ours, simulated = run(spec)
    theirs, emulated, sent = run_relay(spec, inside, flood)
    assert sent.sent == 2 * EACH
    facts = emulated.facts["realtime"]
    counts = (facts["strangers"]["sender"], facts["strangers"]["receiver"])
    network = facts["network"]
    # What the kernel had no room for was nobody's; nothing of the session is missing.
    assert network["strangers"] + network["overflowed"] == 2 * sent.sent
    assert all(0.9 * sent.sent <= count <= sent.sent for count in counts)
    assert emulated.displayed == simulated.displayed
    assert theirs["frames"].outcome.tolist() == ours["frames"].outcome.tolist()
    assert len(theirs["packets"].query("direction == 'down'")) == len(
        ours["packets"].query("direction == 'down'")
    )
    sent.check_memory()


def test_garbage_from_the_peers_own_address(inside: Inside) -> None:
    """Somebody forges the address; the parent's copies of the relay's sockets do it here."""

    def flood(seen: Inside) -> Flood:
        made = seen.sockets
        ways = [
            (made["near"], made["sender"].getsockname()),
            (made["far"], made["receiver"].getsockname()),
        ]
        return Flood(ways, [random_bytes])

    spec = relay_spec(transport="morphe", seconds=3.0)
    ours, simulated = run(spec)
    theirs, emulated, sent = run_relay(spec, inside, flood)
    assert sent.sent == EACH
    assert emulated.displayed == simulated.displayed
    assert theirs["frames"].outcome.tolist() == ours["frames"].outcome.tolist()
    assert emulated.facts["realtime"]["strangers"] == {"sender": 0, "receiver": 0}
    assert 0.9 * EACH <= emulated.facts["receiver"]["malformed"] <= EACH
    sent.check_memory()


# --- send and receive ---------------------------------------------------------------------------


class Remembering(UdpPort):
    """Keeps the control messages of a session, and says when media comes in."""

    def __init__(self) -> None:
        super().__init__(udp_socket())
        self.control: list[bytes] = []
        self.streaming = asyncio.Event()

    def receive(self) -> list[tuple[bytes, Address, int]]:
        got = super().receive()
        if not self.streaming.is_set():
            self.control += [data for data, _, _ in got if is_control(data)]
            if any(not is_control(data) for data, _, _ in got):
                self.streaming.set()
        return got


@pytest.fixture
def ports() -> Iterator[tuple[Remembering, Remembering]]:
    made = Remembering(), Remembering()
    yield made
    for port in made:
        port.close()


def flooded(
    ports: tuple[Remembering, Remembering], make_flood: Callable[[], Flood], *, seconds: float
) -> tuple[dict[str, Any], dict[str, Any], Flood]:
    """Both endpoints on one loop, and a flood from the first media on."""
    here, there = ports
    lost: list[Any] = []

    async def work() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, what: lost.append(what))
        receiving = asyncio.ensure_future(receive_session(PSK, there))
        spec = session(duration_s=seconds, deadline_ms=2_000, options={"retransmission": False})
        sending = asyncio.ensure_future(
            send_session(spec, base=Path.cwd(), psk=PSK, port=here, peer=there.address)
        )
        await here.streaming.wait()
        flood = make_flood()
        flood.pids = [os.getpid()]
        flood.start()
        results = await asyncio.gather(sending, receiving)
        await asyncio.to_thread(flood.join)
        return (*results, flood)

    loop = new_loop()
    try:
        result: tuple[dict[str, Any], dict[str, Any], Flood] = loop.run_until_complete(
            asyncio.wait_for(work(), 90)
        )
    finally:
        loop.close()
    assert lost == []
    return result


def test_strangers_at_both_ends_of_a_session(
    monkeypatch: pytest.MonkeyPatch,
    ports: tuple[Remembering, Remembering],
    stranger: socket.socket,
) -> None:
    known = real_datagrams(monkeypatch, session())

    def flood() -> Flood:
        messages = [*ports[0].control, *ports[1].control]
        assert len(messages) > 10
        ways = [(stranger, port.address) for port in ports]
        return Flood(
            ways,
            [random_bytes, lambda rng: mutated(rng, rng.choice(rng.choice((known, messages))))],
        )

    sent, received, made = flooded(ports, flood, seconds=5.0)
    assert made.sent == 2 * EACH
    assert received["outcomes"] == {"rendered": 75}
    assert sent["malformed"] == received["malformed"] == 0
    assert received["datagrams"] == sent["datagrams"]
    # A control message may come from anywhere; it is counted by what is wrong with it.
    for summary in (sent, received):
        counted = summary["strangers"] + sum(summary["ignored_control"].values())
        assert 0.9 * made.sent <= counted <= made.sent + 2
        assert summary["strangers"] > EACH
    assert sum(received["ignored_control"].values()) > 0.4 * EACH
    made.check_memory()


def test_garbage_from_the_other_ends_own_address(ports: tuple[Remembering, Remembering]) -> None:
    here, there = ports

    def flood() -> Flood:
        ways = [(here.socket, there.address), (there.socket, here.address)]
        return Flood(ways, [random_bytes])

    sent, received, made = flooded(ports, flood, seconds=3.0)
    assert made.sent == EACH
    assert received["outcomes"] == {"rendered": 45}
    for summary in (sent, received):
        assert summary["strangers"] == 0
        assert 0.9 * EACH <= summary["malformed"] <= EACH
    assert received["datagrams"] > sent["datagrams"] + 0.9 * EACH
    made.check_memory()
