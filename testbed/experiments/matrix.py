"""The product of every list in a scenario, still as plain data: nothing is opened here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from testbed.experiments.fields import OpenPart, Part
from testbed.experiments.parts import (
    ClipEntry,
    DelayTrace,
    PathEntry,
    RateEntry,
    TransportEntry,
)
from testbed.experiments.scenario import Scenario
from testbed.media.spec import ClipSpec
from testbed.network.spec import LossSpec, QueueSpec
from testbed.transports.schemes.file import scheme_stem
from testbed.worlds.session import CompetingSpec
from testbed.yamlfile import Place


@dataclass(frozen=True, slots=True)
class Scale:
    """A factor on rates, or the mean that they are brought to; neither leaves them alone."""

    factor: float | None = None
    mean_kbps: float | None = None

    @property
    def label(self) -> str:
        """Suffix for the trace's name."""
        if self.factor is not None:
            return f"-x{self.factor:g}"
        return "" if self.mean_kbps is None else f"-mean{self.mean_kbps:g}kbps"


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of one point of the matrix.

    Attributes:
        side: "downlink" or "uplink".
        trace: what the file says, or None for an unlimited link.
        scale: what happens to the trace's rates.
        queue, loss: one choice each; several loss models act one after the other.
        delay_ms, jitter_ms: one choice each.
        phase_ms: start in the trace, or "random".
        fixed: the entry, for what has no axis.
        places: where in the file `trace`, `queue`, `loss` and `delay_trace` stand.
    """

    side: str
    trace: str | None
    scale: Scale
    queue: QueueSpec
    loss: tuple[LossSpec, ...]
    delay_ms: float
    jitter_ms: float
    phase_ms: int | Literal["random"]
    fixed: PathEntry
    places: Mapping[str, Place]

    @property
    def delay_trace(self) -> DelayTrace | None:
        """Delay over time, as the file gives it."""
        return self.fixed.delay_trace


@dataclass(frozen=True, slots=True)
class TransportChoice:
    """One entry of `transports`, with one value of each option.

    Attributes:
        name: registered name, or path of a scheme file.
        label: name in results, distinct within the scenario.
        options: the transport's keywords.
    """

    name: str
    label: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the matrix, without the seed."""

    clip: ClipSpec
    downlink: Direction
    uplink: Direction
    control: str
    rate_options: Mapping[str, Any]
    competing: tuple[CompetingSpec, ...]
    compute: str
    deadline_ms: float
    transport: TransportChoice
    places: Mapping[str, Place]


def points(scenario: Scenario) -> Iterator[Point]:
    """Every point, transports innermost, in the order of the file."""
    for (clip, clip_place), down, up, (rate, rate_place) in product(
        _clips(scenario),
        list(_directions("downlink", scenario.downlink)),
        list(_directions("uplink", scenario.uplink)),
        list(_rates(scenario.rate)),
    ):
        for (others, competing), (c, compute), deadline_ms, (transport, transport_place) in product(
            list(_competing(scenario)),
            enumerate(scenario.compute),
            scenario.playout.deadline_ms,
            list(_transports(scenario.transports)),
        ):
            options = dict(rate)
            yield Point(
                clip=clip,
                downlink=down,
                uplink=up,
                control=str(options.pop("control")),
                rate_options=options,
                competing=competing,
                compute=compute,
                deadline_ms=deadline_ms,
                transport=transport,
                places={
                    "clip": clip_place,
                    "rate": rate_place,
                    "competing": ("competing", others),
                    "compute": ("compute", c),
                    "transport": transport_place,
                },
            )


def spread(part: Part, *, lists: frozenset[str] = frozenset()) -> Iterator[dict[str, Any]]:
    """The mappings that an entry stands for: every list-valued field is an axis.

    Args:
        part: an entry of the scenario.
        lists: fields whose list is one value.
    """
    given: dict[str, Any] = {
        name: getattr(part, name)
        for name in type(part).model_fields
        if getattr(part, name) is not None
    }
    if isinstance(part, OpenPart):
        given |= part.options()
    choices = [
        value if isinstance(value, tuple | list) and name not in lists else (value,)
        for name, value in given.items()
    ]
    for values in product(*choices):
        yield dict(zip(given, values, strict=True))


def _clips(scenario: Scenario) -> list[tuple[ClipSpec, Place]]:
    rates = scenario.fps or (0.0,)
    sizes = list(zip(scenario.width, scenario.height, strict=True))
    found: dict[ClipSpec, Place] = {}
    for (index, entry), (width, height), fps in product(enumerate(scenario.clips), sizes, rates):
        spec = _clip(entry, width, height, fps, scenario.duration_s)
        found.setdefault(spec, ("clips", index))  # an entry with its own form meets it once
    return list(found.items())


def _clip(entry: ClipEntry, width: int, height: int, fps: float, duration_s: float) -> ClipSpec:
    return ClipSpec(
        source=entry.source,
        width=width if entry.width is None else entry.width,
        height=height if entry.height is None else entry.height,
        fps=fps if entry.fps is None else entry.fps,
        duration_s=duration_s,
    )


def _directions(side: str, entry: PathEntry) -> Iterator[Direction]:
    traces: list[tuple[int, str | None]] = list(enumerate(entry.trace or (None,)))
    for (t, trace), scale, (q, queue), delay_ms, jitter_ms, (number, loss), phase_ms in product(
        traces,
        _scales(entry),
        list(_queues(entry)),
        entry.delay_ms,
        entry.jitter_ms,
        list(_losses(entry)),
        entry.phase_ms,
    ):
        places: dict[str, Place] = {
            "trace": (side, "trace", t),
            "queue": (side, "queue", q),
            "loss": (side, "loss", number),
            "delay_trace": (side, "delay_trace"),
            "": (side,),
        }
        yield Direction(
            side, trace, scale, queue, loss, delay_ms, jitter_ms, phase_ms, entry, places
        )


def _scales(entry: PathEntry) -> list[Scale]:
    if entry.scale is not None:
        return [Scale(factor=factor) for factor in entry.scale]
    return [Scale(mean_kbps=mean) for mean in entry.mean_kbps or (None,)]


def _queues(entry: PathEntry) -> Iterator[tuple[int, QueueSpec]]:
    for index, queue in enumerate(entry.queue):
        for options in spread(queue):
            yield (
                index,
                QueueSpec(
                    kind=options.pop("kind"),
                    packets=options.pop("packets", None),
                    bytes=options.pop("bytes", None),
                    options=options,
                ),
            )


def _losses(entry: PathEntry) -> Iterator[tuple[int, tuple[LossSpec, ...]]]:
    for index, models in enumerate(entry.loss):
        choices = [
            list(spread(model, lists=getattr(model, "lists", frozenset()))) for model in models
        ]
        for combination in product(*choices):
            specs = (
                LossSpec(o["kind"], {k: v for k, v in o.items() if k != "kind"})
                for o in combination
            )
            yield index, tuple(spec for spec in specs if spec.kind != "none")


def _rates(entries: tuple[RateEntry, ...]) -> Iterator[tuple[dict[str, Any], Place]]:
    for index, entry in enumerate(entries):
        for options in spread(entry):
            yield options, ("rate", index)


def _competing(scenario: Scenario) -> Iterator[tuple[int, tuple[CompetingSpec, ...]]]:
    for index, sorts in enumerate(scenario.competing):
        for combination in product(*(list(spread(sort)) for sort in sorts)):
            yield index, tuple(_flows(given) for given in combination if given["kind"] != "none")


def _flows(given: dict[str, Any]) -> CompetingSpec:
    kbps = given.pop("kbps", None)
    return CompetingSpec(
        rate_control=given.pop("control", ""),
        rate_options={} if kbps is None else {"kbps": kbps},
        **given,
    )


def _transports(
    entries: tuple[TransportEntry, ...],
) -> Iterator[tuple[TransportChoice, Place]]:
    names = [entry.name for entry in entries]
    for index, entry in enumerate(entries):
        variants = list(spread(entry))
        for options in variants:
            name, label = options.pop("name"), options.pop("label", None)
            several = names.count(name) > 1 or len(variants) > 1
            if label is None or len(variants) > 1:
                label = _label(label or scheme_stem(name), options if several else {})
            yield TransportChoice(name, label, options), ("transports", index)


def _label(name: str, options: Mapping[str, Any]) -> str:
    """`h264+conceal+intra_period_frames=60`: what sets a variant apart."""
    marks = [key if value is True else f"{key}={value}" for key, value in options.items()]
    return "+".join([name, *marks])
