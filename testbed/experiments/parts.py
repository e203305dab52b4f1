"""Parts of a scenario: clips, paths, transports, rate control."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from testbed.experiments.fields import (
    Many,
    Name,
    NonNegativeInt,
    NonNegativeNumber,
    OpenPart,
    Part,
    PositiveNumber,
    Values,
)
from testbed.experiments.impairments import LossField, NoLoss, QueueField

STAGES = ("queue", "loss", "delay")


def _even(value: int) -> int:
    if value % 2:
        raise PydanticCustomError("odd", "must be even (4:2:0 pictures)")
    return value


#: Luma size; 0 keeps the source's.
Size = Annotated[int, Field(ge=0, le=8192), AfterValidator(_even)]
FrameRate = Annotated[float, Field(gt=0, le=240)]


class ClipEntry(Part):
    """A clip with a form of its own; what it leaves out comes from the top of the file."""

    source: Name
    """Catalogue name, path from this file, or `test:NAME` for a generated pattern."""
    width: Size | None = None
    """Luma width after scaling; 0 keeps the source's."""
    height: Size | None = None
    """Luma height after scaling; 0 keeps the source's."""
    fps: FrameRate | None = None
    """Frame rate after conversion."""


def _source_alone(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


ClipField = Annotated[
    ClipEntry, BeforeValidator(_source_alone, json_schema_input_type=str | ClipEntry)
]


class DelayTrace(Part):
    """Propagation delay that changes over time; repeats when it ends."""

    samples_ms: Values[NonNegativeNumber] = ()
    """The delays, in milliseconds."""
    file: Name | None = None
    """Instead of `samples_ms`: a text file with one delay in milliseconds a line."""
    step_ms: PositiveNumber = 100.0
    """Spacing of the samples."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (not self.samples_ms):
            raise PydanticCustomError("one_source", "needs `samples_ms` or `file`, not both")
        return self


def _permutation(value: tuple[str, ...]) -> tuple[str, ...]:
    if sorted(value) != sorted(STAGES):
        raise PydanticCustomError(
            "order", "must hold queue, loss and delay once each, in the order a packet meets them"
        )
    return value


class PathEntry(Part):
    """One direction of the path."""

    trace: Many[Name] | None = None
    """Capacity: `constant:2000kbps`, `model:rail`, `set:rail*10`, a catalogue name or a file; a
    list is an axis. Without it the link is unlimited."""
    scale: Many[PositiveNumber] | None = None
    """Factor on the trace's rates; results say so in the trace's name."""
    mean_kbps: Many[PositiveNumber] | None = None
    """Instead of `scale`: the mean that the trace's rates are scaled to."""
    mode: Literal["auto", "opportunities", "rate"] = "auto"
    """How the trace is replayed: mahimahi's delivery opportunities, or a continuous rate."""
    once: bool = False
    """The trace ends instead of repeating."""
    queue: Many[QueueField] = Field(default=({"kind": "infinite"},), validate_default=True)
    """Queue at the bottleneck."""
    delay_ms: Many[NonNegativeNumber] = (0.0,)
    """One-way propagation delay."""
    jitter_ms: Many[NonNegativeNumber] = (0.0,)
    """Standard deviation of a Gaussian extra delay, clipped at 0."""
    reorder: bool = False
    """Jittered packets may overtake each other."""
    delay_trace: DelayTrace | None = None
    """Propagation delay over time, instead of `delay_ms`."""
    loss: Many[Many[LossField]] = ((NoLoss(kind="none"),),)
    """Loss; a list is an axis, a list inside it is several models one after the other. Models
    per packet are indexed by the packet's number in its direction, models per frame by the frame,
    outages by time."""
    order: Annotated[Values[str], AfterValidator(_permutation)] = STAGES
    """Order of the stages."""
    phase_ms: Many[NonNegativeInt | Literal["random"]] = (0,)
    """Where in the trace the session starts; `random` draws it from the seed."""

    @model_validator(mode="after")
    def _one_scale(self) -> Self:
        if self.scale is not None and self.mean_kbps is not None:
            raise PydanticCustomError("one_scale", "takes `scale` or `mean_kbps`, not both")
        if self.trace is None and (self.scale is not None or self.mean_kbps is not None):
            raise PydanticCustomError("one_scale", "has no `trace` to scale")
        return self


class TransportEntry(OpenPart):
    """A transport with options of its own."""

    name: Name
    """Registered name, see `testbed transports list`; or path of a scheme file from this one."""
    label: Name | None = None
    """Name in results when it is listed more than once; its options by default."""


def _name_alone(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


TransportField = Annotated[
    TransportEntry, BeforeValidator(_name_alone, json_schema_input_type=str | TransportEntry)
]


class RateEntry(OpenPart):
    """Rate control; further keys are the controller's."""

    control: Name = "fixed"
    """Registered controller."""
    kbps: Many[PositiveNumber] | None = None
    """Target of the fixed controller, headers included."""

    @model_validator(mode="after")
    def _fixed_needs_kbps(self) -> Self:
        if self.control == "fixed" and self.kbps is None:
            raise PydanticCustomError("no_kbps", "control fixed needs `kbps`")
        return self


class CompetingEntry(Part):
    """Flows that share both directions of the path with the session."""

    kind: Literal["none", "media", "tcp"]
    """`media`: more of the session's own transport and clip; `tcp`: bulk data under CUBIC; `none`:
    nobody."""
    count: Many[Annotated[int, Field(ge=1, le=64)]] = (1,)
    """Flows of this sort."""
    start_s: NonNegativeNumber = 0.0
    """When the first of them starts."""
    every_s: NonNegativeNumber = 0.0
    """Time between the start of one and that of the next."""
    stop_s: PositiveNumber | None = None
    """When they end; with the session by default."""
    extra_delay_ms: NonNegativeNumber = 0.0
    """One-way delay that only they have, in both directions."""
    reverse: bool = False
    """Their data goes the way of the session's feedback, and the other way round."""
    transfer_kbytes: PositiveNumber | None = None
    """TCP flows rest after a transfer of so much, and begin anew; without end by default."""
    idle_s: NonNegativeNumber = 0.0
    """Mean of that rest, which is exponentially distributed."""
    control: Name | None = None
    """Rate control of media flows with its defaults; the session's by default."""
    kbps: PositiveNumber | None = None
    """Target of `control: fixed`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind != "media" and self.control is not None:
            raise PydanticCustomError("control", "only media flows have a `control`")
        if self.kind != "tcp" and self.transfer_kbytes is not None:
            raise PydanticCustomError("transfer", "only tcp flows have `transfer_kbytes`")
        if (self.control == "fixed") != (self.kbps is not None):
            raise PydanticCustomError("no_kbps", "`control: fixed` and `kbps` need each other")
        if self.stop_s is not None and self.stop_s <= self.start_s:
            raise PydanticCustomError("stop", "stop_s must be more than start_s")
        return self


class PlayoutEntry(Part):
    """The viewer's patience."""

    deadline_ms: Many[PositiveNumber] = (400.0,)
    """A frame is late when it is not decoded this long after capture."""
