"""Queues and loss models of a scenario, one model a `kind`.

The built-in kinds are spelled out so that a mistake is found with its line before anything runs,
and so that an editor can complete them; any other kind may be a third party's, whose keywords the
registry's factory checks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from testbed.experiments.fields import (
    Many,
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


# --- queues -------------------------------------------------------------------------------


class InfiniteQueue(Part):
    """A queue without a limit."""

    kind: Literal["infinite"]


class LimitedQueue(Part):
    """Limits of a queue; they count waiting packets only."""

    packets: Many[PositiveInt] | None = None
    """Limit in packets."""
    bytes: Many[PositiveInt] | None = None
    """Limit in bytes, headers included."""

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


class CodelQueue(LimitedQueue):
    """Controlled delay (RFC 8289)."""

    kind: Literal["codel"]
    target_ms: Many[PositiveNumber] | None = None
    """Acceptable standing delay."""
    interval_ms: Many[PositiveNumber] | None = None
    """How long the delay may stay above it."""


class PieQueue(LimitedQueue):
    """Proportional integral controller enhanced (RFC 8033)."""

    kind: Literal["pie"]
    target_ms: Many[PositiveNumber] | None = None
    """Delay that it steers to."""


QUEUE_KINDS: Final = frozenset({"infinite", "droptail", "drophead", "codel", "pie"})


class RegisteredQueue(OpenPart):
    """A queue that a third party registered."""

    kind: str = Field(json_schema_extra={"not": {"enum": sorted(QUEUE_KINDS)}})
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
    per: Literal["packet", "frame"] = "packet"
    """When the state moves; a loss is drawn for every packet."""

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


class OnOffLoss(LossPart):
    """Outages of random length: everything is lost while off."""

    kind: Literal["onoff"]
    mean_on_ms: Many[PositiveNumber]
    """Mean time between outages."""
    mean_off_ms: Many[PositiveNumber]
    """Mean length of an outage."""


class PeriodicLoss(LossPart):
    """Outages on a clock, as Starlink's 0.5 s every 15 s."""

    kind: Literal["periodic"]
    period_ms: Many[PositiveNumber]
    """Time from one outage to the next."""
    outage_ms: Many[PositiveNumber]
    """Length of an outage."""
    offset_ms: Many[NonNegativeNumber] | None = None
    """Start of the first one."""


class MaskLoss(LossPart):
    """A recorded sequence of losses, replayed packet by packet and repeated."""

    kind: Literal["mask"]
    file: Many[Annotated[str, Field(min_length=1)]]
    """Text file of 0 (arrived) and 1 (lost)."""


LOSS_KINDS: Final = frozenset(
    {"none", "bernoulli", "gilbert-elliott", "conditional", "onoff", "periodic", "mask"}
)


class RegisteredLoss(OpenPart):
    """A loss model that a third party registered."""

    lists: ClassVar[frozenset[str]] = frozenset()
    kind: str = Field(json_schema_extra={"not": {"enum": sorted(LOSS_KINDS)}})


LossEntry = Annotated[
    Annotated[NoLoss, Tag("none")]
    | Annotated[BernoulliLoss, Tag("bernoulli")]
    | Annotated[GilbertElliottLoss, Tag("gilbert-elliott")]
    | Annotated[ConditionalLoss, Tag("conditional")]
    | Annotated[OnOffLoss, Tag("onoff")]
    | Annotated[PeriodicLoss, Tag("periodic")]
    | Annotated[MaskLoss, Tag("mask")]
    | Annotated[RegisteredLoss, Tag("registered")],
    _by_kind(LOSS_KINDS),
]
LossField = Annotated[
    LossEntry, BeforeValidator(_kind_alone, json_schema_input_type=str | LossEntry)
]
