"""Run tables written out by hand, small enough to check every metric on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from testbed.tables import CONTROL, FRAMES, LINK, PACKETS

MS = 1_000_000
SECOND = 1_000_000_000


def manifest(
    frames: int, fps: float = 10.0, deadline_ms: float = 400.0, warmup_s: float = 0.0
) -> dict[str, Any]:
    return {
        "cell": {"fps": fps, "duration_s": frames / fps, "playout_deadline_ms": deadline_ms},
        "warmup_s": warmup_s,
    }


def frames(
    latencies_ms: Sequence[float | None],
    fps: float = 10.0,
    outcomes: Sequence[str] | None = None,
    **columns: Sequence[Any],
) -> pd.DataFrame:
    """Frames shown so long after capture; None is undecodable.

    Encoding ends 5 ms after capture, decoding takes 3 ms and display none, so the frame delay is
    the latency minus 8 ms. Each frame is one packet of 100 picture bytes and 40 header bytes.
    """
    rows = []
    for index, latency in enumerate(latencies_ms):
        capture = round(index * SECOND / fps)
        shown = latency is not None
        render = None if latency is None else capture + round(latency * MS)
        row = dict.fromkeys(FRAMES.names)
        row.update(
            frame=index,
            gop=0,
            key=index == 0,
            capture_ns=capture,
            encode_start_ns=capture,
            encode_end_ns=capture + 5 * MS,
            first_sent_ns=capture + 5 * MS,
            last_sent_ns=capture + 5 * MS,
            first_arrival_ns=None if render is None else render - 3 * MS,
            decodable_ns=None if render is None else render - 3 * MS,
            decode_end_ns=render,
            render_ns=render,
            outcome="rendered" if shown else "undecodable",
            reason="",
            mode="h264",
            target_kbps=8.0,
            media_bytes=100,
            header_bytes=40,
            fec_bytes=0,
            retransmitted_bytes=0,
            packets_sent=1,
            packets_lost=0 if shown else 1,
        )
        rows.append(row)
    table = pa.Table.from_pylist(rows, schema=FRAMES).to_pandas()
    if outcomes is not None:
        table["outcome"] = list(outcomes)
    for name, values in columns.items():
        table[name] = list(values)
    return table


def packet(frame: int | None, sent_ms: float, ip_bytes: int = 140, **fields: Any) -> dict[str, Any]:
    sent = round(sent_ms * MS)
    row = {
        "direction": "down",
        "seq": 0,
        "kind": "media",
        "frame": frame,
        "size_bytes": ip_bytes + 4,
        "sent_ns": sent,
        "link_in_ns": sent,
        "link_out_ns": sent + 10 * MS,
        "arrival_ns": sent + 50 * MS,
        "drop": "none",
        "retransmission_of": None,
    }
    row.update(fields)
    if row["drop"] != "none":
        row["arrival_ns"] = None
    return row


def packets(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    numbered = [row | {"seq": at} for at, row in enumerate(rows)]
    return pa.Table.from_pylist(numbered, schema=PACKETS).to_pandas()


def one_packet_a_frame(count: int, fps: float = 10.0) -> pd.DataFrame:
    return packets([packet(index, index * 1e3 / fps + 5) for index in range(count)])


def control(times_ms: Sequence[float], targets: Sequence[float | None]) -> pd.DataFrame:
    rows = []
    for time_ms, target in zip(times_ms, targets, strict=True):
        row = dict.fromkeys(CONTROL.names)
        row.update(time_ns=round(time_ms * MS), controller_state="", mode="", target_kbps=target)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=CONTROL).to_pandas()


def link(capacity: Sequence[int], delivered: Sequence[int], bin_ms: float = 100.0) -> pd.DataFrame:
    rows = []
    for at, (offered, left) in enumerate(zip(capacity, delivered, strict=True)):
        row = dict.fromkeys(LINK.names, 0)
        row.update(
            time_ns=round(at * bin_ms * MS),
            direction="down",
            capacity_bytes=offered,
            delivered_bytes=left,
        )
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=LINK).to_pandas()
