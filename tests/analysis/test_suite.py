from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import Cell, manifest

from testbed.analysis.runs import Run
from testbed.analysis.suite import (
    POOLED_FIELDS,
    coordinates,
    describe,
    levels,
    loss_family,
    loss_levels,
    panel_field,
    settings,
    slug,
    transports,
)


def run(cell: Cell, transport: str = "h264", seed: int = 1, **fields: Any) -> Run:
    facts = manifest(cell, transport, seed)
    facts["cell"].update(fields)
    return Run(Path(facts["run"]), facts)


def grid(**lists: list[Any]) -> list[Run]:
    """The product of fields of a cell."""
    cells = [Cell()]
    for name, values in lists.items():
        cells = [replace(cell, **{name: value}) for cell in cells for value in values]
    return [run(cell, transport) for cell in cells for transport in ("h264", "h265")]


def test_one_cell_is_one_setting_without_a_title() -> None:
    found = settings(grid())
    assert [(s.title, s.slug, len(s.runs)) for s in found] == [("", "", 2)]


def test_loss_levels_stay_within_a_setting() -> None:
    found = settings(grid(loss_rate=[0.0, 0.05, 0.25]))
    assert len(found) == 1
    assert [(v.label, v.value) for v in loss_levels(found[0].runs)] == [
        ("0 % loss", 0.0),
        ("5 % loss", 0.05),
        ("25 % loss", 0.25),
    ]


def test_what_varies_names_the_settings_and_what_follows_does_not() -> None:
    runs = grid(fps=[30.0, 60.0], clip=["a", "b"])
    titles = [setting.title for setting in settings(runs)]
    assert sorted(titles) == ["a · 30 fps", "a · 60 fps", "b · 30 fps", "b · 60 fps"]
    # The width follows from the clip: naming both would say the same twice.
    wide = [run(Cell(clip="c", fps=fps), width=9) for fps in (30.0, 60.0)]
    assert not any("wide" in setting.title for setting in settings([*runs, *wide]))
    # With two widths of one clip it tells them apart.
    assert any("9 px wide" in s.title for s in settings([*wide, run(Cell(clip="c"))]))


def test_free_fields_do_not_split() -> None:
    runs = grid(fps=[30.0, 60.0], clip=["a", "b"])
    assert [s.title for s in settings(runs, free=POOLED_FIELDS)] == ["30 fps", "60 fps"]


def test_families_split_when_they_have_rates_and_share_the_lossless_runs() -> None:
    none = grid(loss_rate=[0.0], loss_kind=["none"])
    bursts = grid(loss_rate=[0.05, 0.25], mean_burst=[2.0, 8.0], loss_kind=["gilbert-elliott"])
    labelled = [Run(r.folder, {**r.manifest, "cell": {**r.cell, "loss": label(r)}}) for r in bursts]
    found = settings([*none, *labelled])
    assert [s.title for s in found] == [
        "gilbert-elliott burst 2 loss",
        "gilbert-elliott burst 8 loss",
    ]
    for setting in found:
        assert [v.label for v in loss_levels(setting.runs)] == ["0 % loss", "5 % loss", "25 % loss"]


def label(one: Run) -> str:
    return f"gilbert-elliott {one.cell['loss_rate'] * 100:g} % burst {one.cell['mean_burst']:g}"


def test_single_levels_of_several_families_stand_side_by_side() -> None:
    runs = [
        run(Cell(loss_kind="none", loss_rate=0.0)),
        run(Cell(), loss="bernoulli 5 %"),
        run(Cell(), loss="gilbert-elliott 5 % burst 4", loss_kind="gilbert-elliott"),
        run(Cell(), loss="outage mean_up_s=9 mean_down_s=1", loss_kind="outage", loss_rate=None),
    ]
    (setting,) = settings(runs)
    assert [(v.label, v.value) for v in loss_levels(setting.runs)] == [
        ("no loss", 0.0),
        ("bernoulli 5 %", 0.05),
        ("gilbert-elliott 5 % burst 4", 0.05),
        ("outage mean_up_s=9 mean_down_s=1", None),
    ]


@pytest.mark.parametrize(
    ("loss", "kind", "family"),
    [
        ("bernoulli 12.5 %", "bernoulli", "bernoulli"),
        ("gilbert-elliott 5 % burst 4 per=frame", "gilbert-elliott", None),
        ("gilbert-elliott p=0.1 r=0.5", "gilbert-elliott", "gilbert-elliott"),
        ("none", "none", "none"),
    ],
)
def test_a_family_is_the_model_without_its_rate(loss: str, kind: str, family: str | None) -> None:
    found = loss_family(run(Cell(), loss=loss, loss_kind=kind))
    assert found == (family or "gilbert-elliott burst 4 per=frame")


def test_opaque_hashes_and_loss_fields_are_no_coordinates() -> None:
    found = coordinates(run(Cell(), paths="abc", queue={"kind": "codel"}))
    assert found.keys().isdisjoint({"paths", "loss", "loss_rate", "loss_kind", "mean_burst"})
    assert found["queue"] == '{"kind": "codel"}'


def test_panels_stand_for_loss_first_and_then_for_what_varies() -> None:
    assert panel_field(grid(loss_rate=[0.0, 0.1], trace=["x", "y"])) == "loss"
    assert panel_field(grid(trace=["x", "y"], clip=["a", "b"])) == "trace"
    assert panel_field(grid(clip=["a", "b"])) == "clip"
    assert panel_field(grid()) == "loss"


def test_levels_of_a_number_come_in_order_and_missing_ones_last() -> None:
    found = levels(grid(kbps=[500.0, None, 60.0]), "kbps")
    assert [(v.label, v.value) for v in found] == [
        ("60 kbit/s", 60.0),
        ("500 kbit/s", 500.0),
        ("no kbps", None),
    ]


def test_words_for_coordinates() -> None:
    assert describe("fps", 29.97) == "29.97 fps"
    assert describe("new_field", "x") == "new_field x"
    assert describe("fps", "many") == "fps many"
    assert describe("kbps", None) == ""


def test_transports_in_legend_order() -> None:
    assert transports([run(Cell(), t) for t in ("zzz", "h265", "h264")]) == ["h264", "h265", "zzz"]


def test_slugs_are_safe_file_names() -> None:
    assert slug("Rail/../10 · 5 % loss") == "rail-..-10-5-loss"
    assert slug("../..") == ""
    assert len(slug("x" * 500)) <= 120
