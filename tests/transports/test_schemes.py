"""Scheme files: what ships is sound, what users write is checked, and a scheme is its base."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib.lines
import pytest

from testbed.errors import InputError, ScenarioError, UnknownNameError
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import look_of
from testbed.transports.registered import TransportRegistry
from testbed.transports.schemes import load_scheme, shipped_names, shipped_scheme
from testbed.transports.schemes.transport import SchemeTransport, find_transport

MINE = """\
name: mine
display_name: Mine
summary: H.264 in slices
base: h264
options: {slices: 8}
colour: "#123456"
marker: D
line: [3, 1]
"""


def written(folder: Path, content: str = MINE, *, name: str = "mine") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(content, encoding="utf-8")
    return path


#: Options without which a scheme is nothing.
REQUIRED = {"grace-original": {"checkout": "somewhere"}}


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_scheme_is_a_transport_with_options_that_its_base_takes(name: str) -> None:
    transport = TRANSPORTS.get(name)
    found = shipped_scheme(name)
    assert found is not None
    assert transport.name == found.name == name
    assert transport.display_name == found.display_name
    assert look_of(transport) == found.look()
    options = parse_options(transport, REQUIRED.get(name, {}))
    assert {key: getattr(options, key) for key in found.options} == found.options
    assert found.marker in matplotlib.lines.Line2D.filled_markers
    if found.variant_of is not None:
        parent = shipped_scheme(found.variant_of)
        assert parent is not None
        assert parent.colour == found.colour


def test_every_built_in_transport_has_a_file() -> None:
    registered: set[str] = {name for name in TRANSPORTS.names() if TRANSPORTS.get(name)}
    assert registered >= set(shipped_names())
    for name in ("h264", "h265", "h266", "morphe", "aiortc-h264", "aiortc-vp8"):
        assert not isinstance(TRANSPORTS.get(name), SchemeTransport)
        assert name in shipped_names()


def test_no_two_shipped_schemes_look_alike() -> None:
    files = [found for name in shipped_names() if (found := shipped_scheme(name))]
    assert len({(f.colour, f.marker) for f in files}) == len(files)
    assert len({(f.colour, str(f.line)) for f in files}) == len(files)
    assert len({(f.colour, f.hatch) for f in files}) == len(files)
    assert len({f.display_name for f in files}) == len(files)


def test_a_scheme_hands_on_to_its_base_with_its_own_defaults(tmp_path: Path) -> None:
    scheme = find_transport("mine.yaml", base=written(tmp_path).parent)
    base = TRANSPORTS.get("h264")
    assert scheme.codec == base.codec
    assert parse_options(scheme, {}) == parse_options(base, {"slices": 8})
    assert parse_options(scheme, {"slices": 2}).slices == 2  # a scenario goes first
    assert find_transport(str(written(tmp_path)), base=Path("/")).name == "mine"
    with pytest.raises(InputError, match="transport mine: slices: must be in 1"):
        parse_options(scheme, {"slices": 99})
    with pytest.raises(InputError, match="transport mine: unknown option 'fat'; known: preset"):
        parse_options(scheme, {"fat": 1})


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("colour: ", "color: ", "mine.yaml:6: color: unknown key; known here: base, colour,"),
        ("base: h264\n", "", "mine.yaml: base: is missing"),
        ("#123456", "blue", "mine.yaml:6: colour: must be a colour such as '#0072B2' (got 'blue')"),
        ("marker: D", "marker: x", "mine.yaml:7: marker: must be one of 'o', 'v'"),
        ("[3, 1]", "[3]", "mine.yaml:8: line: must be lengths > 0 in points"),
        ("[3, 1]", "[3, 0]", "mine.yaml:8: line: must be lengths > 0 in points"),
        ("[3, 1]", "wavy", "mine.yaml:8: line"),
        ("name: mine", "name: yours", "name: must be the file's own, 'mine' (got 'yours')"),
        ("name: mine", "name: [", "not YAML"),
        ("base: h264", "base: mine", "`options` must be empty where `base` is the scheme's own"),
        ("[3, 1]", '[3, 1]\nhatch: "?"', "mine.yaml:9: hatch: must be up to eight of"),
        ("[3, 1]", "[3, 1]\nnotes: [1]", "mine.yaml:9: notes[0]: must be text (got 1)"),
        ("H.264 in slices", '"a\\0b"', "mine.yaml:3: summary: must be one line of printable"),
        ("base: h264", "base: h999", "base: unknown transport 'h999'; known: aiortc-h264"),
        ("base: h264", "base: h264+conceal", "base: unknown transport 'h264+conceal'"),
        ("{slices: 8}", "{slice: 8}", "options: transport mine: unknown option 'slice'"),
        ("{slices: 8}", "{slices: 99}", "options: transport mine: slices: must be in 1..32"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in MINE
    path = written(tmp_path, MINE.replace(old, new))
    with pytest.raises(InputError) as refused:
        find_transport("mine.yaml", base=tmp_path)
    assert complaint in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_may_not_take_a_registered_name(tmp_path: Path) -> None:
    written(tmp_path, MINE.replace("name: mine", "name: h265"), name="h265")
    with pytest.raises(InputError, match="'h265' is a registered transport"):
        find_transport("h265.yaml", base=tmp_path)
    with pytest.raises(ScenarioError, match="cannot read: No such file"):
        find_transport("other.yaml", base=tmp_path)


def test_unknown_names_list_schemes_as_well() -> None:
    with pytest.raises(UnknownNameError, match=r"known: .*h264\+conceal.*morphe"):
        TRANSPORTS.get("h265+prayer")
    empty = TransportRegistry("transport", group="testbed.nothing")
    with pytest.raises(UnknownNameError, match="unknown transport 'h264'; known:"):
        empty.get("h264")


def test_a_hatch_of_backslashes_survives_yaml() -> None:
    found = shipped_scheme("h265")
    assert found is not None
    assert found.hatch == "\\" * 4


def test_names_and_texts_need_no_heavy_package() -> None:
    code = (
        "import sys; from testbed.transports import TRANSPORTS\n"
        "[TRANSPORTS.get(n).display_name for n in TRANSPORTS.names()]\n"
        "assert not {'torch', 'matplotlib', 'pandas'} & set(sys.modules), 'heavy'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_loading_twice_gives_equal_files(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert load_scheme(path) == load_scheme(path)
    assert load_scheme(path).look() == {
        "display_name": "Mine",
        "colour": "#123456",
        "marker": "D",
        "line": [3.0, 1.0],
        "hatch": "",
        "notes": [],
        "variant_of": None,
    }
