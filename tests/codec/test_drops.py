"""What may be asked for of dropping tokens."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.codec.core import Settings
from testbed.codec.drops import DROP_SCOPES, SELECTIONS, DropCondition
from testbed.errors import InputError


def test_constants_are_those_of_the_core() -> None:
    from morphe_core.vgc import config

    assert set(SELECTIONS) == set(config.SELECTIONS)
    assert config.DROP_SCOPES == DROP_SCOPES


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"share": 0}, "--drop 0: must be > 0 and <= 1"),
        ({"share": 1.01}, "--drop 1.01: must be > 0 and <= 1"),
        ({"share": float("nan")}, "--drop nan: must be > 0 and <= 1"),
        ({"selection": "best"}, "--selection 'best': is not known; allowed: similarity, energy"),
        ({"scope": "i"}, "--drop-scope 'i': is not known; allowed: p, all"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        DropCondition(**{"share": 0.5, **wrong})
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_it_becomes_the_cores_settings() -> None:
    config = Settings("morphe-paper", 3, DropCondition(0.5, "random", "all")).config()
    assert (config.drop_share, config.selection, config.drop_scope) == (0.5, "random", "all")
    assert (config.scale, config.packing) == (3, "rows")
    assert Settings("morphe-paper").config().drop_share == 0


def test_it_is_said_in_few_words() -> None:
    assert str(DropCondition(0.5, "energy")) == "energy, 50 % of P"
    assert str(DropCondition(0.125, "random", "all")) == "random, 12.5 % of all"
