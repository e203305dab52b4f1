from __future__ import annotations

import json
import os
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from synthetic_runs import Cell, write_run, write_suite

from testbed.analysis.metrics import DEFINITIONS
from testbed.analysis.report import inline_svg, write_report
from testbed.errors import InputError, OutputError, UnknownNameError

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting and collects what a browser would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.references: list[str] = []
        self.tags: Counter[str] = Counter()
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for key, value in attrs:
            if key == "id" and value:
                self.ids[value] += 1
            if key in ("src", "href", "xlink:href", "data") and value:
                self.references.append(value)
            assert not key.startswith("on")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "suite"
    cells = [
        Cell(trace="synthetic-rail-1", loss_rate=rate, loss_kind="bernoulli", duration_s=2.0)
        for rate in (0.0, 0.2)
    ]
    write_suite(folder, cells, transports=("h264", "h265"), seeds=(1, 2))
    failure = {"cell": {"transport": "h266", "seed": 1, "clip": "<b>"}, "error": "encoder & gone"}
    (folder / "failures.json").write_text(json.dumps([failure]))
    broken = folder / "runs" / "0broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(results: Path) -> Page:
    return Page((results / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_stands_alone(page: Page) -> None:
    assert page.tags["script"] == page.tags["img"] == page.tags["iframe"] == page.tags["link"] == 0
    assert all(reference.startswith("#") for reference in page.references)
    assert page.tags["svg"] == page.tags["figure"] > 5


def test_inline_figures_do_not_share_names(page: Page) -> None:
    assert max(page.ids.values()) == 1
    wanted = {reference[1:] for reference in page.references}
    assert wanted <= page.ids.keys()


def test_the_page_says_what_was_run_and_what_is_missing(page: Page) -> None:
    text = " ".join(" ".join(page.text).split())
    for said in (
        "synthetic — 8 runs",
        "A made-up suite",
        "Synthetic traces. synthetic-rail-1",
        "zero",
        "Failed cells: 1. Unreadable runs: 1.",
        "encoder & gone",
        "0broken",
        "testbed run synthetic --out results/suite",
        "testbed report results/suite",
        "morphe-testbed",
        "95 % confidence interval",
    ):
        assert said in text, said


def test_names_from_outside_are_escaped(results: Path) -> None:
    assert "<b></td>" not in (results / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in (results / "report.html").read_text(encoding="utf-8")


def test_the_table_has_one_row_a_run_and_every_metric(results: Path) -> None:
    table = pd.read_csv(results / "summary.csv")
    assert len(table) == 8
    assert set(DEFINITIONS) <= set(table.columns)
    assert {"run", "scenario", "cell_id", "transport", "seed", "clip", "loss_rate"} <= set(
        table.columns
    )
    assert table["run"].is_unique
    assert table.groupby("cell_id").size().tolist() == [4, 4]


def test_writing_again_gives_the_same_bytes(results: Path) -> None:
    def content() -> dict[str, bytes]:
        files = [*results.glob("*.*"), *(results / "figures").iterdir()]
        return {path.name: path.read_bytes() for path in files if path.is_file()}

    before = content()
    write_report(results)
    assert content() == before


def test_the_result_lists_what_was_written(results: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(results, tmp_path / "suite"))
    result = write_report(results, figures=["quality", "delay-cdf"])
    assert result.runs == 8
    assert result.failed_cells == 1
    assert [folder.name for folder, _ in result.broken] == ["0broken"]
    assert [path.name for path in result.figures] == [
        "delay-cdf.svg",
        "delay-cdf.png",
        "quality.svg",
        "quality.png",
    ]
    assert all(path.is_file() for path in result.figures)
    # The figures that were not asked for stay, and stay listed.
    listed = {e["stem"] for e in json.loads((results / "figures" / "index.json").read_text())}
    assert {"delay-cdf", "quality", "rendered-fps"} <= listed


def test_every_svg_is_valid_xml(results: Path) -> None:
    for path in (results / "figures").glob("*.svg"):
        ET.parse(path)


def test_figures_that_no_longer_apply_go_but_a_users_files_stay(tmp_path: Path) -> None:
    folder = write_suite(
        tmp_path, [Cell(loss_rate=r, duration_s=0.5) for r in (0.0, 0.2)], seeds=[1]
    )
    write_report(folder, figures=["quality"])
    figures = folder / "figures"
    assert (figures / "quality.svg").exists()
    (figures / "mine.svg").write_text("<svg/>")
    for run in (folder / "runs").iterdir():
        manifest = json.loads((run / "manifest.json").read_text())
        if manifest["cell"]["loss_rate"]:
            for path in run.iterdir():
                path.unlink()
            run.rmdir()
    write_report(folder, figures=["quality"])
    assert sorted(path.name for path in figures.iterdir()) == ["index.json", "mine.svg"]


def test_many_figures_of_a_kind_are_limited_and_said(tmp_path: Path) -> None:
    cells = [Cell(kbps=k, clip=c, duration_s=0.5) for k in (100.0, 200.0) for c in "ab"]
    write_suite(tmp_path, cells, transports=("h264",), seeds=(1,))
    result = write_report(tmp_path, figures=["latency-cdf"], max_files=1)
    assert len(result.figures) == 2
    assert "1 of " in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(write_report(tmp_path, figures=["latency-cdf"], max_files=0).figures) == 4


def test_a_contradicting_run_is_left_out_and_listed(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    good = write_run(tmp_path, Cell(duration_s=0.5), "h264", 1)
    bad = write_run(tmp_path, Cell(duration_s=0.5), "h265", 1)
    table = pq.read_table(bad / "frames.parquet")
    pq.write_table(table.slice(0, 5), bad / "frames.parquet")
    result = write_report(tmp_path, figures=["delay-cdf"])
    assert result.runs == 1
    assert [folder for folder, _ in result.broken] == [bad]
    assert good.name in (tmp_path / "summary.csv").read_text()


def test_an_older_configuration_is_left_out_and_told(tmp_path: Path) -> None:
    write_suite(tmp_path, [Cell(duration_s=1.0)], transports=("h264",), seeds=(1,))
    (older,) = (tmp_path / "runs").iterdir()
    newer = Path(shutil.copytree(older, older.with_name("newer")))
    for path, at in ((older, 1000), (newer, 2000)):
        os.utime(path / "manifest.json", (at, at))
    result = write_report(tmp_path, figures=["rendered-fps"])
    assert (result.runs, result.superseded) == (1, 1)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"same cell, seed and label (give variants a `label` of their own): {older.name}" in text


def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path) -> None:
    write_suite(tmp_path, [Cell(duration_s=1.0)], transports=("h264", "k $a_{ $"), seeds=(1,))
    result = write_report(tmp_path)
    assert result.runs == 2
    text = (tmp_path / "figures" / "rendered-fps.svg").read_text(encoding="utf-8")
    assert "k $a_{ $" in text


def test_progress_is_told(tmp_path: Path) -> None:
    write_run(tmp_path, Cell(duration_s=0.5), "h264", 1)
    said: list[str] = []
    write_report(tmp_path, figures=["delay-cdf"], progress=said.append)
    assert said[0] == "reading 1 runs"
    assert "drawing delay-cdf: 1 figure" in said


def test_nothing_to_report_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match=r"holds no run$"):
        write_report(tmp_path)
    (tmp_path / "failures.json").write_text('[{"cell": "x"}, {"cell": "y"}]')
    with pytest.raises(InputError, match="holds no run; 2 cells failed"):
        write_report(tmp_path)
    (tmp_path / "runs" / "a").mkdir()
    (tmp_path / "runs" / "b").mkdir()
    with pytest.raises(InputError, match=r"no readable run; .*missing \(and 1 more\)"):
        write_report(tmp_path)


def test_unknown_figures_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_run(tmp_path, Cell(duration_s=0.5), "h264", 1)
    with pytest.raises(UnknownNameError, match="unknown figure 'cdf'; known: delay-cdf"):
        write_report(tmp_path, figures=["cdf"])
    assert not (tmp_path / "summary.csv").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_run(tmp_path, Cell(duration_s=0.5), "h264", 1)
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path, figures=["delay-cdf"])
    assert not (tmp_path / "report.html").exists()


def test_inlining_renames_every_reference() -> None:
    text = (
        '<?xml version="1.0"?><svg xmlns="x"><metadata>m</metadata><defs><path id="p"/></defs>'
        '<use xlink:href="#p"/><use href="#p"/><g clip-path="url(#p)" style="fill: url(#p)"/></svg>'
    )
    assert inline_svg(text, "f1-", 'a "b"') == (
        '<svg role="img" aria-label="a &quot;b&quot;" xmlns="x"><defs><path id="f1-p"/></defs>'
        '<use xlink:href="#f1-p"/><use href="#f1-p"/>'
        '<g clip-path="url(#f1-p)" style="fill: url(#f1-p)"/></svg>'
    )
