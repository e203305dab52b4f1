"""Worlds that cost nothing, for tests of what stands around them.

Worker processes import this file by name, so the tests put its folder on the path.
"""

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from testbed.errors import ClipError
from testbed.media.types import ReceivedFrame
from testbed.randomness import generator
from testbed.worlds.session import SessionResult, SessionSpec, TableSink

FRAME_NS = 33_333_333
PACKET_BYTES = 1000 + 32


class FakeClip:
    """As much of a clip as a suite looks at."""

    width, height = 64, 36
    fps = Fraction(30)
    frame_count = 60
    sha256 = "c1" * 32
    looped = False

    def facts(self) -> dict[str, Any]:
        return {"name": "fake", "licence": "none", "looped": False}


def open_clip(spec: Any, *, base: Path) -> FakeClip:
    """In place of `testbed.media.clips.open_clip`."""
    if spec.source == "missing":
        raise ClipError(f"{spec.source}: no such clip")
    return FakeClip()


def good(spec: SessionSpec, sink: TableSink, *, base: Path) -> SessionResult:
    """Every frame is one packet; the seed decides which are lost."""
    rng = generator(spec.seed, "down/loss/0")
    count = round(spec.clip.duration_s * 30)
    lost = rng.random(count) < 0.1
    frames, packets, displayed = [], [], []
    shown = -1
    for index in range(count):
        now = index * FRAME_NS
        arrival = None if lost[index] else now + 50_000_000
        shown = shown if lost[index] else index
        displayed.append(shown)
        frames.append(
            (
                index, 0, index == 0, now, now, now, now, now, arrival, arrival, arrival, arrival,
                "undecodable" if lost[index] else "rendered", "loss" if lost[index] else "",
                spec.transport, 400.0, 960, 40, 0, 0, 1, int(lost[index]),
            )
        )  # fmt: skip
        packets.append(
            (
                "down", index, "media", index, PACKET_BYTES, now, now, now + 1000, arrival,
                "loss" if lost[index] else "none", None,
            )
        )  # fmt: skip
    sink.append("frames", frames)
    sink.append("packets", packets)
    bins = round(spec.clip.duration_s * 10)
    per_bin = np.bincount([p[7] // 100_000_000 for p in packets], minlength=bins + 1)
    for index in range(bins):
        start = index * 100_000_000
        delivered = int(per_bin[index]) * PACKET_BYTES
        sink.append(
            "link",
            [
                (start, "down", 25_000, delivered, 0, 0, 0, 0),
                (start, "up", 25_000, 0, 0, 0, 0, 0),
            ],
        )
        row = (start + 100_000_000, 400.0, 100.0, 0.1, "fixed", spec.transport, 400.0)
        sink.append("control", [(*row, 240.0, 250.0, 225.0, 2000.0)])
    received = [ReceivedFrame(i, i == 0, b"", complete=not lost[i]) for i in range(count)]
    return SessionResult(
        received, displayed, "h264", facts={"loss_down": {"lost": int(lost.sum())}}
    )


def fails_on_seed_2(spec: SessionSpec, sink: TableSink, *, base: Path) -> SessionResult:
    """Raises after some rows have been written."""
    result = good(spec, sink, base=base)
    if spec.seed == 2:
        raise RuntimeError("this cell\nfails")
    return result


def dies_on_seed_2(spec: SessionSpec, sink: TableSink, *, base: Path) -> SessionResult:
    """The process is gone, as after a segmentation fault or the kernel's memory killer."""
    if spec.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return good(spec, sink, base=base)


def waits_on_seed_3(spec: SessionSpec, sink: TableSink, *, base: Path) -> SessionResult:
    """Never comes back, nor does the process that it starts."""
    if spec.seed == 3:
        child = subprocess.Popen(["tail", "-f", "/dev/null"])
        sys.stderr.write(f"child {child.pid}\n")
        sys.stderr.flush()
        child.wait()
    return good(spec, sink, base=base)


def fills_the_disk(spec: SessionSpec, sink: TableSink, *, base: Path) -> SessionResult:
    """Writes random bytes until something gives."""
    rng = np.random.default_rng(spec.seed)
    while True:
        numbers = rng.integers(0, 1 << 62, 8192).tolist()
        sink.append(
            "packets",
            [("down", n, "media", 1, 1000, n, n, n, n, "none", n) for n in numbers],
        )
