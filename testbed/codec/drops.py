"""Leaving out tokens at the encoder: which share, of what, and chosen how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from testbed.errors import InputError

#: How tokens are chosen, and from which; the core has the same constants.
SELECTIONS: Final = ("similarity", "energy", "random")
DROP_SCOPES: Final = ("p", "all")


@dataclass(frozen=True, slots=True)
class DropCondition:
    """What is left out of every GoP, at the qualities that the rate gives without.

    Attributes:
        share: of the tokens, 0 < share <= 1.
        selection: any of `SELECTIONS`.
        scope: any of `DROP_SCOPES`: a share of the P tokens, or of all tokens.

    Raises:
        InputError: a value outside these.
    """

    share: float
    selection: str = "similarity"
    scope: str = "p"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"--drop {self.share:g}: must be > 0 and <= 1")
        for option, name, allowed in (
            ("--selection", self.selection, SELECTIONS),
            ("--drop-scope", self.scope, DROP_SCOPES),
        ):
            if name not in allowed:
                raise InputError(f"{option} {name!r}: is not known; allowed: {', '.join(allowed)}")

    def __str__(self) -> str:
        """For progress and labels: `similarity, 50 % of P`."""
        return f"{self.selection}, {100 * self.share:g} % of {scope_name(self.scope)}"


def scope_name(scope: str) -> str:
    """What a scope is called beside a share."""
    return "P" if scope == "p" else scope
