"""Makes results folders that look like what `testbed run` leaves, without running anything.

A small closed model: packets leave a link of known capacity one after the other, are lost by coin,
and come back by retransmission after one round trip. It follows `testbed.tables` exactly and is a
pure function of its arguments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from testbed.randomness import generator
from testbed.tables import FRAMES, TABLES

MS = 1_000_000
SECOND = 1_000_000_000
HEADER_BYTES = 60  # IP, UDP, RTP and payload headers of the synthetic transports
TUN_BYTES = 4


@dataclass(frozen=True)
class Scheme:
    """How a synthetic transport behaves.

    `tries`: retransmissions; `dependent`: a lost frame takes the following ones with it until the
    next key frame; `overhead`: FEC packets as a share of media packets.
    """

    tries: int = 3
    dependent: bool = True
    overhead: float = 0.0
    vmaf: float = 70.0
    noise: float = 0.1


SCHEMES = {
    "h264": Scheme(vmaf=55.0, noise=0.12),
    "h265": Scheme(vmaf=66.0, noise=0.18),
    "h266": Scheme(vmaf=74.0, noise=0.3),
    "morphe": Scheme(tries=0, dependent=False, vmaf=72.0, noise=0.04),
    "h265-fec": Scheme(tries=0, overhead=0.3, vmaf=58.0),
}


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix."""

    clip: str = "bbb-720p"
    fps: float = 30.0
    duration_s: float = 4.0
    trace: str = "constant:2000kbps"
    loss_kind: str = "bernoulli"
    loss_rate: float | None = 0.05
    mean_burst: float | None = None
    control: str = "fixed"
    kbps: float | None = 400.0
    delay_ms: float = 50.0
    playout_deadline_ms: float = 400.0
    capacity_kbps: Callable[[float], float] = field(default=lambda _s: 2000.0, compare=False)

    def manifest(self) -> dict[str, Any]:
        rate = "none" if not self.loss_rate else f"{self.loss_kind} {self.loss_rate * 100:g} %"
        burst = "" if self.mean_burst is None else f", burst {self.mean_burst:g}"
        return {
            "clip": self.clip,
            "width": 1280,
            "height": 720,
            "fps": self.fps,
            "duration_s": self.duration_s,
            "trace": self.trace,
            "uplink_trace": "unlimited",
            "loss": rate + burst,
            "loss_kind": self.loss_kind,
            "loss_rate": self.loss_rate,
            "mean_burst": self.mean_burst,
            "control": self.control,
            "kbps": self.kbps,
            "delay_ms": self.delay_ms,
            "queue": "droptail 60 packets",
            "playout_deadline_ms": self.playout_deadline_ms,
            "compute": "zero",
        }


def tables(cell: Cell, transport: str, seed: int) -> dict[str, pd.DataFrame]:
    """The four tables of one session."""
    scheme = SCHEMES.get(transport, Scheme())
    rng = generator(seed, f"{transport}/{sorted(cell.manifest().items())}")
    frames_n = round(cell.fps * cell.duration_s)
    interval = SECOND / cell.fps
    rtt = round(2 * cell.delay_ms * MS)
    frames: list[dict[str, Any]] = []
    packets: list[dict[str, Any]] = []
    busy = 0
    ms_n = round(cell.duration_s * 1000) + 2000
    offered = np.concatenate(
        [[0.0], np.cumsum([cell.capacity_kbps(t / 1e3) / 8 for t in range(ms_n)])]
    )
    broken_until_key = False
    last_render = 0

    def send(kind: str, frame: int, media: int, now: int) -> dict[str, Any]:
        nonlocal busy
        ip = media + HEADER_BYTES
        # The link serves bytes as the cumulative capacity grows, millisecond by millisecond.
        begin = max(busy, now) // MS
        need = offered[min(begin, offered.size - 1)] + ip + TUN_BYTES
        out = max(int(np.searchsorted(offered, need)) * MS, now)
        drop = "none"
        if out - now > 600 * MS:
            drop = "queue"
        else:
            busy = out
            if rng.random() < (cell.loss_rate or 0.0):
                drop = "loss"
        row = {
            "direction": "down",
            "seq": len(packets),
            "kind": kind,
            "frame": frame,
            "size_bytes": ip + TUN_BYTES,
            "sent_ns": now,
            "link_in_ns": now,
            "link_out_ns": None if drop == "queue" else out,
            "arrival_ns": out + round(cell.delay_ms * MS) if drop == "none" else None,
            "drop": drop,
            "retransmission_of": None,
        }
        packets.append(row)
        return row

    for index in range(frames_n):
        capture = round(index * interval)
        encode_end = capture + 8 * MS
        target = cell.kbps or max(cell.capacity_kbps(capture / SECOND) * 0.9, 50.0)
        key = index % 60 == 0
        size = target * 1e3 / 8 / cell.fps * (1 + scheme.noise * rng.standard_normal())
        size = max(int(size * 0.94 * (3.0 if key else 0.966)), 100)
        count = -(-size // 1200)
        row: dict[str, Any] = dict.fromkeys(FRAMES.names)
        row.update(
            frame=index,
            gop=index // 60,
            key=key,
            capture_ns=capture,
            encode_start_ns=capture,
            encode_end_ns=encode_end,
            reason="",
            mode=transport,
            target_kbps=target * 0.94,
            media_bytes=size,
            header_bytes=count * HEADER_BYTES,
            fec_bytes=0,
            retransmitted_bytes=0,
            first_sent_ns=encode_end,
        )
        arrivals: list[int] = []
        complete = True
        for part in range(count):
            media = size // count + (part < size % count)
            sent = encode_end + part * 2 * MS
            row["last_sent_ns"] = sent
            first = attempt = send("media", index, media, sent)
            for _ in range(scheme.tries):
                if attempt["drop"] == "none":
                    break
                again = attempt["sent_ns"] + rtt + 10 * MS
                if again > capture + cell.playout_deadline_ms * MS:
                    break
                attempt = send("retransmission", index, media, again)
                attempt["retransmission_of"] = first["seq"]
                row["retransmitted_bytes"] += media + HEADER_BYTES
            if attempt["arrival_ns"] is None:
                complete = False
            else:
                arrivals.append(attempt["arrival_ns"])
        for _ in range(round(count * scheme.overhead)):
            parity = send("fec", index, 1200, row["last_sent_ns"])
            row["fec_bytes"] += 1200 + HEADER_BYTES
            if parity["arrival_ns"] is not None:
                complete = True
                arrivals.append(parity["arrival_ns"])
        mine = [p for p in packets if p["frame"] == index]
        row["packets_sent"] = len(mine)
        row["packets_lost"] = sum(p["drop"] != "none" for p in mine)
        row["first_arrival_ns"] = min(arrivals) if arrivals else None
        if key:
            broken_until_key = False
        usable = bool(arrivals) if not scheme.dependent else complete and not broken_until_key
        if not usable:
            row["outcome"] = "undecodable"
            broken_until_key = True
        else:
            decodable = max(arrivals)
            row["decodable_ns"] = decodable
            row["decode_end_ns"] = decodable + 5 * MS
            render = max(row["decode_end_ns"], last_render)
            if render - capture > cell.playout_deadline_ms * MS:
                row["outcome"] = "late"
            else:
                row["outcome"] = "rendered" if complete or not scheme.dependent else "concealed"
                row["render_ns"] = last_render = render
        frames.append(row)

    frozen = 0
    for row in frames:
        frozen = 0 if row["render_ns"] is not None else frozen + 1
        row["vmaf"] = float(np.clip(scheme.vmaf - 3 * frozen + rng.normal(0, 2), 0, 100))
        row["ssim"] = float(np.clip(0.97 - 0.004 * frozen, 0, 1))
        row["psnr"] = float(max(36 - 0.5 * frozen, 10.0))

    ticks = range(0, round(cell.duration_s * SECOND), SECOND // 10)
    link, control = _bins(cell, frames, packets, ticks)
    made = {"frames": frames, "packets": packets, "control": control, "link": link}
    quality = ["vmaf", "ssim", "psnr"]
    return {
        name: pa.Table.from_pylist(
            rows,
            schema=TABLES[name]
            if name != "frames"
            else pa.schema([*FRAMES, *[pa.field(q, pa.float64()) for q in quality]]),
        ).to_pandas()
        for name, rows in made.items()
    }


def _bins(
    cell: Cell, frames: list[dict[str, Any]], packets: list[dict[str, Any]], ticks: range
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    link, control = [], []
    sent = np.array([p["sent_ns"] for p in packets])
    size = np.array([p["size_bytes"] for p in packets])
    out = np.array([-1 if p["link_out_ns"] is None else p["link_out_ns"] for p in packets])
    arrival = np.array([-1 if p["arrival_ns"] is None else p["arrival_ns"] for p in packets])
    drop = np.array([p["drop"] for p in packets])
    capture = np.array([f["capture_ns"] for f in frames])
    media = np.array([f["media_bytes"] for f in frames])
    for start in ticks:
        end = start + SECOND // 10
        capacity = cell.capacity_kbps(start / SECOND)
        waiting = (sent < end) & (out >= end)
        sent_in = (sent >= start) & (sent < end)
        left = (out >= start) & (out < end)
        kbps = 8e6 / (end - start)
        link.append(
            {
                "time_ns": start,
                "direction": "down",
                "capacity_bytes": round(capacity * 12.5),
                "delivered_bytes": int(size[left].sum()),
                "queue_packets": int(waiting.sum()),
                "queue_bytes": int(size[waiting].sum()),
                "queue_drops": int((sent_in & (drop == "queue")).sum()),
                "loss_drops": int((left & (drop == "loss")).sum()),
            }
        )
        target = cell.kbps or max(capacity * 0.9, 50.0)
        inside = (capture >= start) & (capture < end)
        arrived = (arrival >= start) & (arrival < end)
        control.append(
            {
                "time_ns": end,
                "estimate_kbps": target,
                "min_rtt_ms": 2 * cell.delay_ms,
                "loss": cell.loss_rate,
                "controller_state": "steady",
                "mode": "",
                "target_kbps": target,
                "encoded_kbps": float(media[inside].sum() * kbps),
                "sent_kbps": float(size[sent_in].sum() * kbps),
                "delivered_kbps": float(size[arrived].sum() * kbps),
                "capacity_kbps": capacity,
            }
        )
    return link, control


def manifest(cell: Cell, transport: str, seed: int, scenario: str = "synthetic") -> dict[str, Any]:
    """A manifest with the keys of the run-folder contract."""
    shared = cell.manifest()
    cell_id = hashlib.sha256(json.dumps([scenario, shared]).encode()).hexdigest()[:16]
    run = hashlib.sha256(f"{cell_id}/{transport}/{seed}".encode()).hexdigest()[:16]
    return {
        "schema": 1,
        "run": run,
        "scenario": scenario,
        "description": "A made-up suite",
        "transport": transport,
        "seed": seed,
        "cell": shared,
        "cell_id": cell_id,
        "world": "simulator",
        "warmup_s": 1.0,
        "resolved": {"name": scenario, "transports": [transport]},
        "inputs": {
            "clip": {"name": cell.clip, "sha256": "00" * 32},
            "trace": {
                "name": cell.trace,
                "sha256": "11" * 32,
                "source": "generated",
                "synthetic": cell.trace.startswith("synthetic"),
            },
        },
        "versions": {"morphe-testbed": "0.1.0", "numpy": "2.0"},
        "host": {"machine": "x86_64", "cpus": 2},
        "facts": {},
    }


def write_run(directory: Path, cell: Cell, transport: str, seed: int, **kwargs: Any) -> Path:
    """Write one run folder into `directory/runs` and return it."""
    facts = manifest(cell, transport, seed, **kwargs)
    folder = directory / "runs" / facts["run"]
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(facts, indent=1))
    for name, frame in tables(cell, transport, seed).items():
        schema = TABLES[name]
        for column in frame.columns[len(schema.names) :]:
            schema = schema.append(pa.field(column, pa.float64()))
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def write_suite(
    directory: Path,
    cells: Iterable[Cell],
    transports: Iterable[str] = ("h264", "h265", "h266"),
    seeds: Iterable[int] = (1, 2, 3),
    **kwargs: Any,
) -> Path:
    """Write every (cell, transport, seed) and return `directory`."""
    transports, seeds = list(transports), list(seeds)
    for cell in cells:
        for transport in transports:
            for seed in seeds:
                write_run(directory, cell, transport, seed, **kwargs)
    return directory
