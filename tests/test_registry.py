from pathlib import Path

import pytest

from testbed.errors import InputError, LocalProtocolError
from testbed.registry import Registry


def test_an_unknown_name_lists_the_known_ones() -> None:
    shapes: Registry[int] = Registry("shape", group="testbed.no-such-group")
    shapes.register("round")(1)
    shapes.register("flat")(2)
    assert shapes.get("round") == 1
    with pytest.raises(InputError, match=r"unknown shape 'square'; known: flat, round"):
        shapes.get("square")


def test_a_name_is_given_once() -> None:
    shapes: Registry[int] = Registry("shape", group="testbed.no-such-group")
    shapes.register("round")(1)
    with pytest.raises(LocalProtocolError, match="twice"):
        shapes.register("round")(3)
    assert shapes.get("round") == 1


def test_entry_points_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "foreign"

        def load(self) -> int:
            return 7

    monkeypatch.setattr("testbed.registry.entry_points", lambda group: [Point()])
    shapes: Registry[int] = Registry("shape", group="g")
    assert shapes.get("foreign") == 7
    assert shapes.names() == ["foreign"]


def test_a_plug_in_that_cannot_be_imported_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = tmp_path / "broken-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[testbed.shapes]\nbent = a_module_of_nobody:X\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    shapes: Registry[int] = Registry("shape", group="testbed.shapes")
    with pytest.raises(InputError) as refused:
        shapes.get("bent")
    assert str(refused.value) == (
        "shape 'bent' (a_module_of_nobody:X) cannot be loaded: No module named 'a_module_of_nobody'"
    )
