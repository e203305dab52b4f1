"""Worlds side by side, on run folders whose differences are known."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.image import imread
from synthetic_runs import MS, Cell, write_run

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
from testbed.analysis.plots.agreement import draw
from testbed.analysis.runs import Run, scan_runs
from testbed.analysis.style import paper_style
from testbed.errors import BrokenLogError, InputError

CELL = Cell(duration_s=2.0)
CELL_FRAMES = 60
SENDER_LATE_MS, HOST_DELAY_MS = 0.25, 0.5
OFFSET_MS = SENDER_LATE_MS + HOST_DELAY_MS
BOUNDS = Bounds()

Column = list[Any]


def realtime(network: dict[str, Any] | None = None) -> dict[str, Any]:
    """`facts.realtime` as far as it is read."""
    return {
        "sender_late": {"p50_ms": SENDER_LATE_MS, "p99_ms": 0.75},
        "host_delay_down": {"p50_ms": HOST_DELAY_MS, "p99_ms": 1.5},
        "network": network or {},
    }


def write_emulated(
    simulated: Path, world: str, *, shift_ms: Callable[[int], float] = lambda _row: OFFSET_MS,
    unshown: int = 0, network: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """A copy in which everything arrives later.

    Args:
        shift_ms: by how much, by row.
        unshown: so many of the frames that were shown are not.
    """
    folder = simulated.with_name(f"{simulated.name}-{world}")
    shutil.copytree(simulated, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"run": folder.name, "world": world, "facts": {"realtime": realtime(network)}}
    (folder / "manifest.json").write_text(json.dumps(manifest))

    def later(values: Column) -> Column:
        return [
            None if value is None else value + round(shift_ms(row) * MS)
            for row, value in enumerate(values)
        ]

    change(folder / "packets.parquet", "arrival_ns", later)
    for column in ("first_arrival_ns", "decodable_ns", "decode_end_ns", "render_ns"):
        change(folder / "frames.parquet", column, later)

    rendered = pq.read_table(folder / "frames.parquet").column("render_ns").to_pylist()
    hidden = [row for row, value in enumerate(rendered) if value is not None][-1 - unshown : -1]
    for column, instead in (("render_ns", None), ("outcome", "late")):
        change(
            folder / "frames.parquet", column,
            lambda values, instead=instead: [
                instead if row in hidden else value for row, value in enumerate(values)
            ],
        )  # fmt: skip
    return folder


def change(path: Path, column: str, to: Callable[[Column], Column]) -> None:
    table = pq.read_table(path)
    at = table.schema.get_field_index(column)
    field = table.schema.field(at)
    values = pa.array(to(table.column(column).to_pylist()), field.type)
    pq.write_table(table.set_column(at, field, values), path)


def read(folder: Path) -> Run:
    return Run(folder, json.loads((folder / "manifest.json").read_text()))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("agreement"), CELL, "h265", 1)


@pytest.fixture
def beside(simulated: Path) -> Iterator[Callable[..., Pair]]:
    """Makes a pair; the emulated folder goes away with the test."""
    made: list[Path] = []

    def make(world: str = "relay", **how: Any) -> Pair:
        made.append(write_emulated(simulated, world, **how))
        return Pair(read(simulated), read(made[-1]))

    yield make
    for folder in made:
        shutil.rmtree(folder)


def test_the_hosts_offset_is_taken_off(beside: Callable[..., Pair]) -> None:
    pair = beside()
    row = compare(pair, BOUNDS, label="here")
    assert (row.world, row.transport, row.seed, row.cell) == ("relay", "h265", 1, "here")
    assert (row.offset_ms, row.late_p99_ms, row.link) == (OFFSET_MS, 0.75, "exact")
    assert row.emulated_p50_ms - row.simulated_p50_ms == pytest.approx(OFFSET_MS)
    assert row.emulated_p95_ms - row.simulated_p95_ms == pytest.approx(OFFSET_MS)
    assert row.p50_difference_ms == pytest.approx(0, abs=1e-9)
    assert row.p95_difference_ms == pytest.approx(0, abs=1e-9)
    assert row.fps_difference == 0
    assert row.simulated_loss == row.emulated_loss > 0.02
    assert row.simulated_utilisation == row.emulated_utilisation
    assert row.over == ""


def test_numbers_are_those_of_the_tables(beside: Callable[..., Pair], simulated: Path) -> None:
    row = compare(beside(), BOUNDS, label="")
    frames = pq.read_table(simulated / "frames.parquet").to_pandas()
    shown = frames[frames["render_ns"].notna()]
    delays = ((shown["decodable_ns"] - shown["encode_end_ns"]) / MS).to_numpy(dtype=float)
    run = read(simulated)
    assert sorted(delays_ms(run)) == pytest.approx(sorted(delays))
    assert row.simulated_p50_ms == pytest.approx(np.percentile(delays, 50))
    assert row.simulated_p95_ms == pytest.approx(np.percentile(delays, 95))
    packets = pq.read_table(simulated / "packets.parquet").to_pandas()
    assert lost_share(run) == pytest.approx((packets["drop"] != "none").sum() / len(packets))
    arrived = packets[packets["arrival_ns"].notna()]
    assert sorted(packet_delays_ms(run)) == pytest.approx(
        sorted((arrived["arrival_ns"] - arrived["sent_ns"]) / MS)
    )


@pytest.mark.parametrize(
    ("how", "over"),
    [
        ({"shift_ms": lambda _row: OFFSET_MS + 1.9}, []),
        ({"shift_ms": lambda _row: OFFSET_MS + 2.1}, ["p50 +2.1 ms (bound 2)"]),
        ({"shift_ms": lambda _row: OFFSET_MS - 2.1}, ["p50 -2.1 ms (bound 2)"]),
        (
            {"shift_ms": lambda _row: OFFSET_MS + 5.1},
            ["p50 +5.1 ms (bound 2)", "p95 +5.1 ms (bound 5)"],
        ),
        ({"network": {"down": {"link": {"equal": 9, "departures": 9}}}}, []),
        (
            {
                "network": {
                    "down": {"link": {"equal": 7, "departures": 9}},
                    "up": {"link": {"equal": 5, "departures": 5}},
                }
            },
            ["link 12/14 departures"],
        ),
    ],
)
def test_what_is_over_a_bound_is_named(
    beside: Callable[..., Pair], how: dict[str, Any], over: list[str]
) -> None:
    row = compare(beside(**how), BOUNDS, label="")
    found = row.over.split("; ") if row.over else []
    assert len(found) == len(over)
    assert all(one.startswith(expected) for one, expected in zip(found, over, strict=True))
    wide = Bounds(delay_p50_ms=50, delay_p95_ms=50, fps_share=1)
    assert compare(beside("wide", **how), wide, label="").over == (
        "link 12/14 departures" if "link" in "".join(over) else ""
    )


def test_frames_that_were_not_shown_are_named(beside: Callable[..., Pair]) -> None:
    row = compare(beside(unshown=3), Bounds(50, 50), label="")
    shown = round(row.simulated_fps * CELL.duration_s)
    assert row.fps_difference == pytest.approx(-3 / shown)
    assert row.over == f"FPS {-300 / shown:+.1f} % (bound 1)"


def test_a_world_that_shows_nothing_agrees_with_no_other(beside: Callable[..., Pair]) -> None:
    pair = beside(unshown=CELL_FRAMES)
    nothing = Pair(pair.simulated, _all_late(pair.emulated))
    row = compare(nothing, BOUNDS, label="")
    assert math.isnan(row.emulated_p50_ms)
    assert [part.split()[0] for part in row.over.split("; ")] == ["p50", "p95", "FPS"]
    assert row.fps_difference == -1.0
    # Nor where it is the simulator that shows nothing.
    manifest = {**pair.simulated.manifest, "world": "relay", "facts": {"realtime": realtime()}}
    turned = compare(
        Pair(nothing.emulated, replace(pair.simulated, manifest=manifest)), BOUNDS, label=""
    )
    assert turned.fps_difference == math.inf
    assert [part.split()[0] for part in turned.over.split("; ")] == ["p50", "p95", "FPS"]


def _all_late(run: Run) -> Run:
    for column, instead in (("render_ns", None), ("outcome", "late")):
        change(run.folder / "frames.parquet", column, lambda v, instead=instead: [instead] * len(v))
    (run.folder / "summary.json").unlink(missing_ok=True)
    return read(run.folder)


def test_a_run_without_the_facts_is_broken(beside: Callable[..., Pair]) -> None:
    pair = beside()
    for facts in ({}, {"facts": {}}, {"facts": {"realtime": 3}}):
        manifest = {k: v for k, v in pair.emulated.manifest.items() if k != "facts"} | facts
        broken = Pair(pair.simulated, replace(pair.emulated, manifest=manifest))
        with pytest.raises(BrokenLogError, match=r"manifest has no facts\.realtime"):
            compare(broken, BOUNDS, label="")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two transports in three cells, two seeds of one; both worlds of each."""
    folder = tmp_path_factory.mktemp("suite")
    cells = [CELL, replace(CELL, loss_rate=0.0), replace(CELL, kbps=None, control="oracle")]
    for number, cell in enumerate(cells):
        for transport in ("h264", "morphe"):
            for seed in (1, 2) if number == 0 else (1,):
                made = write_run(folder, cell, transport, seed)
                for world in ("mahimahi", "relay"):
                    write_emulated(made, world)
    runs = list(scan_runs(folder).runs)
    assert len(runs) == 24
    return runs


def test_pairs_are_of_one_cell_transport_and_seed(suite: list[Run]) -> None:
    found = pairs(reversed(suite))
    assert len(found) == 16
    for pair in found:
        assert pair.simulated.manifest["world"] == "simulator"
        assert pair.emulated.name.startswith(pair.simulated.name)
    assert found == sorted(
        found,
        key=lambda p: (
            p.emulated.transport, json.dumps(dict(p.emulated.cell), sort_keys=True),
            p.emulated.seed, p.emulated.manifest["world"],
        ),
    )  # fmt: skip
    assert pairs([]) == []


@pytest.mark.parametrize("lacking", [{"seed": 2}, {"transport": "h264"}, {"cell": {"clip": "x"}}])
def test_an_emulated_run_alone_is_refused(suite: list[Run], lacking: dict[str, Any]) -> None:
    pair = next(
        p for p in pairs(suite) if p.emulated.seed == 1 and p.emulated.transport == "morphe"
    )
    other = replace(pair.simulated, manifest={**pair.simulated.manifest, **lacking})
    with pytest.raises(InputError) as refused:
        pairs([other, pair.emulated])
    assert str(refused.value) == (
        f"{pair.emulated.folder}: no simulated run of the same cell, transport and seed beside it"
    )


def test_labels_name_what_varies(suite: list[Run]) -> None:
    found = pairs(suite)
    assert set(labels(found)) == {
        "loss bernoulli 5 %, fixed rate, 400 kbit/s",
        "loss none, fixed rate, 400 kbit/s",
        "loss bernoulli 5 %, oracle rate",
    }
    assert labels(found[:1]) == ["constant:2000kbps"]
    assert labels([]) == []


def rows_of(suite: list[Run]) -> tuple[list[Agreement], list[Pair]]:
    found = pairs(suite)
    named = zip(found, labels(found), strict=True)
    tight = Bounds(delay_p50_ms=1e-9)
    rows = [
        compare(pair, tight if n % 2 else BOUNDS, label=name)
        for n, (pair, name) in enumerate(named)
    ]
    return rows, found


def test_csv_parses_back(suite: list[Run]) -> None:
    rows, _ = rows_of(suite)
    rows[0] = replace(rows[0], cell='a "quoted", one', simulated_utilisation=None, over="x; y")
    read_back = list(csv.DictReader(io.StringIO(write_csv(rows))))
    assert len(read_back) == len(rows)
    for line, row in zip(read_back, rows, strict=True):
        for name, text in line.items():
            value = getattr(row, name)
            if isinstance(value, float):
                assert float(text) == pytest.approx(value, abs=1e-4)
            else:
                assert text == ("" if value is None else str(value))
    assert list(read_back[0])[-4:] == [
        "p50_difference_ms", "p95_difference_ms", "fps_difference", "over",
    ]  # fmt: skip


def test_markdown_parses_back(suite: list[Run]) -> None:
    rows, _ = rows_of(suite)
    rows[0] = replace(rows[0], simulated_utilisation=None, over="x; y")
    text = write_markdown(rows, BOUNDS, command="testbed fidelity some")
    assert "Made by `testbed fidelity some`." in text
    within = sum(not row.over for row in rows)
    assert 0 < within < len(rows)
    assert f"{within} of {len(rows)} runs are within all bounds." in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, rule, *body = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    assert len(head) == len(rule) == 15
    for cells, row in zip(body, rows, strict=True):
        assert cells[:4] == [row.cell, row.transport, row.world, str(row.seed)]
        assert float(cells[5]) == pytest.approx(row.p50_difference_ms, abs=0.01)
        ours, theirs = (float(part) for part in cells[4].split(" / "))
        assert ours == pytest.approx(row.simulated_p50_ms, abs=0.051)
        assert theirs == pytest.approx(row.emulated_p50_ms, abs=0.051)
        assert cells[13:] == [row.link, row.over or "-"]
    assert body[0][12].startswith("- / ")


def test_the_report_and_its_figures(suite: list[Run], tmp_path: Path) -> None:
    rows, found = (of_both[:4] for of_both in rows_of(suite))  # drawing is slow
    assert {row.world for row in rows} == {"mahimahi", "relay"}
    written = write_report(rows, found, tmp_path, BOUNDS, command="x")
    assert (tmp_path / "fidelity.csv").read_text() == write_csv(rows)
    assert (tmp_path / "fidelity.md").read_text() == write_markdown(rows, BOUNDS, command="x")
    pictures = [path for path in written if path.suffix == ".png"]
    assert {path.stem for path in pictures} == {
        "qq-frames--h264",
        "qq-packets--h264",
    }
    assert all(path.stat().st_size > 0 for path in written)
    for path in pictures:
        pixels = imread(path)[..., :3]
        colours = np.unique((pixels.reshape(-1, 3) * 15).astype(int), axis=0)
        assert len(colours) > 10  # two worlds in colour, text, a dashed line
        assert math.isclose(float(pixels.max()), 1.0, abs_tol=0.01)


def test_a_figure_has_the_quantiles_of_each_world(beside: Callable[..., Pair]) -> None:
    shifts = {"mahimahi": 9.0, "relay": 1.0}
    found = [beside(world, shift_ms=lambda _row, ms=ms: ms) for world, ms in shifts.items()]
    with paper_style():
        figure = draw({"a cell": found}, "frame delay (ms)", delays_ms)
    (axes,) = (one for one in figure.axes if one.lines)
    dotted = [line for line in axes.lines if line.get_marker() not in ("", "None")]
    assert {line.get_label() for line in dotted} == set(shifts)
    for line in dotted:
        x, y = (np.asarray(values, dtype=float) for values in line.get_data())
        assert np.allclose(y - x, shifts[str(line.get_label())], atol=1e-6)
    plt.close(figure)
