"""Processes of a session: started together, watched, and gone when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import InputError, TestbedError, ToolFailedError, ToolMissingError
from testbed.worlds.realtime.children import Children


def answers(pipe: Connection, *, value: int) -> None:
    pipe.send(("news", value))
    pipe.send(("done", value * 2))


def echoes_once(pipe: Connection) -> None:
    """Gets a socket, and sends through it what it was told."""
    pipe.send(("ready", os.getpid()))
    _, epoch_ns, peers = pipe.recv()
    with socket.socket(fileno=recv_handle(pipe)) as made:
        made.sendto(str(epoch_ns).encode(), peers[0])
    pipe.send(("done", None))


def waits(pipe: Connection) -> None:
    pipe.send(("ready", None))
    time.sleep(600)


def refuses(_pipe: Connection) -> None:
    raise InputError("clip: no such thing")


def lacks_a_tool(_pipe: Connection) -> None:
    raise ToolMissingError("vvenc is not there")


def fails_with_a_tool(_pipe: Connection) -> None:
    raise ToolFailedError("ffmpeg: out of luck")


def raises(_pipe: Connection) -> None:
    raise ZeroDivisionError("by accident")


def exits(_pipe: Connection) -> None:
    os._exit(7)


def dies_in_the_middle_of_a_message(pipe: Connection) -> None:
    os.write(pipe.fileno(), b"\0\0\x10\0half of it")
    os._exit(0)


def is_there(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_everybody_is_waited_for_and_news_come_meanwhile() -> None:
    news: list[tuple[str, Any]] = []
    with Children() as children:
        children.start("one", answers, value=1)
        children.start("two", answers, value=2)
        pids = children.pids
        assert all(is_there(pid) for pid in pids.values())
        values = children.expect(
            "done", timeout_s=60, on_news=lambda name, what: news.append((name, what))
        )
    assert values == {"one": 2, "two": 4}
    assert sorted(news) == [("one", 1), ("two", 2)]
    assert not any(is_there(pid) for pid in pids.values())


def test_a_child_gets_its_socket_and_its_moment() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here, Children() as children:
        here.bind(("127.0.0.1", 0))
        here.settimeout(20)
        children.start("it", echoes_once)
        children.expect("ready", timeout_s=60)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
            theirs.bind(("127.0.0.1", 0))
            source = theirs.getsockname()
            children.launch("it", 123_456_789, [(theirs, here.getsockname())])
        assert here.recvfrom(100) == (b"123456789", source)
        children.expect("done", timeout_s=60)


@pytest.mark.parametrize(
    ("main", "kind", "message"),
    [
        (refuses, InputError, "clip: no such thing"),
        (lacks_a_tool, ToolMissingError, "vvenc is not there"),
        (fails_with_a_tool, ToolFailedError, "ffmpeg: out of luck"),
        (raises, ToolFailedError, "the it failed: ZeroDivisionError: by accident"),
        (exits, ToolFailedError, "the it process died (status 7)"),
        (dies_in_the_middle_of_a_message, ToolFailedError, "the it process died (status 0)"),
    ],
)
def test_how_a_child_ends_is_one_line(main: Any, kind: type[TestbedError], message: str) -> None:
    with Children() as children:
        children.start("it", main)
        with pytest.raises(TestbedError) as caught:
            children.expect("done", timeout_s=60)
    assert type(caught.value) is kind
    assert str(caught.value) == message


def test_a_killed_child_is_noticed_while_others_live() -> None:
    with Children() as children:
        children.start("one", waits)
        children.start("two", waits)
        children.expect("ready", timeout_s=60)
        os.kill(children.pids["two"], signal.SIGKILL)
        with pytest.raises(ToolFailedError, match=r"the two process died \(signal 9\)"):
            children.expect("done", timeout_s=60)
        pids = children.pids
    assert not any(is_there(pid) for pid in pids.values())


def test_a_child_that_is_gone_cannot_be_launched() -> None:
    with Children() as children:
        children.start("it", waits)
        children.expect("ready", timeout_s=60)
        os.kill(children.pids["it"], signal.SIGKILL)
        # Until all of its threads are gone, and with them its end of the pipe.
        os.waitid(os.P_PID, children.pids["it"], os.WEXITED | os.WNOWAIT)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made,
            pytest.raises(ToolFailedError, match=r"the it process died \(signal 9\)"),
        ):
            children.launch("it", 0, [(made, ("127.0.0.1", 1))])


def test_silence_is_named() -> None:
    with Children() as children:
        children.start("quiet", waits)
        children.expect("ready", timeout_s=60)
        with pytest.raises(ToolFailedError, match=r"no answer from the quiet after 0\.2 s"):
            children.expect("done", timeout_s=0.2)


def test_who_holds_the_lifeline_is_noticed() -> None:
    here, there = socket.socketpair()
    with here, Children() as children:
        children.start("it", waits)
        children.expect("ready", timeout_s=60)
        there.close()
        with pytest.raises(ToolFailedError, match="the shells are gone"):
            children.expect(
                "done", timeout_s=60,
                lifeline=(here, lambda: ToolFailedError("the shells are gone")),
            )  # fmt: skip


PARENT = """
import sys, time
sys.path[:0] = {path!r}
from test_children import waits
from testbed.worlds.realtime.children import Children
if __name__ == "__main__":
    with Children() as children:
        children.start("one", waits)
        children.start("two", waits)
        children.expect("ready", timeout_s=60)
        print(*children.pids.values(), flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_do_not_outlive_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(path=[str(Path(__file__).parent)]))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(how)
        parent.wait(timeout=30)
    until = time.monotonic() + 30
    while any(is_there(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert not [pid for pid in pids if is_there(pid)]
