"""Sessions between two endpoints on their own, over the authenticated handshake."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import run, session

from testbed.errors import InputError
from testbed.protocol.session import Timeouts, is_control
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import new_loop
from testbed.worlds.realtime.control import InitiatorLoop, SessionEndedError
from testbed.worlds.realtime.offer import Offer
from testbed.worlds.realtime.remote import receive_session, send_session
from testbed.worlds.realtime.udp import Address, UdpPort, udp_socket
from testbed.worlds.session import CompetingSpec, SessionSpec

PSK = b"a key that both sides of a test have"
MS = 1_000_000
#: A sender's questions: HELLO, OFFER, eight times SYNC, START.
HELLO_TO_START = 11
#: Quick about silence, patient enough for a busy machine.
IMPATIENT = Timeouts(phase_ns=1_500 * MS, idle_ns=1_500 * MS)

SCENARIO = """\
name: remote
description: One short session
clips: ["test:testsrc2"]
width: 160
height: 96
fps: 15
duration_s: {seconds}
warmup_s: 0
downlink: {{trace: [constant:2000kbps], delay_ms: 10}}
uplink: {{delay_ms: 10}}
transports: [h264]
rate: {{control: fixed, kbps: 200}}
playout: {{deadline_ms: 400}}
seeds: [1]
quality: []
"""


class Watched(UdpPort):
    """A port that says when a session is agreed on, and when media or feedback comes in."""

    def __init__(self) -> None:
        super().__init__(udp_socket())
        self.streaming = asyncio.Event()
        self.agreed = asyncio.Event()
        self.seen = 0
        self.control = 0

    def receive(self) -> list[tuple[bytes, Address, int]]:
        got = super().receive()
        self.seen += sum(not is_control(data) for data, _, _ in got)
        if self.seen > 3:
            self.streaming.set()
        self.control += sum(is_control(data) for data, _, _ in got)
        if self.control >= HELLO_TO_START:
            self.agreed.set()
        return got


@pytest.fixture
def ports() -> Iterator[tuple[Watched, Watched]]:
    made = Watched(), Watched()
    yield made
    for port in made:
        port.close()


def on_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run it; what a callback lost is an error too."""
    loop = new_loop()
    lost: list[Any] = []
    loop.set_exception_handler(lambda _loop, context: lost.append(context))
    try:
        result = loop.run_until_complete(asyncio.wait_for(work(), 60))
    finally:
        loop.close()
    assert lost == []
    return result


def both(
    ports: tuple[UdpPort, UdpPort], spec: SessionSpec, **more: Any
) -> tuple[dict[str, Any] | BaseException, dict[str, Any] | BaseException]:
    """Sender and receiver on one loop; what each returned or raised."""
    here, there = ports

    async def work() -> Any:
        sending = send_session(
            spec, base=Path.cwd(), psk=more.get("psk", PSK), port=here, peer=there.address,
            timeouts=more.get("timeouts", Timeouts()),
        )  # fmt: skip
        receiving = asyncio.ensure_future(
            receive_session(PSK, there, more.get("timeouts", Timeouts()))
        )
        sent = await asyncio.gather(sending, return_exceptions=True)
        if isinstance(sent[0], BaseException):
            # A receiver that nobody talks to waits for ever.
            done, _ = await asyncio.wait([receiving], timeout=1.0)
            if not done:
                receiving.cancel()
        received = await asyncio.gather(receiving, return_exceptions=True)
        return sent[0], received[0]

    return on_loop(work)


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_a_session_between_two_endpoints(ports: tuple[Watched, Watched], transport: str) -> None:
    spec = session(transport=transport, duration_s=2.0, deadline_ms=1_500)
    sent, received = both(ports, spec)
    assert isinstance(sent, dict), sent
    assert isinstance(received, dict), received
    tables, simulated = run(spec)
    down = tables["packets"][tables["packets"].direction == "down"]
    # Nothing is lost between two sockets of one machine: all frames, and the simulator's stream.
    assert received["frames"] == received["shown"] == 30
    assert received["outcomes"] == {"rendered": 30}
    assert received["rendered_fps"] == pytest.approx(15.0)
    assert max(simulated.displayed) == 29
    assert sent["datagrams"] == received["datagrams"] == len(down)
    assert sent["bytes"] == (down.size_bytes - 32).sum()
    assert sent["feedback_datagrams"] > 10
    assert received["sender"] == {"datagrams": sent["datagrams"], "bytes": sent["bytes"]}
    assert {k: received[k] for k in sent["receiver"]} == sent["receiver"]
    assert received["transport"] == transport
    assert received["peer"] == "{}:{}".format(*ports[0].address)
    # One clock on both sides.
    clocks = sent["clocks"]
    assert abs(clocks["offset_ms"]) <= clocks["bound_ms"]
    assert 0 < clocks["bound_ms"] < 50
    for name in ("strangers", "malformed", "unsent"):
        assert sent[name] == 0
    for name in ("strangers", "malformed", "overflowed"):
        assert received[name] == 0
    json.dumps([sent, received])


def test_the_wrong_key_is_no_answer(ports: tuple[Watched, Watched]) -> None:
    sent, received = both(ports, session(duration_s=0.5), psk=b"x" * 32, timeouts=IMPATIENT)
    assert isinstance(sent, SessionEndedError)
    assert str(sent) == "no answer from the other side (greeting)"
    assert isinstance(received, asyncio.CancelledError)  # it still waits


def test_nobody_there_is_no_answer(ports: tuple[Watched, Watched]) -> None:
    here, there = ports
    address = there.address
    there.close()

    async def work() -> None:
        await send_session(
            session(duration_s=0.5), base=Path.cwd(), psk=PSK, port=here, peer=address,
            timeouts=IMPATIENT,
        )  # fmt: skip

    with pytest.raises(SessionEndedError, match=r"^no answer from the other side \(greeting\)$"):
        on_loop(work)


def test_measured_compute_is_refused_by_a_receiver_without_the_clip(
    ports: tuple[Watched, Watched],
) -> None:
    sent, received = both(ports, session(duration_s=0.5, compute="measured"), timeouts=IMPATIENT)
    assert isinstance(sent, SessionEndedError)
    assert str(sent) == (
        "the receiver refused: compute measured needs the clip, which this side does not have"
    )
    assert isinstance(received, asyncio.CancelledError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transport": "carrier-pigeon"}, "unknown transport 'carrier-pigeon'"),
        ({"format": 99}, "format is 99; this side reads 1"),
        ({"frames": -1}, "frames must be an integer"),
        ({"options": {"x\n\x1b[2Jy": 1}}, "unknown|option"),
    ],
)
def test_a_forged_offer_is_refused_and_the_next_one_is_served(
    ports: tuple[Watched, Watched], changes: dict[str, Any], message: str
) -> None:
    """Its maker has the key, and says what no sender of ours would."""
    here, there = ports
    spec = session(duration_s=0.3, deadline_ms=100)
    good = Offer.of(EndFactory(spec, base=Path.cwd())).as_json()

    async def work() -> Any:
        receiving = asyncio.ensure_future(receive_session(PSK, there))
        forger = UdpPort(udp_socket())
        side = InitiatorLoop(PSK, {**good, **changes}, forger, there.address, IMPATIENT)
        try:
            side.read(True)
            with pytest.raises(SessionEndedError, match=message) as caught:
                await side.until(type(None))  # type: ignore[type-var]
        finally:
            side.close()
            forger.close()
        assert str(caught.value).startswith("the receiver refused: ")
        assert str(caught.value).isprintable()
        sent = await send_session(spec, base=Path.cwd(), psk=PSK, port=here, peer=there.address)
        return sent, await receiving

    sent, received = on_loop(work)
    assert sent["datagrams"] == received["datagrams"] > 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (session(rate={"control": "oracle"}), "rate control oracle knows the capacity"),
        (session(competing=(CompetingSpec("tcp"),)), "competing flows run in the simulator only"),
        (session(transport="carrier-pigeon"), "unknown transport"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(
    ports: tuple[Watched, Watched], spec: SessionSpec, message: str
) -> None:
    here, there = ports

    async def work() -> None:
        await send_session(spec, base=Path.cwd(), psk=PSK, port=here, peer=there.address)

    with pytest.raises(InputError, match=message):
        on_loop(work)
    assert there.receive() == []


def test_a_sender_that_is_cancelled_tells_the_receiver(ports: tuple[Watched, Watched]) -> None:
    here, there = ports

    async def work() -> Any:
        receiving = asyncio.ensure_future(receive_session(PSK, there))
        sending = asyncio.ensure_future(
            send_session(
                session(duration_s=20), base=Path.cwd(), psk=PSK, port=here, peer=there.address
            )
        )
        await there.streaming.wait()
        sending.cancel("interrupted")
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        return await asyncio.gather(receiving, return_exceptions=True)

    (received,) = on_loop(work)
    assert isinstance(received, SessionEndedError)
    assert str(received) == "the other side broke off: interrupted"


def test_a_receiver_that_is_cancelled_tells_the_sender(ports: tuple[Watched, Watched]) -> None:
    here, there = ports

    async def work() -> Any:
        receiving = asyncio.ensure_future(receive_session(PSK, there))
        sending = asyncio.ensure_future(
            send_session(
                session(duration_s=20), base=Path.cwd(), psk=PSK, port=here, peer=there.address
            )
        )
        await here.streaming.wait()
        receiving.cancel("terminated")
        with contextlib.suppress(asyncio.CancelledError):
            await receiving
        return await asyncio.gather(sending, return_exceptions=True)

    (sent,) = on_loop(work)
    assert isinstance(sent, SessionEndedError)
    assert str(sent) == "the other side broke off: terminated"


def test_a_session_broken_off_before_its_start_sends_no_media(
    ports: tuple[Watched, Watched],
) -> None:
    here, there = ports

    async def work() -> Any:
        receiving = asyncio.ensure_future(receive_session(PSK, there))
        sending = asyncio.ensure_future(
            send_session(
                session(duration_s=20), base=Path.cwd(), psk=PSK, port=here, peer=there.address
            )
        )
        await there.agreed.wait()  # half a second before time 0
        receiving.cancel("changed my mind")
        results = await asyncio.gather(sending, receiving, return_exceptions=True)
        await asyncio.sleep(0.7)
        return results

    sent, _ = on_loop(work)
    assert isinstance(sent, SessionEndedError)
    media = [data for data, _, _ in there.receive() if not is_control(data)]
    assert there.seen == 0
    assert media == []


# --- real processes ----------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "key").write_bytes(PSK.hex().encode())
    (tmp_path / "long.yaml").write_text(SCENARIO.format(seconds=20))
    (tmp_path / "short.yaml").write_text(SCENARIO.format(seconds=1))
    return {
        "key": tmp_path / "key",
        "long": tmp_path / "long.yaml",
        "short": tmp_path / "short.yaml",
    }


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "testbed.cli.main", *map(str, arguments)]


async def start(*arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL, env={**os.environ, "TESTBED_KEY": PSK.hex()},
    )  # fmt: skip


def address(port: UdpPort) -> str:
    return "{}:{}".format(*port.address)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sender_tells_the_receiver(
    ports: tuple[Watched, Watched], files: dict[str, Path], how: signal.Signals
) -> None:
    _, there = ports

    async def work() -> Any:
        receiving = asyncio.ensure_future(receive_session(PSK, there))
        sender = await start("send", files["long"], "--to", address(there), "--key", files["key"])
        await there.streaming.wait()
        sender.send_signal(how)
        out, err = await sender.communicate()
        received = await asyncio.gather(receiving, return_exceptions=True)
        return sender.returncode, out.decode(), err.decode(), received[0]

    code, out, err, received = on_loop(work)
    assert code == 130
    assert out == ""
    assert err.count("\n") <= 1
    assert "Traceback" not in err
    assert isinstance(received, SessionEndedError)
    assert "broke off: " in str(received)


def test_a_receiver_that_is_killed_ends_the_sender_in_time(
    ports: tuple[Watched, Watched], files: dict[str, Path]
) -> None:
    here, there = ports
    where = there.address
    there.close()

    async def work() -> Any:
        receiver = await start("receive", "--listen", "{}:{}".format(*where))
        sending = asyncio.ensure_future(
            send_session(
                session(duration_s=30), base=Path.cwd(), psk=PSK, port=here, peer=where,
                timeouts=Timeouts(idle_ns=1_000 * MS, phase_ns=20_000 * MS),
            )
        )  # fmt: skip
        await here.streaming.wait()
        receiver.kill()
        await receiver.communicate()
        return await asyncio.gather(sending, return_exceptions=True)

    (sent,) = on_loop(work)  # 30 s of session, and 60 s is all that a loop gets
    assert isinstance(sent, SessionEndedError)
    assert str(sent) == "no answer from the other side (running)"


def test_two_processes(ports: tuple[Watched, Watched], files: dict[str, Path]) -> None:
    """As in the guide: receive --json here, send there, one session each."""
    _, there = ports
    where = address(there)
    there.close()

    async def work() -> Any:
        receiver = await start("receive", "--listen", where, "--json")
        sender = await start("send", files["short"], "--to", where)
        got = [await sender.communicate(), await receiver.communicate()]
        return got, sender.returncode, receiver.returncode

    ((out, err), (report, complaint)), code, their_code = on_loop(work)
    assert (code, their_code) == (0, 0), (err, complaint)
    assert b"the receiver showed 15 of 15 frames" in out
    summary = json.loads(report)
    assert summary["shown"] == summary["frames"] == 15
    assert summary["sender"]["datagrams"] == summary["datagrams"]
