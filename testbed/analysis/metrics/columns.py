"""The run tables as checked arrays: where a broken log is caught.

Times come out as float64 nanoseconds with NaN for null; float64 holds integers exactly up to
2^53 ns, 104 days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from testbed.errors import BrokenLogError
from testbed.network.packet import LINK_OVERHEAD_BYTES, TUN_HEADER_BYTES
from testbed.tables import DROPS, OUTCOMES, QUALITY

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.object_]

#: Outcomes in which the frame came onto the screen in time.
SHOWN_OUTCOMES = ("rendered", "concealed")
DIRECTIONS = ("down", "up")


@dataclass(frozen=True, slots=True)
class Session:
    """What the metrics need to know from the manifest.

    Attributes:
        fps: frames a second of the source.
        duration_s: media duration, `frames / fps`.
        deadline_ms: playout deadline after capture.
        warmup_s: start of the run that wire metrics leave out.
    """

    fps: float
    duration_s: float
    deadline_ms: float
    warmup_s: float


@dataclass(frozen=True, slots=True)
class Frames:
    """`frames.parquet`, one entry a source frame."""

    capture_ns: Floats
    encode_end_ns: Floats
    decodable_ns: Floats
    render_ns: Floats
    outcome: Texts
    mode: Texts  # "": the scheme named none
    shown: Bools
    target_kbps: Floats
    media_bytes: Ints
    header_bytes: Ints
    quality: Mapping[str, Floats]

    @property
    def count(self) -> int:
        """Number of source frames."""
        return self.capture_ns.size


@dataclass(frozen=True, slots=True)
class Packets:
    """The media direction of `packets.parquet`, one entry a datagram.

    Attributes:
        ip_bytes: IP packet size: the size on the link without TUN's 4 bytes (mahimahi F7), which
            no real network carries and no rate target counts.
    """

    kind: Texts
    frame: Ints  # -1: belongs to no frame
    ip_bytes: Ints
    sent_ns: Floats
    link_in_ns: Floats
    link_out_ns: Floats
    arrival_ns: Floats
    drop: Texts


@dataclass(frozen=True, slots=True)
class Link:
    """The media direction of `link.parquet`, one entry a bin."""

    time_ns: Floats
    capacity_bytes: Ints
    delivered_bytes: Ints


def session(manifest: Mapping[str, Any], frames: pd.DataFrame) -> Session:
    """The manifest's numbers, held against the number of frames in the log."""
    try:
        cell = manifest["cell"]
        fps = float(cell["fps"])
        stated_s = float(cell["duration_s"])
        deadline_ms = float(cell["playout_deadline_ms"])
        warmup_s = float(manifest["warmup_s"])
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenLogError(f"manifest: lacks or garbles field {error}") from None
    if not (fps > 0 and stated_s > 0 and deadline_ms > 0 and warmup_s >= 0):
        raise BrokenLogError(
            f"manifest: fps {fps}, duration_s {stated_s}, playout_deadline_ms {deadline_ms} must "
            f"be > 0 and warmup_s {warmup_s} >= 0"
        )
    count = len(frames)
    if count == 0:
        raise BrokenLogError("frames: the table is empty")
    if abs(count - stated_s * fps) > 1:
        raise BrokenLogError(
            f"frames: {count} rows where {stated_s:g} s at {fps:g} fps make {stated_s * fps:g}"
        )
    return Session(fps, count / fps, deadline_ms, warmup_s)


def frame_columns(frames: pd.DataFrame) -> Frames:
    """Check `frames.parquet` and take it apart.

    Raises:
        BrokenLogError: frames out of order, an unknown outcome, a frame that was decodable before
            anything of it arrived, a negative latency, and the like.
    """
    number = _integers(frames, "frames", "frame")
    if not np.array_equal(number, np.arange(number.size)):
        raise BrokenLogError("frames: column frame must count 0, 1, 2, ... without gaps")
    outcome = _texts(frames, "frames", "outcome", OUTCOMES)
    shown = np.isin(outcome.astype(str), SHOWN_OUTCOMES)
    stages = [
        "capture_ns",
        "encode_start_ns",
        "encode_end_ns",
        "first_sent_ns",
        "last_sent_ns",
        "first_arrival_ns",
        "decodable_ns",
        "decode_end_ns",
        "render_ns",
    ]
    times = {name: _floats(frames, "frames", name) for name in stages}
    _no_nulls("frames", "capture_ns", times["capture_ns"])
    if np.any(np.diff(times["capture_ns"]) <= 0):
        at = int(np.flatnonzero(np.diff(times["capture_ns"]) <= 0)[0]) + 1
        raise BrokenLogError(f"frames: frame {at} was not captured after frame {at - 1}")
    _check_stages(times, outcome)
    odd = np.flatnonzero(shown == np.isnan(times["render_ns"]))
    if odd.size:
        at = int(odd[0])
        state = "no" if shown[at] else "a"
        raise BrokenLogError(f"frames: frame {at} is {outcome[at]} but has {state} render_ns")
    rendered = times["render_ns"][shown]
    if np.any(np.diff(rendered) < 0):
        at = int(np.flatnonzero(shown)[int(np.flatnonzero(np.diff(rendered) < 0)[0]) + 1])
        raise BrokenLogError(f"frames: frame {at} was rendered before an earlier frame")
    sizes = {
        name: _counts(frames, "frames", name)
        for name in ("media_bytes", "header_bytes", "packets_sent", "packets_lost")
    }
    _not_more("frames", "frame", sizes["packets_lost"], sizes["packets_sent"], "packets_lost")
    quality = {name: _floats(frames, "frames", name) for name in QUALITY if name in frames.columns}
    return Frames(
        capture_ns=times["capture_ns"],
        encode_end_ns=times["encode_end_ns"],
        decodable_ns=times["decodable_ns"],
        render_ns=times["render_ns"],
        outcome=outcome,
        mode=_column(frames, "frames", "mode").to_numpy(dtype=object),
        shown=shown,
        target_kbps=_floats(frames, "frames", "target_kbps"),
        media_bytes=sizes["media_bytes"],
        header_bytes=sizes["header_bytes"],
        quality=quality,
    )


def _check_stages(times: Mapping[str, Floats], outcome: Texts) -> None:
    """Every stage of a frame's life comes after the ones before it.

    A concealed frame may be shown before its packets come, even before they are sent, so for it
    only capture, decoding and rendering are in order.
    """
    concealed = outcome.astype(str) == "concealed"
    sending = ("capture_ns", "encode_start_ns", "encode_end_ns", "first_sent_ns")
    _chain("frames", "frame", times, (*sending, "first_arrival_ns"))
    _chain("frames", "frame", times, ("first_sent_ns", "last_sent_ns"))
    whole = {name: np.where(concealed, np.nan, values) for name, values in times.items()}
    _chain("frames", "frame", whole, (*sending, "first_arrival_ns", "decodable_ns"))
    showing = ("capture_ns", "decodable_ns", "decode_end_ns", "render_ns")
    _chain("frames", "frame", times, showing)


def packet_columns(packets: pd.DataFrame) -> Packets:
    """Check `packets.parquet` and take its media direction apart.

    Raises:
        BrokenLogError: a packet that left before it was sent, one both dropped and delivered, an
            unknown drop or direction, a size that is not positive.
    """
    direction = _texts(packets, "packets", "direction", DIRECTIONS)
    drop = _texts(packets, "packets", "drop", DROPS)
    size = _integers(packets, "packets", "size_bytes")
    small = np.flatnonzero(size < LINK_OVERHEAD_BYTES)
    if small.size:
        at = int(small[0])
        raise BrokenLogError(
            f"packets: row {at} has size_bytes {int(size[at])}; must be >= {LINK_OVERHEAD_BYTES}, "
            "the headers of an empty datagram"
        )
    sent = _floats(packets, "packets", "sent_ns")
    _no_nulls("packets", "sent_ns", sent)
    stages = ("sent_ns", "link_in_ns", "link_out_ns", "arrival_ns")
    times = {name: _floats(packets, "packets", name) for name in stages}
    _chain("packets", "row", times, stages)
    arrival = times["arrival_ns"]
    both = np.flatnonzero((drop.astype(str) != "none") & ~np.isnan(arrival))
    if both.size:
        at = int(both[0])
        raise BrokenLogError(f"packets: row {at} was dropped ({drop[at]}) and yet arrived")
    frame = _floats(packets, "packets", "frame")
    down = direction.astype(str) == "down"
    return Packets(
        kind=packets["kind"].to_numpy(dtype=object)[down],
        frame=np.where(np.isnan(frame), -1, frame).astype(np.int64)[down],
        ip_bytes=size[down] - TUN_HEADER_BYTES,
        sent_ns=sent[down],
        link_in_ns=times["link_in_ns"][down],
        link_out_ns=times["link_out_ns"][down],
        arrival_ns=arrival[down],
        drop=drop[down],
    )


def link_columns(link: pd.DataFrame) -> Link:
    """Check `link.parquet` and take its media direction apart.

    Raises:
        BrokenLogError: bins out of order or negative byte counts.
    """
    direction = _texts(link, "link", "direction", DIRECTIONS)
    down = direction.astype(str) == "down"
    time = _floats(link, "link", "time_ns")[down]
    _no_nulls("link", "time_ns", time)
    if np.any(np.diff(time) <= 0):
        raise BrokenLogError("link: time_ns must increase within a direction")
    return Link(
        time_ns=time,
        capacity_bytes=_counts(link, "link", "capacity_bytes")[down],
        delivered_bytes=_counts(link, "link", "delivered_bytes")[down],
    )


def _column(table: pd.DataFrame, name: str, column: str) -> pd.Series[Any]:
    if column not in table.columns:
        raise BrokenLogError(f"{name}: lacks column {column}")
    series: pd.Series[Any] = table[column]
    return series


def _floats(table: pd.DataFrame, name: str, column: str) -> Floats:
    try:
        return _column(table, name, column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise BrokenLogError(f"{name}: column {column} must hold numbers") from None


def _integers(table: pd.DataFrame, name: str, column: str) -> Ints:
    values = _floats(table, name, column)
    _no_nulls(name, column, values)
    return values.astype(np.int64)


def _counts(table: pd.DataFrame, name: str, column: str) -> Ints:
    values = _integers(table, name, column)
    if np.any(values < 0):
        at = int(np.flatnonzero(values < 0)[0])
        raise BrokenLogError(f"{name}: row {at} has {column} {int(values[at])}; must be >= 0")
    return values


def _texts(table: pd.DataFrame, name: str, column: str, allowed: tuple[str, ...]) -> Texts:
    values: Texts = _column(table, name, column).to_numpy(dtype=object)
    unknown = [value for value in dict.fromkeys(values.tolist()) if value not in allowed]
    if unknown:
        raise BrokenLogError(
            f"{name}: unknown {column} {unknown[0]!r}; known: {', '.join(allowed)}"
        )
    return values


def _no_nulls(name: str, column: str, values: Floats) -> None:
    if np.any(np.isnan(values)):
        at = int(np.flatnonzero(np.isnan(values))[0])
        raise BrokenLogError(f"{name}: row {at} has no {column}")


def _chain(table: str, row: str, times: Mapping[str, Floats], stages: tuple[str, ...]) -> None:
    """Each stage against the latest known one before it, so that a null between hides nothing."""
    latest = times[stages[0]].copy()
    latest_name = np.full(latest.size, stages[0], dtype=object)
    for name in stages[1:]:
        stamp = times[name]
        wrong = np.flatnonzero(stamp < latest)  # NaN compares false: unknown is not wrong
        if wrong.size:
            at = int(wrong[0])
            raise BrokenLogError(
                f"{table}: {row} {at} has {name} {int(stamp[at])} "
                f"before {latest_name[at]} {int(latest[at])}"
            )
        known = ~np.isnan(stamp)
        latest[known] = stamp[known]
        latest_name[known] = name


def _not_more(table: str, row: str, part: Ints, whole: Ints, name: str) -> None:
    wrong = np.flatnonzero(part > whole)
    if wrong.size:
        at = int(wrong[0])
        raise BrokenLogError(
            f"{table}: {row} {at} has {name} {int(part[at])}, more than all {int(whole[at])}"
        )
