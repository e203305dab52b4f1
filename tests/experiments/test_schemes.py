"""Schemes in a scenario: shipped by name, the user's by path."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.errors import InputError
from testbed.experiments.cell import Cell
from testbed.experiments.runner import manifest
from testbed.experiments.scenario import load_scenario
from testbed.experiments.suite import expand
from testbed.transports import TRANSPORTS
from testbed.transports.h26x.options import H26xOptions

Write = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("fakes")

SCHEME = """\
name: mine
display_name: My H.264
summary: H.264 in slices
base: h264
options: {slices: 8, max_tries: 5}
colour: "#123456"
marker: D
line: [3, 1]
notes: made up
"""


def cells_of(path: Path, transports: str) -> dict[str, Cell]:
    overrides = (f"transports={transports}", "seeds=[1]", "downlink.loss={kind: none}")
    return {cell.transport: cell for cell in expand(load_scenario(path, overrides=overrides))}


def test_a_registered_transport_is_told_as_before(write: Write) -> None:
    cell = cells_of(write(), "[{name: h264, slices: 2}]")["h264"]
    told = dataclasses.asdict(H26xOptions(slices=2))
    # Whatever is added here gives every run another name.
    assert cell.resolved["transport"] == {"name": "h264", "options": told}
    assert cell.session.transport == "h264"
    assert cell.session.transport_options == {"slices": 2}


def test_a_shipped_scheme_runs_its_base_with_every_option_told(write: Write) -> None:
    cells = cells_of(write(), "[h264, h264+conceal]")
    scheme, plain = cells["h264+conceal"], cells["h264"]
    options = dataclasses.asdict(H26xOptions(conceal=True, slices=4))
    assert scheme.resolved["transport"] == {
        "name": "h264+conceal",
        "options": options,
        "base": "h264",
    }
    assert scheme.session.transport == "h264"
    assert scheme.session.transport_options == options
    assert scheme.cell_id == plain.cell_id
    assert scheme.run != plain.run
    assert manifest(scheme, {})["look"]["display_name"] == "H.264+concealment"
    assert manifest(plain, {})["look"]["colour"] == manifest(scheme, {})["look"]["colour"]


def test_a_users_scheme_lies_beside_the_scenario(write: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCHEME, encoding="utf-8")
    cells = cells_of(write(), "[h264, ./mine.yaml, {name: mine.yaml, label: few, slices: 2}]")
    assert set(cells) == {"h264", "mine", "few"}
    cell = cells["mine"]
    assert cell.resolved["transport"]["name"] == "mine"
    assert cell.resolved["transport"]["options"]["slices"] == 8
    assert cell.resolved["transport"]["base"] == cell.session.transport == "h264"
    assert cells["few"].session.transport_options["slices"] == 2
    assert cells["few"].session.transport_options["max_tries"] == 5
    assert manifest(cell, {})["look"]["marker"] == "D"
    assert manifest(cell, {})["look"]["notes"] == ["made up"]


def test_a_changed_option_in_the_file_is_another_run(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SCHEME, encoding="utf-8")
    before = cells_of(write(), "[mine.yaml]")["mine"]
    path.write_text(SCHEME.replace('colour: "#123456"', 'colour: "#654321"'), encoding="utf-8")
    recoloured = cells_of(write(), "[mine.yaml]")["mine"]
    assert recoloured.run == before.run  # a colour changes no number
    path.write_text(SCHEME.replace("slices: 8", "slices: 9"), encoding="utf-8")
    assert cells_of(write(), "[mine.yaml]")["mine"].run != before.run


@pytest.mark.parametrize(
    ("transports", "complaint"),
    [
        ("[gone.yaml]", "gone.yaml: cannot read: No such file or directory"),
        ("[h264, {name: mine.yaml, fat: 1}]", "transports[1]: transport mine: unknown option"),
        ("[mine.yaml, ./mine.yaml]", "mine is listed twice; give one of them a `label`"),
        ("[h264+hope]", "unknown transport 'h264+hope'; known: aiortc-h264"),
    ],
)
def test_what_is_wrong_names_the_place(
    write: Write, tmp_path: Path, transports: str, complaint: str
) -> None:
    (tmp_path / "mine.yaml").write_text(SCHEME, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        cells_of(write(), transports)
    assert complaint in str(refused.value)
    assert "transports" in str(refused.value)


def test_every_scheme_can_be_named_in_a_scenario(write: Write) -> None:
    names = [n for n in TRANSPORTS.names() if not getattr(TRANSPORTS.get(n), "worlds", ())]
    names.remove("grace-original")  # needs a checkout of the user's
    light = [n for n in names if TRANSPORTS.get(n).codec != "morphe"]
    assert set(cells_of(write(), f"[{', '.join(light)}]")) == set(light)
