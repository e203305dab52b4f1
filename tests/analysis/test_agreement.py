"""How far worlds agree, on runs whose difference is known because we made it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_runs import Cell, write_run

from testbed.analysis.agreement import (
    Agreement,
    Bounds,
    Pair,
    compare,
    delays_ms,
    labels,
    lost_share,
    packet_delays_ms,
    pairs,
    write_csv,
    write_markdown,
    write_report,
)
from testbed.analysis.runs import Run, open_run, scan_runs
from testbed.errors import BrokenLogError, InputError

MS = 1_000_000
CELL = Cell(duration_s=3.0, loss_rate=0.05)
TIMES = ("first_arrival_ns", "decodable_ns", "decode_end_ns", "render_ns")

Change = Callable[[pd.DataFrame], None]


def facts(*, late_ms: float = 0.3, host_ms: float = 0.7, **network: Any) -> dict[str, Any]:
    """`facts.realtime` of an emulated run."""
    return {
        "realtime": {
            "sender_late": {"count": 100, "p50_ms": late_ms, "p95_ms": 1.0, "p99_ms": 1.5},
            "host_delay_down": {"count": 100, "p50_ms": host_ms, "p95_ms": 1.0, "p99_ms": 1.5},
            "network": network,
        }
    }


def emulated(
    simulated: Path,
    *,
    world: str = "relay",
    change: Mapping[str, Change] | None = None,
    made: Mapping[str, Any] | None = None,
) -> Path:
    """A copy of a simulated run in another world, with changes to its tables."""
    folder = simulated.with_name(f"{simulated.name}-{world}")
    shutil.copytree(simulated, folder)
    (folder / "summary.json").unlink(missing_ok=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"world": world, "facts": facts() if made is None else made}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name, edit in (change or {}).items():
        table = pd.read_parquet(folder / f"{name}.parquet")
        edit(table)
        table.to_parquet(folder / f"{name}.parquet")
    return folder


def later(ms: float, *, share: float = 1.0) -> Change:
    """Frames come so much later: all, or the slowest share of them."""

    def edit(frames: pd.DataFrame) -> None:
        delay = frames["decodable_ns"] - frames["encode_end_ns"]
        chosen = delay >= delay.quantile(1 - share)
        for column in TIMES:
            frames.loc[chosen, column] += round(ms * MS)
        frames["render_ns"] = frames["render_ns"].cummax()  # never before an earlier one

    return edit


def dropped(count: int) -> Change:
    """So many frames are not shown."""

    def edit(frames: pd.DataFrame) -> None:
        shown = frames.index[frames["render_ns"].notna()][5 : 5 + count]
        for column in TIMES:
            frames.loc[shown, column] = None
        frames.loc[shown, "outcome"] = "undecodable"

    return edit


@pytest.fixture
def simulated(tmp_path: Path) -> Path:
    return write_run(tmp_path, CELL, "h264", 1)


def row_of(simulated: Path, folder: Path, bounds: Bounds | None = None) -> Agreement:
    pair = Pair(open_run(simulated), open_run(folder))
    return compare(pair, bounds or Bounds(), label="a cell")


def test_the_hosts_offset_is_taken_off(simulated: Path) -> None:
    # 1.0 ms is what the host says of itself, so nothing is left of a shift by 1.0 ms.
    row = row_of(simulated, emulated(simulated, change={"frames": later(1.0)}))
    assert row.offset_ms == pytest.approx(1.0)
    assert row.p50_difference_ms == pytest.approx(0.0, abs=1e-6)
    assert row.p95_difference_ms == pytest.approx(0.0, abs=1e-6)
    assert row.fps_difference == 0.0
    assert row.over == ""
    assert row.link == "exact"
    assert row.late_p99_ms == 1.5
    assert (row.world, row.transport, row.seed, row.cell) == ("relay", "h264", 1, "a cell")
    assert row.emulated_loss == row.simulated_loss > 0.02
    assert row.emulated_utilisation == row.simulated_utilisation


@pytest.mark.parametrize(
    ("shift_ms", "share", "expected"),
    [
        (2.9, 1.0, ""),
        (3.1, 1.0, "p50 +2.1 ms (bound 2)"),
        (-1.2, 1.0, "p50 -2.2 ms (bound 2)"),
        (7.0, 1.0, "p50 +6.0 ms (bound 2); p95 +6.0 ms (bound 5)"),
        (50.0, 0.2, "p95 +49.0 ms (bound 5)"),
    ],
)
def test_a_known_shift_is_found_and_bounds_are_named(
    simulated: Path, shift_ms: float, share: float, expected: str
) -> None:
    change = {"frames": later(shift_ms, share=share)}
    row = row_of(simulated, emulated(simulated, change=change))
    if share == 1.0:
        assert row.p50_difference_ms == pytest.approx(shift_ms - 1.0, abs=1e-6)
    assert row.over == expected
    wide = Bounds(delay_p50_ms=60, delay_p95_ms=60)
    assert row_of(simulated, simulated.with_name(f"{simulated.name}-relay"), wide).over == ""


def test_frames_that_are_missing_are_named(simulated: Path) -> None:
    row = row_of(simulated, emulated(simulated, change={"frames": dropped(20)}))
    # Summaries leave the first second out, and 20 of some 60 frames are gone.
    assert row.fps_difference < -0.01
    assert f"FPS {100 * row.fps_difference:+.1f} % (bound 1)" in row.over


def test_a_world_that_shows_nothing_does_not_agree(simulated: Path) -> None:
    nothing = emulated(simulated, change={"frames": dropped(10_000)})
    frames = pd.read_parquet(nothing / "frames.parquet")
    for column in TIMES:
        frames[column] = pd.array([None] * len(frames), dtype="Int64")
    frames["outcome"] = "undecodable"
    frames.to_parquet(nothing / "frames.parquet")
    row = row_of(simulated, nothing)
    assert "FPS -100.0 %" in row.over
    assert "p50" in row.over
    # Nor where it is the simulator that shows nothing.
    turned = compare(
        Pair(_as_simulated(nothing), _as_emulated(simulated)), Bounds(), label="turned"
    )
    assert "FPS" in turned.over
    assert "p50" in turned.over


def _as_simulated(folder: Path) -> Run:
    return Run(folder, {**open_run(folder).manifest, "world": "simulator"})


def _as_emulated(folder: Path) -> Run:
    return Run(folder, {**open_run(folder).manifest, "world": "relay", "facts": facts()})


def link(equal: int, departures: int) -> dict[str, Any]:
    return {"link": {"arrivals": departures, "equal": equal, "departures": departures}}


@pytest.mark.parametrize(
    ("down", "up", "expected", "over"),
    [
        (link(100, 100), link(20, 20), "120/120", ""),
        (link(100, 100), link(19, 20), "119/120", "link 119/120 departures"),
        (link(0, 100), link(20, 20), "20/120", "link 20/120 departures"),
    ],
)
def test_departures_of_the_link_must_be_the_models(
    simulated: Path, down: Any, up: Any, expected: str, over: str
) -> None:
    made = facts(late_ms=0.0, host_ms=0.0, down=down, up=up)
    row = row_of(simulated, emulated(simulated, world="mahimahi", made=made))
    assert row.link == expected
    assert row.over == over


def test_a_run_without_its_facts_is_one_line(simulated: Path) -> None:
    folder = emulated(simulated, made={})
    with pytest.raises(BrokenLogError, match=r"manifest has no facts\.realtime") as caught:
        row_of(simulated, folder)
    assert str(folder) in str(caught.value)


def test_delays_and_losses_against_the_tables(simulated: Path) -> None:
    run = open_run(simulated)
    frames = pd.read_parquet(simulated / "frames.parquet")
    shown = frames[frames["render_ns"].notna()]
    expected = (shown["decodable_ns"] - shown["encode_end_ns"]) / 1e6
    assert np.allclose(np.sort(delays_ms(run)), np.sort(expected.to_numpy(dtype=float)))
    packets = pd.read_parquet(simulated / "packets.parquet")
    down = packets[packets["direction"] == "down"]
    arrived = down[down["arrival_ns"].notna()]
    expected = (arrived["arrival_ns"] - arrived["sent_ns"]) / 1e6
    assert np.allclose(packet_delays_ms(run), expected.to_numpy(dtype=float))
    assert lost_share(run) == pytest.approx(1 - len(arrived) / len(down))


# --- pairs -----------------------------------------------------------------------------------


def test_every_emulated_run_gets_its_simulated_one(tmp_path: Path) -> None:
    cells = [CELL, Cell(duration_s=3.0, loss_rate=0.0)]
    for cell in cells:
        for transport in ("morphe", "h264"):
            for seed in (2, 1):
                folder = write_run(tmp_path, cell, transport, seed)
                for world in ("relay", "mahimahi"):
                    emulated(folder, world=world)
    found = pairs(scan_runs(tmp_path).runs)
    assert len(found) == 16
    for pair in found:
        assert pair.simulated.manifest["world"] == "simulator"
        for name in ("transport", "seed", "cell"):
            assert pair.simulated.manifest[name] == pair.emulated.manifest[name]
    order = [(p.emulated.transport, p.emulated.cell["loss"], p.emulated.seed) for p in found]
    assert [transport for transport, *_ in order] == ["h264"] * 8 + ["morphe"] * 8
    worlds = [str(pair.emulated.manifest["world"]) for pair in found]
    assert worlds == ["mahimahi", "relay"] * 8
    assert set(labels(found)) == {"loss bernoulli 5 %", "loss none"}


def test_an_emulated_run_alone_is_refused(simulated: Path) -> None:
    folder = emulated(simulated)
    runs = scan_runs(simulated.parents[1]).runs
    assert len(pairs(runs)) == 1
    alone = [run for run in runs if run.folder == folder]
    with pytest.raises(InputError, match="no simulated run of the same cell, transport") as caught:
        pairs(alone)
    assert str(folder) in str(caught.value)
    other = write_run(simulated.parents[1] / "other", CELL, "h264", 2)
    with pytest.raises(InputError, match="no simulated run"):
        pairs([*alone, open_run(other)])


def test_no_runs_are_no_pairs() -> None:
    assert pairs([]) == []
    assert labels([]) == []


def test_one_cell_is_named_by_its_trace(simulated: Path) -> None:
    emulated(simulated)
    found = pairs(scan_runs(simulated.parents[1]).runs)
    assert labels(found) == ["constant:2000kbps"] or "2000" in labels(found)[0]


# --- what is written -------------------------------------------------------------------------


@pytest.fixture
def compared(tmp_path: Path) -> tuple[list[Agreement], list[Pair]]:
    runs = tmp_path / "results"
    for transport in ("h264", "morphe"):
        folder = write_run(runs, CELL, transport, 1)
        emulated(folder, world="relay", change={"frames": later(1.0)})
        emulated(folder, world="mahimahi", change={"frames": later(9.0)})
    found = pairs(scan_runs(runs).runs)
    return [
        compare(p, Bounds(), label=name) for p, name in zip(found, labels(found), strict=True)
    ], found


def test_csv_parses_back(compared: tuple[list[Agreement], list[Pair]]) -> None:
    rows, _ = compared
    parsed = list(csv.DictReader(io.StringIO(write_csv(rows))))
    assert len(parsed) == len(rows) == 4
    for row, told in zip(rows, parsed, strict=True):
        for name in ("world", "transport", "cell", "link", "over"):
            assert told[name] == getattr(row, name)
        assert int(told["seed"]) == row.seed
        for name in (
            "offset_ms", "simulated_p50_ms", "emulated_p95_ms", "simulated_fps", "emulated_loss",
            "simulated_utilisation", "p50_difference_ms", "p95_difference_ms", "fps_difference",
        ):  # fmt: skip
            assert float(told[name]) == pytest.approx(getattr(row, name), abs=1e-4)
    assert {told["world"] for told in parsed if told["over"]} == {"mahimahi"}


def test_markdown_parses_back(compared: tuple[list[Agreement], list[Pair]]) -> None:
    rows, _ = compared
    text = write_markdown(rows, Bounds(3.5, 7.25, 0.02), command="testbed fidelity x")
    assert "Made by `testbed fidelity x`." in text
    assert "p50 within 3.5 ms and p95 within 7.25 ms" in text
    assert "rendered FPS within 2 %" in text
    assert "2 of 4 runs are within all bounds." in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[part.strip() for part in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in cells}) == 1
    head, _, *body = cells
    assert len(body) == 4
    for row, told in zip(rows, body, strict=True):
        by_name = dict(zip(reversed(head), reversed(told), strict=True))
        assert (told[1], told[2], int(told[3])) == (row.transport, row.world, row.seed)
        assert told[4] == f"{row.simulated_p50_ms:.1f} / {row.emulated_p50_ms:.1f}"
        assert float(told[5]) == pytest.approx(row.p50_difference_ms, abs=0.006)
        assert by_name["link"] == row.link
        assert by_name["over"] == (row.over or "-")


def test_the_report_and_its_figures(
    compared: tuple[list[Agreement], list[Pair]], tmp_path: Path
) -> None:
    rows, found = compared
    out = tmp_path / "out"
    written = write_report(rows, found, out, Bounds(), command="testbed fidelity x")
    assert [path.name for path in written[:2]] == ["fidelity.csv", "fidelity.md"]
    stems = {path.stem for path in written[2:]}
    assert stems == {
        "qq-frames--h264", "qq-packets--h264", "qq-frames--morphe", "qq-packets--morphe",
    }  # fmt: skip
    assert all(path.stat().st_size > 1000 for path in written[2:])
    for path in written:
        if path.suffix == ".png":
            pixels = np.asarray(Image.open(path).convert("RGB"))
            # Both worlds' colours, the line of equality, text: not blank, and not black either.
            assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
            assert 0.5 < (pixels > 250).all(axis=2).mean() < 0.995
    assert (out / "fidelity.csv").read_text() == write_csv(rows)


def test_a_figure_has_one_series_a_world(compared: tuple[list[Agreement], list[Pair]]) -> None:
    from testbed.analysis.plots.agreement import draw
    from testbed.analysis.style import paper_style

    _, found = compared
    chosen = [pair for pair in found if pair.emulated.transport == "h264"]
    with paper_style():
        figure = draw({"a cell": chosen}, "frame delay (ms)", delays_ms)
    (axes,) = [one for one in figure.axes if one.lines]
    series = {
        line.get_label(): line for line in axes.lines if line.get_marker() not in ("", "None")
    }
    assert set(series) == {"mahimahi", "relay"}
    for world, shift in (("relay", 1.0), ("mahimahi", 9.0)):
        x, y = series[world].get_data()
        assert np.allclose(np.asarray(y) - np.asarray(x), shift, atol=1e-6)
    import matplotlib.pyplot as plt

    plt.close(figure)
