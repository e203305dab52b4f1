"""The schema of scheme files."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from testbed.problems import one_line

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
_COLOUR: Final = re.compile(r"#[0-9A-Fa-f]{6}")
#: What matplotlib's hatches are made of.
_HATCH: Final = re.compile(r"[/\\|+xoO.*-]{0,8}")


def _matching(pattern: re.Pattern[str], words: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise PydanticCustomError("form", "{words}", {"words": f"must be {words}"})
        return value

    return AfterValidator(check)


def _dashes(value: Any) -> Any:
    """A list of lengths in points, dash and gap in turn, as matplotlib wants it."""
    if not isinstance(value, list):
        return value
    numbers = [v for v in value if isinstance(v, int | float) and not isinstance(v, bool)]
    if not value or len(numbers) < len(value) or len(value) % 2 or min(numbers) <= 0:
        raise PydanticCustomError("dashes", "must be lengths > 0 in points: dash, gap, dash, gap")
    return tuple(float(number) for number in numbers)


def _lines(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, Field(min_length=1), AfterValidator(one_line)]
SchemeName = Annotated[str, _matching(_NAME, "letters, digits, `+`, `-`, `_` and `.`")]
#: Filled ones: figures draw a white rim around markers, of which lines alone would not be left.
Marker = Literal["o", "v", "^", "<", ">", "8", "s", "p", "*", "h", "H", "D", "d", "P", "X"]
Line = Annotated[
    Literal["-", "--", "-.", ":"] | tuple[float, ...],
    BeforeValidator(_dashes),
]


class LookPart(BaseModel):
    """How a scheme is shown."""

    model_config = ConfigDict(frozen=True, strict=True, use_attribute_docstrings=True)

    display_name: Text
    """What figures and tables call it."""
    colour: Annotated[str, _matching(_COLOUR, "a colour such as '#0072B2'")]
    """RGB in hex."""
    marker: Marker
    """matplotlib marker."""
    line: Line
    """matplotlib line style, or lengths of dashes and gaps in points."""
    hatch: Annotated[str, _matching(_HATCH, "up to eight of / \\ | - + x o O . *")] = ""
    """matplotlib hatch of its bars."""
    notes: Annotated[tuple[Text, ...], BeforeValidator(_lines)] = ()
    """What qualifies its results."""
    variant_of: SchemeName | None = None
    """Scheme that it is a variant of: it stands behind that one, in its colour."""


class SchemeFile(LookPart):
    """One scheme: a registered transport with options of its own, and how it is shown."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: SchemeName
    """What a scenario calls it; the file's name without its suffix."""
    summary: Text
    """One line for `testbed transports list`."""
    base: Text
    """Registered transport that does the work."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Its options where they differ from its own defaults; a scenario may change them again."""
    rank: Annotated[float, Field(ge=0)] = 100.0
    """Place in legends, low first; equals go by name."""

    @model_validator(mode="after")
    def _own_defaults(self) -> Self:
        if self.base == self.name and self.options:
            raise PydanticCustomError(
                "own_defaults", "`options` must be empty where `base` is the scheme's own name"
            )
        return self

    def look(self) -> dict[str, Any]:
        """How it is shown, as JSON values for a manifest."""
        return self.model_dump(mode="json", include=set(LookPart.model_fields))
