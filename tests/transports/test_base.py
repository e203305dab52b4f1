from dataclasses import dataclass
from typing import Any

import pytest

from testbed.errors import InputError
from testbed.transports import TRANSPORTS
from testbed.transports.base import check_world, worlds_of


@dataclass(frozen=True)
class Confined:
    name: str = "mine"
    worlds: tuple[str, ...] = ("mars", "venus")


def test_a_transport_without_a_word_about_worlds_runs_in_any() -> None:
    for name in ("h264", "h265", "h266", "morphe"):
        assert worlds_of(TRANSPORTS.get(name)) == ()
        check_world(TRANSPORTS.get(name), "moon")


def test_a_confined_one_is_refused_elsewhere() -> None:
    transport: Any = Confined()
    check_world(transport, "venus")
    with pytest.raises(InputError) as refused:
        check_world(transport, "simulator")
    assert str(refused.value) == "transport mine runs in --world mars or --world venus only"
