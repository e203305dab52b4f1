from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from testbed.analysis import style
from testbed.analysis.runs import Run
from testbed.errors import OutputError
from testbed.transports.schemes import shipped_names, shipped_scheme


def linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.1."""
    red, green, blue = (linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_known_schemes_differ_in_colour_marker_and_line() -> None:
    shown = [style.scheme(name) for name in ("morphe", "h264", "h265", "h266", "grace-style")]
    for attribute in ("label", "colour", "marker", "line", "hatch"):
        assert len({str(getattr(one, attribute)) for one in shown}) == len(shown)


def test_curves_stand_out_from_white_paper() -> None:
    for name, look in style.schemes().items():
        # WCAG's 3:1 for graphics is out of reach for the palette's orange; 2:1 is not.
        assert 1.05 / (luminance(look.colour) + 0.05) > 1.9, name


@pytest.mark.parametrize("name", ["h265-fec", "h265+fec", "h265_fec"])
def test_variants_keep_the_colour_of_their_scheme(name: str) -> None:
    look, base = style.scheme(name), style.scheme("h265")
    assert look.colour == base.colour
    assert look.marker != base.marker
    assert look.line != base.line
    assert look.label == "H.265+FEC"


def test_labels_of_option_variants_stay_readable() -> None:
    look = style.scheme("h264+conceal+slices=4")
    assert look.colour == style.scheme("h264").colour
    assert look.label == "H.264+concealment+slices=4"


def test_unknown_schemes_have_a_fixed_look_of_their_own() -> None:
    # Pinned: a change here recolours everybody's figures.
    look = style.scheme("salsify")
    assert look == style.scheme("salsify")
    assert look.label == "salsify"
    assert (look.colour, look.marker) == ("#AA4499", "*")
    known = {one.colour for one in style.schemes().values()}
    assert {style.scheme(f"x{i}").colour for i in range(40)}.isdisjoint(known)


#: As a user's scheme file tells it through the manifest.
LOOK = {"display_name": "Mine", "colour": "#123456", "marker": "D", "line": [3, 1], "hatch": "xx"}


def run(label: str, name: str, look: Any = None) -> Any:
    manifest = {
        "transport": label,
        "resolved": {"transport": {"name": name, "options": {}}},
        "look": look,
    }
    return Run(Path("nowhere"), manifest)


def test_runs_bring_the_look_of_a_users_scheme() -> None:
    before = style.scheme("mine")
    with style.looks_of([run("mine", "mine", LOOK), run("h264", "h264", LOOK)]):
        look = style.scheme("mine")
        assert look == style.Scheme("Mine", "#123456", "D", (0, (3.0, 1.0)), "xx")
        assert style.scheme("mine+slices=2").colour == "#123456"
        assert style.scheme("h264").label == "H.264"  # what is shipped stays
    assert style.scheme("mine") == before != look


@pytest.mark.parametrize(
    "look", [None, {}, [], LOOK | {"marker": "?"}, LOOK | {"colour": 3}, LOOK | {"line": "wavy"}]
)
def test_a_look_that_cannot_be_drawn_is_left_alone(look: Any) -> None:
    with style.looks_of([run("mine", "mine", look)]):
        assert style.scheme("mine") == style.scheme("mine")
        assert style.scheme("mine").label == "mine"


def test_names_that_chance_makes_alike_are_told_apart() -> None:
    names = [f"x{n}" for n in range(40)]
    looks = {name: style.scheme(name) for name in names}
    alike = [n for n in names if [(k.colour, k.marker) for k in looks.values()].count(
        (looks[n].colour, looks[n].marker)) > 1]  # fmt: skip
    assert alike
    variants = [f"h265+{name}" for name in names[:7]]
    with style.looks_of([run(name, name) for name in alike[:16] + variants]):
        shown = [style.scheme(name) for name in alike[:16] + variants]
        shown += [style.scheme(name) for name in ("h264", "h265", "h265+arq")]
    for field in ("marker", "line", "hatch"):
        assert len({(one.colour, str(getattr(one, field))) for one in shown}) == len(shown)


def test_variants_stand_behind_their_scheme() -> None:
    order = list(style.schemes())
    for name, found in ((n, shipped_scheme(n)) for n in shipped_names()):
        assert found is not None
        if found.variant_of is not None:
            between = order[order.index(found.variant_of) + 1 : order.index(name)]
            others = [shipped_scheme(one) for one in between]
            assert all(one and one.variant_of == found.variant_of for one in others)


def test_legends_have_one_order() -> None:
    names = ["zeta", "h266", "alpha", "morphe", "h264"]
    assert style.order(names) == ["morphe", "h264", "h266", "alpha", "zeta"]


def draw() -> object:
    figure = style.new_figure(style.COLUMN_IN, 2.0)
    axis = figure.subplots()
    axis.plot([0, 1, 2], [0, 1, 0.5], label="Ü ≥ µ")
    axis.fill_between([0, 1], [0, 1], hatch="//")
    axis.legend()
    return figure


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        with style.paper_style():
            files.append(style.save(draw(), tmp_path / name, "figure"))  # type: ignore[arg-type]
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert b"<dc:date>" not in files[0][0].read_bytes()


def test_png_has_300_dots_an_inch(tmp_path: Path) -> None:
    with style.paper_style():
        _, png = style.save(draw(), tmp_path, "figure")  # type: ignore[arg-type]
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(content[16:20]) == round(style.COLUMN_IN * 300)


def test_a_users_settings_neither_show_through_nor_change() -> None:
    with mpl.rc_context({"font.size": 31, "axes.grid": False}):
        with style.paper_style():
            assert mpl.rcParams["font.size"] == 8
            assert mpl.rcParams["pdf.fonttype"] == mpl.rcParams["ps.fonttype"] == 42
        assert mpl.rcParams["font.size"] == 31


def test_files_are_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    style.write_whole(path, b"old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match=r"file: cannot be written \(No space left"):
        style.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        style.write_whole(tmp_path / "figures" / "x.svg", b"")
