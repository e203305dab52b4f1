"""The scenario file: one experiment as data, checked before anything runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from testbed.experiments.fields import Many, Name, NonNegativeInt, NonNegativeNumber, Part, Values
from testbed.experiments.parts import (
    ClipField,
    CompetingEntry,
    FrameRate,
    PathEntry,
    PlayoutEntry,
    RateEntry,
    Size,
    TransportField,
)
from testbed.problems import validate
from testbed.yamlfile import Document, apply_override, load_document

#: The line that shipped scenario files start with, for editors.
SCHEMA_LINE = "# yaml-language-server: $schema=schema.json"


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("repeated", "must not repeat a value")
    return values


def _not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise PydanticCustomError("empty_list", "must not be an empty list")
    return values


class Scenario(Part):
    """A suite: the product of every list in it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Short name; results go to `results/NAME`."""
    description: str = ""
    """One sentence on what it shows."""
    clips: Many[ClipField]
    """What is streamed."""
    width: Many[Size] = (0,)
    """Luma width after scaling; 0 keeps the source's. A list goes with the list of `height`."""
    height: Many[Size] = (0,)
    """Luma height after scaling; 0 keeps the source's."""
    fps: Many[FrameRate] | None = None
    """Frame rate after conversion; the source's by default."""
    duration_s: Annotated[float, Field(gt=0, le=86_400)]
    """Length of a session; shorter clips loop."""
    warmup_s: NonNegativeNumber = 0.0
    """Left out of utilisation and tracking at the start of a session."""
    downlink: PathEntry = PathEntry()
    """The media direction."""
    uplink: PathEntry = PathEntry()
    """The feedback direction."""
    transports: Many[TransportField]
    """Schemes to compare; all see the same loss realisation and trace phase."""
    rate: Many[RateEntry]
    """Rate control."""
    competing: Many[Many[CompetingEntry]] = ((CompetingEntry(kind="none"),),)
    """What else is on the path; a list is an axis, a list inside it is several sorts at once."""
    compute: Many[Name] = ("zero",)
    """Compute model: what coding a frame costs in virtual time."""
    playout: PlayoutEntry = PlayoutEntry()
    """When a frame is too late."""
    seeds: Annotated[
        Values[NonNegativeInt], AfterValidator(_not_empty), AfterValidator(_distinct)
    ] = (1,)
    """Repetitions; a seed draws losses, synthetic traces and random phases."""
    quality: Annotated[Values[Literal["vmaf", "ssim", "psnr"]], AfterValidator(_distinct)] = ()
    """Picture metrics of what was displayed; none = pixels are not decoded."""

    @model_validator(mode="after")
    def _sizes_pair_up(self) -> Self:
        if len(self.width) != len(self.height):
            raise PydanticCustomError(
                "size", "width and height must be lists of equal length; they are one axis"
            )
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_s >= self.duration_s:
            raise PydanticCustomError("warmup", "warmup_s must be less than duration_s")
        return self


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario with the file that it came from.

    Attributes:
        scenario: the checked content.
        document: where each value was written.
    """

    scenario: Scenario
    document: Document

    @property
    def base(self) -> Path:
        """Folder that relative paths in the file start from."""
        return self.document.path.resolve().parent


def load_scenario(
    path: Path, *, overrides: Sequence[str] = (), seeds: int | None = None
) -> LoadedScenario:
    """Read and check a scenario file.

    Args:
        path: the YAML file.
        overrides: `KEY=VALUE` texts of `--set`, applied in order.
        seeds: use seeds 1 to this many instead of the file's.

    Raises:
        ScenarioError: the first thing that is wrong, as `file:line: field: what`.
    """
    document = load_document(path)
    for text in overrides:
        apply_override(document, text)
    if seeds is not None:
        document.data["seeds"] = list(range(1, seeds + 1))
    return LoadedScenario(validate(Scenario, document), document)


def json_schema() -> dict[str, Any]:
    """The schema of scenario files as JSON Schema (draft 2020-12)."""
    schema = Scenario.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """`json_schema` as the text of `scenarios/schema.json`."""
    return json.dumps(json_schema(), indent=2) + "\n"
