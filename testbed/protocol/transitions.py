"""Moving along a literal transition table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from testbed.errors import LocalProtocolError

_State = TypeVar("_State", bound=Enum)
_Event = TypeVar("_Event", bound=Enum)


def moved(
    table: Mapping[tuple[_State, _Event], _State], state: _State, event: _Event, *, of: str
) -> _State:
    """The state after an event.

    Args:
        table: every transition that there is.
        state: before.
        event: what happens.
        of: name of the machine, for the error.

    Raises:
        LocalProtocolError: the table has no such transition.
    """
    after = table.get((state, event))
    if after is None:
        raise LocalProtocolError(f"{of}: {event.value!r} is not allowed while {state.value!r}")
    return after
