"""The processes of a session in real time: started together, watched, and gone when it ends.

A child lives no longer than its parent, however that ends: it waits for it in a thread. The
parent notices at once when a child dies.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle
from types import TracebackType
from typing import Any, Final

from testbed import errors
from testbed.errors import InputError, TestbedError, ToolFailedError
from testbed.workers import sigint_blocked
from testbed.worlds.realtime.udp import Address

#: How long a child may take to import what it needs and to make its endpoint.
START_S: Final = 120.0
#: How long it may take after the session to hand over what it remembers.
END_S: Final = 60.0
#: Exit status of a child whose parent is gone.
_ORPHANED: Final = 3

#: What runs in a child: gets its end of the pipe and its arguments.
Main = Callable[..., None]


class Child:
    """One process with a pipe to it.

    Args:
        name: for messages ("sender").
        main: a function of a module; called as `main(connection, **arguments)`.
        arguments: what it gets.
    """

    def __init__(self, name: str, main: Main, arguments: Mapping[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_run,
            args=(main, theirs, dict(arguments)),
            name=f"testbed-{name}",
            daemon=True,  # an interpreter that ends does not wait for it
        )
        with sigint_blocked():
            self.process.start()
        theirs.close()

    def end(self) -> None:
        """Kill it if it is still there, and reap it."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


def _run(main: Main, pipe: Connection, arguments: dict[str, Any]) -> None:
    end_with_parent()
    try:
        main(pipe, **arguments)
    except TestbedError as error:
        pipe.send(("failed", type(error).__name__, str(error), ""))
    except Exception as error:
        pipe.send(("failed", type(error).__name__, str(error), traceback.format_exc()))


def end_with_parent() -> None:
    """Do not outlive the process that started this one."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os._exit(_ORPHANED)

    threading.Thread(target=follow, daemon=True).start()


class Children:
    """The processes of one session; use as a context manager."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for child in self._children.values():
            child.end()

    def start(self, name: str, main: Main, **arguments: Any) -> None:
        """Start a process; see `Child`."""
        self._children[name] = Child(name, main, arguments)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: child.process.pid or 0 for name, child in self._children.items()}

    def launch(
        self, name: str, epoch_ns: int, ends: Sequence[tuple[socket.socket, Address]]
    ) -> None:
        """Hand a process its sockets, each with the address it talks to, and let it start.

        Raises:
            ToolFailedError: it is gone.
        """
        child = self._children[name]
        try:
            child.pipe.send(("start", epoch_ns, [peer for _, peer in ends]))
            for made, _ in ends:
                send_handle(child.pipe, made.fileno(), child.process.pid)
        except OSError:
            raise _died(child) from None

    def tell(self, name: str, message: tuple[Any, ...]) -> None:
        """Send a message to the child called `name`.

        Raises:
            ToolFailedError: it is gone.
        """
        child = self._children[name]
        try:
            child.pipe.send(message)
        except OSError:
            raise _died(child) from None

    def expect(
        self, tag: str, *, timeout_s: float,
        on_news: Callable[[str, tuple[Any, ...]], None] | None = None,
        lifeline: tuple[socket.socket | int, Callable[[], TestbedError]] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Wait until every child has sent (tag, value).

        Args:
            tag: what to wait for.
            timeout_s: for all of them together.
            on_news: is told of what comes meanwhile as ("news", what), as (child's name, what).
            lifeline: of somebody else who must live: a socket or handle that has something to read
                once it is gone, and what is raised then.

        Returns:
            The values by name.

        Raises:
            ToolFailedError: a child died, failed, or did not answer in time.
            TestbedError: what a child raised itself.
        """
        until = time.monotonic() + timeout_s
        values: dict[str, Any] = {}
        while len(values) < len(self._children):
            waiting = {c.pipe: c for n, c in self._children.items() if n not in values}
            others = [] if lifeline is None else [lifeline[0]]
            ready = wait([*waiting, *others], timeout=max(0.0, until - time.monotonic()))
            if not ready:
                missing = ", ".join(sorted(set(self._children) - set(values)))
                raise ToolFailedError(f"no answer from the {missing} after {timeout_s:g} s")
            if lifeline is not None and lifeline[0] in ready:
                raise lifeline[1]()
            for child in (one for pipe, one in waiting.items() if pipe in ready):
                message = _receive(child)
                if message[0] == tag:
                    values[child.name] = message[1]
                elif message[0] == "news" and on_news is not None:
                    on_news(child.name, message[1])
        return values


def _receive(child: Child) -> tuple[Any, ...]:
    try:
        message: tuple[Any, ...] = child.pipe.recv()
    except (EOFError, OSError):
        raise _died(child) from None
    if message[0] == "failed":
        _, kind, text, details = message
        if not details:
            raise _own_error(kind, text)
        raise ToolFailedError(f"the {child.name} failed: {kind}: {text}")
    return message


def _own_error(kind: str, text: str) -> TestbedError:
    """One of our errors again; user's input is what most of them are about."""
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, TestbedError):
        return found(text)
    return InputError(text)


def _died(child: Child) -> ToolFailedError:
    child.process.join(timeout=5.0)
    status = child.process.exitcode
    how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
    return ToolFailedError(f"the {child.name} process died ({how})")
