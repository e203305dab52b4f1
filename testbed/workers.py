"""Worker processes that end with their parent, and with Ctrl-C at once.

Used for everything that runs many sessions or clips side by side.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess


@contextmanager
def worker_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned workers that is gone when the block ends, however it ends."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            _end(child)
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown(wait=True, cancel_futures=True)


def _end(worker: BaseProcess) -> None:
    """End a worker together with the encoders that it started."""
    if worker.pid is None:
        return
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:  # not yet the leader of a group
        worker.kill()


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Hold Ctrl-C back while a process starts; it inherits what is blocked.

    The parent gets it at the end of the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """Leave the terminal's Ctrl-C to the parent, and do not outlive it.

    As the leader of its own process group a worker can be ended together with its encoders, by the
    parent or, when that was killed, by itself.
    """
    os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os.killpg(0, signal.SIGKILL)

        threading.Thread(target=follow, daemon=True).start()
