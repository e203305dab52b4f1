"""Options that several subcommands share, and the reading of lists of numbers."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from testbed.codec.core import DEVICES, PROFILES, SCALES
from testbed.errors import InputError

Weights = Annotated[
    str, typer.Option(metavar="NAME|PATH", help="A shipped model, or a weights file.")
]
Device = Annotated[str, typer.Option(metavar="|".join(DEVICES), help="Where the networks run.")]
Profile = Annotated[
    str, typer.Option(metavar="|".join(PROFILES), help="The codec, or its plain form.")
]
Profiles = Annotated[
    str, typer.Option(metavar="NAME,NAME", help=f"{', '.join(PROFILES)}; none: anchors only.")
]
Scale = Annotated[
    str,
    typer.Option(
        metavar="|".join(SCALES), help="Source pixels per coded pixel; auto: chosen by the rate."
    ),
]

#: Beyond these, a rate is a typing error.
LEAST_KBPS, MOST_KBPS = 1.0, 1e6


def numbers(option: str, text: str, *, low: float, high: float) -> list[float]:
    """The different numbers of a list such as `100,400`, in its order.

    Raises:
        InputError: empty, not a number, or outside `low` to `high`.
    """
    found: list[float] = []
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            raise InputError(f"{option} {word.strip()!r}: must be a number") from None
        if not (math.isfinite(value) and low <= value <= high):
            raise InputError(f"{option} {word.strip()}: must be within {low:g} and {high:g}")
        if value not in found:
            found.append(value)
    return found


def check_kbps(value: float) -> float:
    """A rate that can be meant.

    Raises:
        InputError: outside of `LEAST_KBPS` to `MOST_KBPS`.
    """
    if not LEAST_KBPS <= value <= MOST_KBPS:
        raise InputError(f"--kbps {value:g}: must be within {LEAST_KBPS:g} and {MOST_KBPS:g}")
    return value
