"""Checks of the keyword options that a scenario hands to a queue or a loss model."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from testbed.errors import InputError


def reject_unknown(owner: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse keywords that `owner` does not have.

    Raises:
        InputError: names the keyword and the known ones.
    """
    for name in options:
        if name not in known:
            allowed = ", ".join(known) if known else "none"
            raise InputError(f"{owner}: unknown option {name!r}; known: {allowed}")


def number(
    owner: str,
    options: Mapping[str, Any],
    name: str,
    *,
    default: float | None = None,
    low: float = 0.0,
    high: float = math.inf,
) -> float:
    """A finite number from `options`, from `low` to `high`.

    Raises:
        InputError: missing without a default, not a number, or out of range.
    """
    value = options.get(name, default)
    if value is None:
        raise InputError(f"{owner}: {name} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{owner}: {name} is {value!r}; must be a number")
    if not low <= value <= high:
        most = "" if high == math.inf else f" and <= {high:g}"
        raise InputError(f"{owner}: {name} is {value:g}; must be >= {low:g}{most}")
    return float(value)


def probability(
    owner: str, options: Mapping[str, Any], name: str, *, default: float | None = None
) -> float:
    """A number from 0 to 1; see `number`."""
    return number(owner, options, name, default=default, high=1.0)
