"""What a run folder tells about its session over time: samples, and what was on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from testbed.analysis.metrics.columns import packet_columns
from testbed.analysis.runs import Run
from testbed.live.feed import SAMPLE_NS, Heading, Sample

if TYPE_CHECKING:
    import pandas as pd

#: What frame rates and the frame delay of a sample are taken over.
WINDOW_NS: Final = 1_000_000_000
NEVER: Final = np.iinfo(np.int64).max

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The times of every source frame; `NEVER` stands for never.

    Attributes:
        capture_ns: when the source showed it.
        encode_end_ns: when it came out of the encoder.
        decodable_ns: when it could be decoded.
        render_ns: when it came onto the screen.
        deadline_ns: its playout deadline, counted from its capture.
        shown: it came onto the screen, and in time by its scheme's rules.
    """

    capture_ns: Times
    encode_end_ns: Times
    decodable_ns: Times
    render_ns: Times
    deadline_ns: Times
    shown: npt.NDArray[np.bool_]

    def on_screen(self, at_ns: Times | None = None) -> list[int]:
        """The frame that the viewer sees at each time; -1: none yet.

        This is what a camera in front of both screens would see: frames come later than on the
        source's screen, by the whole latency.

        Args:
            at_ns: the times; None: when each slot begins.
        """
        order = np.argsort(self.render_ns, kind="stable")
        order = order[self.render_ns[order] != NEVER]
        times = self.render_ns[order]
        newest = np.maximum.accumulate(order)
        shown = (
            np.searchsorted(times, self.capture_ns if at_ns is None else at_ns, side="right") - 1
        )
        return [int(newest[at]) if at >= 0 else -1 for at in shown]

    def aligned(self) -> list[int]:
        """For each slot, its own frame, or the last one shown before it; -1: none.

        As pictures are compared for quality (`testbed.worlds.frame_log`): latency is left out.
        """
        shown = np.where(self.render_ns != NEVER, np.arange(self.render_ns.size), -1)
        return [int(frame) for frame in np.maximum.accumulate(shown)]

    def final_ns(self) -> Times:
        """When it is known of each frame what there is of it: it or a later one is decodable."""
        return np.minimum.accumulate(self.decodable_ns[::-1])[::-1]


def timeline(run: Run) -> Timeline:
    """The run's frames.

    Raises:
        BrokenLogError: the table is broken.
    """
    frames = run.timeline
    deadline_ns = round(float(run.cell["playout_deadline_ms"]) * 1e6)
    capture_ns = _times(frames.capture_ns)
    return Timeline(
        capture_ns,
        _times(frames.encode_end_ns),
        _times(frames.decodable_ns),
        _times(frames.render_ns),
        capture_ns + deadline_ns,
        frames.shown,
    )


def _times(values: npt.NDArray[np.float64]) -> Times:
    known = np.isfinite(values)
    times = np.full(values.size, NEVER, np.int64)
    times[known] = values[known].astype(np.int64)
    return times


def heading(run: Run, *, world: str) -> Heading:
    """What is on view of the run; `world` is where it is seen, such as "replay"."""
    cell = run.cell
    control = str(cell.get("control", ""))
    kbps = cell.get("kbps")
    return Heading(
        transport=run.transport,
        clip=str(cell.get("clip", "")),
        trace=str(cell.get("trace", "")),
        loss=str(cell.get("loss", "")),
        control=control if kbps is None else f"{control} {kbps:g} kbps",
        world=world,
        width=int(cell.get("width", 0)),
        height=int(cell.get("height", 0)),
        fps=float(cell["fps"]),
        duration_s=float(cell["duration_s"]),
    )


def samples(run: Run) -> list[Sample]:
    """One sample for every row of the run's control table, in order of time.

    Raises:
        BrokenLogError: a table is broken.
    """
    control = run.control
    at_ns = control["time_ns"].to_numpy(np.int64)
    rows = zip(
        at_ns.tolist(),
        _loss_shares(run, at_ns),
        _queue_bytes(run.link, at_ns),
        _frame_numbers(timeline(run), at_ns),
        control.to_dict("records"),
        strict=True,
    )
    return [
        Sample(
            time_ns=time_ns,
            capacity_kbps=_known(row["capacity_kbps"]),
            sent_kbps=_known(row["sent_kbps"]) or 0.0,
            delivered_kbps=_known(row["delivered_kbps"]) or 0.0,
            target_kbps=_known(row["target_kbps"]),
            estimate_kbps=_known(row["estimate_kbps"]),
            mode=str(row["mode"]),
            state=str(row["controller_state"]),
            loss_share=lost,
            queue_bytes=queue,
            **numbers,
        )
        for time_ns, lost, queue, numbers, row in rows
    ]


def _known(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


def _loss_shares(run: Run, at_ns: Times) -> list[float]:
    """Of the media direction's packets sent in each 100 ms, the share that did not get through."""
    packets = packet_columns(run.packets)
    lost = packets.drop.astype(str) != "none"
    sent = _counts(packets.sent_ns, at_ns, SAMPLE_NS)
    gone = _counts(packets.sent_ns[lost], at_ns, SAMPLE_NS)
    return [float(g / s) if s else 0.0 for g, s in zip(gone, sent, strict=True)]


def _counts(times_ns: npt.NDArray[Any], at_ns: Times, window_ns: int) -> Times:
    """How many of the times lie in the window that ends at each moment, its end left out."""
    ordered = np.sort(times_ns)
    until = np.searchsorted(ordered, at_ns, side="left")
    return until - np.searchsorted(ordered, at_ns - window_ns, side="left")


def spread(times_ns: Times) -> Times:
    """Equal times, of frames that were coded together, spread over the time since those before.

    A second has room for three groups of nine frames or for four; so many frames did not come and
    go.

    Args:
        times_ns: never going back; `NEVER` stands for never.
    """
    ends, counts = np.unique(times_ns[times_ns != NEVER], return_counts=True)
    before = np.concatenate([[0], ends])[:-1]
    parts = [
        end - (end - start) * np.arange(count - 1, -1, -1) // count
        for start, end, count in zip(before, ends, counts, strict=True)
    ]
    return np.concatenate(parts) if parts else times_ns[:0]


def _queue_bytes(link: pd.DataFrame, at_ns: Times) -> list[int | None]:
    down = link[link["direction"] == "down"]
    waiting = dict(
        zip((down["time_ns"] + SAMPLE_NS).tolist(), down["queue_bytes"].tolist(), strict=True)
    )
    return [waiting.get(time_ns) for time_ns in at_ns.tolist()]


def _frame_numbers(frames: Timeline, at_ns: Times) -> Sequence[dict[str, Any]]:
    """The part of the samples that is about frames."""
    # A second that has not passed yet has fewer frames; the rates are those of what has passed.
    seconds = np.minimum(at_ns, WINDOW_NS) / 1e9
    coded = _counts(spread(frames.encode_end_ns), at_ns, WINDOW_NS) / seconds
    rendered = _counts(frames.render_ns, at_ns, WINDOW_NS) / seconds
    late = np.searchsorted(frames.deadline_ns[~frames.shown], at_ns, side="right")
    delay_ms = (frames.decodable_ns - frames.encode_end_ns) / 1e6
    numbers = []
    for index, now_ns in enumerate(at_ns.tolist()):
        recent = (frames.decodable_ns <= now_ns) & (frames.decodable_ns > now_ns - WINDOW_NS)
        numbers.append(
            {
                "coding_fps": float(coded[index]),
                "rendered_fps": float(rendered[index]),
                "late_frames": int(late[index]),
                "frame_delay_ms": float(np.median(delay_ms[recent])) if recent.any() else None,
            }
        )
    return numbers
