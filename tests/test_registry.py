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
