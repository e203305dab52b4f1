"""`testbed play RUN`: a run as a video, or as a still of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import Base, Quiet

if TYPE_CHECKING:
    from collections.abc import Callable


def play(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder: one of DIR/runs of `testbed run`.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Video (.mp4, .mkv, .webm), or still (.png, .jpg)."
        ),
    ],
    frame: Annotated[
        int | None,
        typer.Option("--frame", metavar="N", help="Only slot N, counted from 0, as a still."),
    ] = None,
    aligned: Annotated[
        bool,
        typer.Option(
            "--aligned",
            help="Beside each source frame what was seen of it, without the time in between.",
        ),
    ] = False,
    base: Base = None,
    quiet: Quiet = False,
) -> None:
    """Write what a run looked like: source left, received right, the curves below.

    The received pictures come from the run's capture (`testbed run --capture`). Without one, a run
    of the simulator is run again from its manifest.
    """
    from testbed.live.compose import write_still, write_video
    from testbed.live.recording import open_recording

    recording = open_recording(folder, base=base)
    if frame is not None:
        write_still(recording, out, frame, aligned=aligned)
        print(f"{out}: frame {frame}")
        return
    total = recording.clip.frame_count
    progress = _silence if quiet or not sys.stderr.isatty() else _counter(total)
    count = write_video(recording, out, aligned=aligned, progress=progress)
    print(f"{out}: {count} frames at {float(recording.clip.fps):g} fps")


def _silence(_slot: int) -> None:
    """No progress."""


def _counter(total: int) -> Callable[[int], None]:
    """A line on the terminal that counts up."""

    def count(slot: int) -> None:
        end = "\n" if slot == total - 1 else ""
        print(f"\rframe {slot + 1} of {total}", end=end, file=sys.stderr, flush=True)

    return count
