"""The fairness table against runs of a few packets, added up on paper."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import handmade
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from testbed.analysis.fairness import fairness, fairness_frame
from testbed.analysis.runs import Run, open_run
from testbed.tables import TABLES

FRAMES = 10  # of a second
KBPS = 11.2  # ten packets of 140 IP bytes in a second


def make_run(
    folder: Path,
    transport: str = "h264",
    *,
    seed: int = 1,
    drops: str = "..........",
    more: Sequence[dict[str, Any]] = (),
    kbps: float = KBPS,
    indexed_by: Sequence[str] = ("packet",),
    manifest: dict[str, Any] | None = None,
    **cell: Any,
) -> Run:
    """A run of one packet a frame; in `drops` L is lost, Q dropped by the queue."""
    fate = {".": "none", "L": "loss", "Q": "queue"}
    rows = [
        handmade.packet(at, at * 100 + 5, drop=fate[mark]) for at, mark in enumerate(drops)
    ] + list(more)
    tables = {
        "frames": handmade.frames([100.0] * FRAMES),
        "packets": handmade.packets(rows),
        "control": handmade.control([100, 1000], [KBPS / 2, KBPS]),
        "link": handmade.link([1500] * 10, [140] * 10),
    }
    facts = {
        **handmade.manifest(FRAMES),
        "schema": 1,
        "scenario": "made-up",
        "transport": transport,
        "seed": seed,
        "cell_id": "one",
        "inputs": {"clip": {"sha256": "aa"}},
        "resolved": {"downlink": {"trace": "t", "phase_ms": 0}, "uplink": {}},
        "facts": {"loss_down": {"indexed_by": list(indexed_by)}},
        **(manifest or {}),
    }
    facts["cell"] |= {"control": "fixed", "kbps": kbps, "loss_kind": "bernoulli", **cell}
    at = folder / f"{transport}-{seed}"
    at.mkdir(parents=True)
    (at / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    for name, table in tables.items():
        pq.write_table(
            pa.Table.from_pandas(table, schema=TABLES[name], preserve_index=False),
            at / f"{name}.parquet",
        )
    return open_run(at)


def packet(kind: str, ip_bytes: int, sent_ms: float = 500) -> dict[str, Any]:
    return handmade.packet(None if kind == "feedback" else 3, sent_ms, ip_bytes, kind=kind)


def test_the_rate_counts_every_byte_over_the_medias_duration(tmp_path: Path) -> None:
    more = [
        packet("retransmission", 140),
        packet("fec", 70),
        packet("padding", 30),
        packet("feedback", 60),
        packet("fec", 100, sent_ms=1300),  # after the last frame, and counted all the same
    ]
    (row,) = fairness([make_run(tmp_path, more=more)])
    total = 10 * 140 + 140 + 70 + 30 + 60 + 100
    assert row.wire_kbps == pytest.approx(total * 8 / 1e3)
    assert row.deviation == pytest.approx(total / 1400 - 1)
    assert row.shares == pytest.approx(
        {
            "media": 1000 / total,
            "header": 400 / total,
            "fec": 170 / total,
            "retransmission": 140 / total,
            "padding": 30 / total,
            "other": 60 / total,
        }
    )
    assert row.verdict == "+28.6% rate"
    assert row.playout_deadline_ms == 400


@pytest.mark.parametrize(
    ("kbps", "verdict"),
    [(KBPS, "ok"), (KBPS / 1.029, "ok"), (KBPS / 1.031, "+3.1% rate"), (KBPS / 0.9, "-10.0% rate")],
)
def test_three_percent_either_way_is_fair(tmp_path: Path, kbps: float, verdict: str) -> None:
    (row,) = fairness([make_run(tmp_path, kbps=kbps)])
    assert row.target_kbps == kbps
    assert row.verdict == verdict


def test_an_adapting_rate_is_held_against_its_own_mean_and_not_judged(tmp_path: Path) -> None:
    (row,) = fairness([make_run(tmp_path, control="gcc")])
    assert row.target_kbps == pytest.approx(0.75 * KBPS)
    assert row.deviation == pytest.approx(1 / 3)
    assert row.verdict == "not judged"


def test_positions_that_all_used_must_have_the_same_fate(tmp_path: Path) -> None:
    runs = [
        # Retransmissions make more packets; only the first ten positions are of both.
        make_run(tmp_path, "h264", drops="..L....L..", more=[packet("retransmission", 40)] * 2),
        make_run(tmp_path, "h265", drops="..L....L.."),
    ]
    first, second = fairness(runs)
    assert first.mask == second.mask == "same"
    assert first.mask_packets == 10
    bits = bytes([0, 0, 1, 0, 0, 0, 0, 1, 0, 0])
    assert first.mask_sha256 == (hashlib.sha256(bits).hexdigest()[:12],)
    assert first.trace is True
    assert first.clip is True


def test_another_fate_at_one_position_is_another_mask(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, "h264", drops="..L......."),
        make_run(tmp_path, "h265", drops="..L......L"),
    ]
    assert {row.mask for row in fairness(runs)} == {"differs"}
    assert all(row.verdict == "other losses" for row in fairness(runs))


def test_what_the_queue_dropped_met_no_loss_model(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, "h264", drops="..LQ......"),
        make_run(tmp_path, "h265", drops="..LL....Q."),
    ]
    rows = fairness(runs)
    assert {row.mask for row in rows} == {"same"}
    assert {row.mask_packets for row in rows} == {8}


@pytest.mark.parametrize(
    ("indexed_by", "cell", "word"),
    [
        (["frame"], {}, "by frame"),
        (["packet", "time"], {}, "by time"),
        (["packet"], {"competing": "1 tcp"}, "shared path"),
    ],
)
def test_masks_that_depend_on_more_are_not_compared(
    tmp_path: Path, indexed_by: list[str], cell: dict[str, Any], word: str
) -> None:
    runs = [
        make_run(tmp_path, name, drops=drops, indexed_by=indexed_by, **cell)
        for name, drops in (("h264", "..L......."), ("h265", ".....L...."))
    ]
    assert {row.mask for row in fairness(runs)} == {word}


def test_losses_without_a_model_are_an_error_of_the_comparison(tmp_path: Path) -> None:
    plain = {"indexed_by": (), "loss_kind": "none"}
    quiet = [make_run(tmp_path, name, **plain) for name in ("h264", "h265")]
    assert {row.mask for row in fairness(quiet)} == {"no loss"}
    odd = [quiet[0], make_run(tmp_path, "h266", drops="L.........", **plain)]
    assert {row.mask for row in fairness(odd)} == {"differs"}


def test_another_phase_or_clip_is_told(tmp_path: Path) -> None:
    other_phase = {"resolved": {"downlink": {"trace": "t", "phase_ms": 7}, "uplink": {}}}
    other_clip = {"inputs": {"clip": {"sha256": "bb"}}}
    first = make_run(tmp_path, "h264")
    rows = fairness([first, make_run(tmp_path, "h265", manifest=other_phase)])
    assert {row.verdict for row in rows} == {"other trace or phase"}
    rows = fairness([first, make_run(tmp_path, "h266", manifest=other_clip)])
    assert {row.verdict for row in rows} == {"other clip"}


def test_seeds_are_pooled_and_the_worst_is_told(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, "h264", seed=1),
        make_run(tmp_path, "h264", seed=2, more=[packet("fec", 140)]),
    ]
    (row,) = fairness(runs)
    assert row.runs == 2
    assert row.deviation == pytest.approx(0.05)
    assert row.worst_deviation == pytest.approx(0.1)
    assert row.mask == "alone"
    assert row.trace is None


def test_a_transport_with_fewer_seeds_is_told(tmp_path: Path) -> None:
    made = [("h264", 1), ("h264", 2), ("h265", 2)]
    rows = fairness([make_run(tmp_path, name, seed=seed) for name, seed in made])
    assert [row.verdict for row in rows] == ["ok", "other cells or seeds"]


def test_the_files_hold_every_field(tmp_path: Path) -> None:
    rows = fairness([make_run(tmp_path, "h264"), make_run(tmp_path, "h265")])
    table = fairness_frame(rows)
    assert isinstance(table, pd.DataFrame)
    assert list(table["verdict"]) == ["ok", "ok"]
    assert table["media_share"].tolist() == pytest.approx([1000 / 1400] * 2)
    told = json.loads(json.dumps([row.as_json() for row in rows]))
    assert told[0]["mask"] == "same"
    assert told[0]["shares"]["header"] == pytest.approx(400 / 1400)
