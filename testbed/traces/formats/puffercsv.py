"""Puffer's public daily CSV: video_sent alone, or joined with video_acked.

Columns of video_sent: time (ns GMT), session_id, index, expt_id, channel, video_ts, format, size,
ssim_index, cwnd, in_flight, min_rtt, rtt, delivery_rate and, since later, buffer and cum_rebuf.
Times are ns, RTTs us, sizes bytes, delivery_rate bytes/s. A stream is (session_id, index).

Method A: kbps = delivery_rate * 8 / 1000, held forward. Cheap, but often limited by the
application. Method B (what Fugu's predictor learns from): join the two files on (session_id,
index, video_ts); kbps = size * 8 / transmission time, less min_rtt; chunks that took less than
three RTTs say little about capacity and are left out. There is no packet loss in Puffer's data.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.traces.formats.base import Series, hold_forward

if TYPE_CHECKING:
    import pandas as pd

_TIME: Final = "time (ns GMT)"
_STREAM: Final = ["session_id", "index"]
_CHUNK: Final = [*_STREAM, "video_ts"]
#: Fewer round trips than this and a chunk's time is mostly latency, not capacity.
_MIN_ROUND_TRIPS: Final = 3
_DEFAULT_MAX_GAP_S: Final = 30.0


def is_header(line: str) -> bool:
    """Whether `line` is the header of one of Puffer's CSV files."""
    return "session_id" in line and "video_ts" in line


def read(text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
    """Every stream of a video_sent file, cut at long silences.

    Raises:
        TraceError: missing column, unreadable number, no stream left.
    """
    acked = options.get("acked")
    numeric = [_TIME, "size", "min_rtt", "rtt"] if acked else [_TIME, "delivery_rate"]
    sent = _table(text, [*_CHUNK, *numeric], numeric)
    if acked:
        sent = _join(sent, _acked_table(path.parent / acked))
        note = "rates are chunk size / transmission time less min_rtt (video_sent and video_acked)"
    else:
        sent["kbps"] = sent["delivery_rate"] * 0.008
        note = "rates are TCP delivery rates when a chunk was sent, often limited by the sender"
    max_gap_us = 1e6 * _seconds(options.get("max_gap_s", str(_DEFAULT_MAX_GAP_S)), "max_gap_s")
    series = []
    for key, rows in sent.groupby(_STREAM, sort=True):
        session, index = key if isinstance(key, tuple) else (key, "")
        name = re.sub(r"[^A-Za-z0-9+=-]", "-", str(session)) + f"_{index}"
        if options.get("stream", name) != name:
            continue
        rows = rows.sort_values(_TIME, kind="stable")
        times_us = (rows[_TIME].to_numpy() - rows[_TIME].iloc[0]) / 1000.0
        series += _cut(name, times_us, rows["kbps"].to_numpy(dtype=np.float64), max_gap_us, note)
    if not series:
        wanted = options.get("stream")
        raise TraceError(f"no stream {wanted}" if wanted else "no stream of two chunks or more")
    return series


def _cut(
    name: str,
    times_us: NDArray[np.float64],
    kbps: NDArray[np.float64],
    max_gap_us: float,
    note: str,
) -> list[Series]:
    """One stream as traces without silences longer than `max_gap_us`."""
    at = np.flatnonzero(np.diff(times_us) > max_gap_us) + 1
    pieces = list(zip(np.split(times_us, at), np.split(kbps, at), strict=True))
    usable = [
        (times - times[0], rates)
        for times, rates in pieces
        if times.size > 1 and times[-1] > times[0] and np.max(rates) > 0
    ]
    several = len(usable) > 1
    return [
        Series(f"{name}.{number}" if several else name, hold_forward(times, rates), (note,))
        for number, (times, rates) in enumerate(usable)
    ]


def _table(text: str, columns: list[str], numeric: list[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(
            io.StringIO(text), usecols=lambda name: name in columns, dtype=str, na_filter=False
        )
    except (ValueError, pd.errors.ParserError, OverflowError) as error:
        raise TraceError(f"not a CSV file ({str(error).splitlines()[0][:80]})") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise TraceError(f"line 1: no column {', '.join(missing)}")
    if table.empty:
        raise TraceError("no rows after the header")
    for column in numeric:
        table[column] = _numbers(table[column], column)
    return table


def _numbers(values: Any, column: str) -> NDArray[np.float64]:
    import pandas as pd

    numbers: NDArray[np.float64] = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers) | (numbers < 0))
    if bad.size:
        row = int(bad[0])
        raise TraceError(f"line {row + 2}: {column} is {values.iloc[row]!r}; must be a number >= 0")
    return numbers


def _acked_table(path: Path) -> pd.DataFrame:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"acked={path.name}: cannot be read ({error})") from None
    return _table(text, [_TIME, *_CHUNK], [_TIME])


def _join(sent: pd.DataFrame, acked: pd.DataFrame) -> pd.DataFrame:
    both = sent.merge(
        acked.rename(columns={_TIME: "acked_ns"}).drop_duplicates(_CHUNK), on=_CHUNK, how="inner"
    )
    taken_us = (both["acked_ns"] - both[_TIME]) / 1000.0
    usable = (taken_us > both["min_rtt"]) & (taken_us >= _MIN_ROUND_TRIPS * both["rtt"])
    both, taken_us = both[usable], taken_us[usable]
    if both.empty:
        raise TraceError("no chunk is in both files with a transmission time of three RTTs")
    return both.assign(kbps=both["size"] * 8000.0 / (taken_us - both["min_rtt"]))


def _seconds(text: str, option: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise TraceError(f"option {option}={text!r} must be a number of seconds > 0")
    return value
