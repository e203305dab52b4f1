"""Queues and loss models of a scenario, one model a `kind`.

The built-in kinds are spelled out so that a mistake is found with its line before anything runs,
and so that an editor can complete them; any other kind may be a third party's, whose keywords the
registry's factory checks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag, model_validator
from pydantic_core import PydanticCustomError

from testbed.experiments.fields import (
    Many,
    Name,
    NonNegativeNumber,
    OpenPart,
    Part,
    PositiveInt,
    PositiveNumber,
    Probability,
    Values,
)


def _kind_alone(value: Any) -> Any:
    """`loss: none` is short for `loss: {kind: none}`."""
    return {"kind": value} if isinstance(value, str) else value


def _tag(builtin: frozenset[str]) -> Callable[[Any], str | None]:
    def tag(value: Any) -> str | None:
        kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
        if not isinstance(kind, str):
            return None
        return kind if kind in builtin else "registered"

    return tag


def _by_kind(builtin: frozenset[str]) -> Discriminator:
    return Discriminator(
        _tag(builtin),
        custom_error_type="kind_missing",
        custom_error_message="must be a mapping with a `kind`",
    )


def _other_than(builtin: frozenset[str]) -> dict[str, JsonValue]:
    names: list[JsonValue] = [*sorted(builtin)]
    return {"not": {"enum": names}}


# --- queues -------------------------------------------------------------------------------


class InfiniteQueue(Part):
    """A queue without a limit."""

    kind: Literal["infinite"]


class QueueLimits(Part):
    """Limits of a queue; they count waiting packets only."""

    packets: Many[PositiveInt] | None = None
    """Limit in packets."""
    bytes: Many[PositiveInt] | None = None
    """Limit in bytes, headers included."""


class LimitedQueue(QueueLimits):
    """A queue that drops at its limit and therefore needs one."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.packets is None and self.bytes is None:
            raise PydanticCustomError("no_limit", "needs `packets` or `bytes`")
        return self


class DropTailQueue(LimitedQueue):
    """Drops what arrives at a full queue."""

    kind: Literal["droptail"]


class DropHeadQueue(LimitedQueue):
    """Drops the oldest packets to make room."""

    kind: Literal["drophead"]


class CodelQueue(QueueLimits):
    """Controlled delay (RFC 8289)."""

    kind: Literal["codel"]
    target_ms: Many[PositiveNumber] | None = None
    """Acceptable standing delay; 5 by default."""
    interval_ms: Many[PositiveNumber] | None = None
    """How long the delay may stay above it; 100 by default."""


class PieQueue(QueueLimits):
    """Proportional integral controller enhanced (RFC 8033)."""

    kind: Literal["pie"]
    target_ms: Many[PositiveNumber] | None = None
    """Delay that it steers to; 15 by default."""
    burst_ms: Many[NonNegativeNumber] | None = None
    """Burst that it lets pass; 150 by default."""


QUEUE_KINDS: Final = frozenset({"infinite", "droptail", "drophead", "codel", "pie"})


class RegisteredQueue(OpenPart):
    """A queue that a third party registered."""

    kind: str = Field(json_schema_extra=_other_than(QUEUE_KINDS))
    packets: Many[PositiveInt] | None = None
    bytes: Many[PositiveInt] | None = None


QueueEntry = Annotated[
    Annotated[InfiniteQueue, Tag("infinite")]
    | Annotated[DropTailQueue, Tag("droptail")]
    | Annotated[DropHeadQueue, Tag("drophead")]
    | Annotated[CodelQueue, Tag("codel")]
    | Annotated[PieQueue, Tag("pie")]
    | Annotated[RegisteredQueue, Tag("registered")],
    _by_kind(QUEUE_KINDS),
]
QueueField = Annotated[
    QueueEntry, BeforeValidator(_kind_alone, json_schema_input_type=str | QueueEntry)
]

# --- loss ---------------------------------------------------------------------------------


class LossPart(Part):
    """Base of the loss models.

    `lists` names the fields whose value is a list by nature and therefore no axis.
    """

    lists: ClassVar[frozenset[str]] = frozenset()


class NoLoss(LossPart):
    """Nothing is lost."""

    kind: Literal["none"]


class BernoulliLoss(LossPart):
    """Each packet is lost alone."""

    kind: Literal["bernoulli"]
    rate: Many[Probability]
    """Probability of loss."""


class GilbertElliottLoss(LossPart):
    """Two states; losses come in bursts. Give `rate` and `mean_burst`, or `p` and `r`."""

    kind: Literal["gilbert-elliott"]
    rate: Many[Probability] | None = None
    """Long-run share of lost packets."""
    mean_burst: Many[Annotated[float, Field(ge=1)]] | None = None
    """Mean length of a run of lost packets."""
    p: Many[Probability] | None = None
    """Probability of going from good to bad."""
    r: Many[Probability] | None = None
    """Probability of going from bad to good."""
    h: Many[Probability] | None = None
    """Probability of delivery in the bad state."""
    k: Many[Probability] | None = None
    """Probability of delivery in the good state."""
    per: Literal["packet", "frame"] | None = None
    """When the state moves, by default every packet; a loss is drawn for every packet."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        by_rate = self.rate is not None and self.mean_burst is not None
        by_chain = self.p is not None and self.r is not None
        either = self.rate is not None or self.mean_burst is not None
        chain = any(value is not None for value in (self.p, self.r, self.h, self.k))
        if (by_rate and chain) or (by_chain and either) or not (by_rate or by_chain):
            raise PydanticCustomError(
                "one_form", "needs `rate` and `mean_burst`, or `p` and `r` (with `h`, `k`)"
            )
        return self


class ConditionalLoss(LossPart):
    """Probability of loss given how many packets were lost just before."""

    lists: ClassVar[frozenset[str]] = frozenset({"pattern"})
    kind: Literal["conditional"]
    pattern: Values[Probability]
    """For 0, 1, 2, ... losses just before; the last one holds for more, so a final 0 caps
    bursts."""


class OutageLoss(LossPart):
    """Outages of exponential length at exponential distances: everything is lost while down."""

    kind: Literal["outage"]
    mean_up_s: Many[PositiveNumber]
    """Mean time between outages."""
    mean_down_s: Many[PositiveNumber]
    """Mean length of an outage."""


class PeriodicOutageLoss(LossPart):
    """Outages on a clock; the defaults are Starlink's 0.5 s every 15 s."""

    kind: Literal["periodic-outage"]
    period_s: Many[PositiveNumber] | None = None
    """Time from one outage to the next; 15 by default."""
    duration_s: Many[NonNegativeNumber] | None = None
    """Length of an outage; 0.5 by default."""
    offset_s: Many[NonNegativeNumber] | None = None
    """Start of the first one; 0 by default."""


class MaskLoss(LossPart):
    """A recorded sequence of losses, replayed packet by packet and repeated."""

    lists: ClassVar[frozenset[str]] = frozenset({"bits"})
    kind: Literal["mask"]
    file: Many[Name] | None = None
    """Text file of 0 (arrived) and 1 (lost), from this file's folder."""
    bits: Values[Literal[0, 1]] | None = None
    """The sequence itself."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.bits is None):
            raise PydanticCustomError("one_source", "needs `bits` or `file`, not both")
        return self


LOSS_KINDS: Final = frozenset(
    {
        "none",
        "bernoulli",
        "gilbert-elliott",
        "conditional",
        "outage",
        "periodic-outage",
        "mask",
    }
)


class RegisteredLoss(OpenPart):
    """A loss model that a third party registered."""

    lists: ClassVar[frozenset[str]] = frozenset()
    kind: str = Field(json_schema_extra=_other_than(LOSS_KINDS))


LossEntry = Annotated[
    Annotated[NoLoss, Tag("none")]
    | Annotated[BernoulliLoss, Tag("bernoulli")]
    | Annotated[GilbertElliottLoss, Tag("gilbert-elliott")]
    | Annotated[ConditionalLoss, Tag("conditional")]
    | Annotated[OutageLoss, Tag("outage")]
    | Annotated[PeriodicOutageLoss, Tag("periodic-outage")]
    | Annotated[MaskLoss, Tag("mask")]
    | Annotated[RegisteredLoss, Tag("registered")],
    _by_kind(LOSS_KINDS),
]
LossField = Annotated[
    LossEntry, BeforeValidator(_kind_alone, json_schema_input_type=str | LossEntry)
]
