"""From a scenario to cells: names are looked up, traces and clips opened, hashes taken.

Everything that can be wrong is found here, before the first session runs, and is reported with
the line of the file that says so.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from testbed.errors import InputError, ScenarioError
from testbed.experiments.cell import (
    Cell,
    describe_competing,
    describe_loss,
    describe_queue,
    digest,
)
from testbed.experiments.inputs import (
    Capacity,
    check_keywords,
    direction_data,
    host_if_measured,
    path_data,
    read_delays,
    scaled,
    trace_data,
)
from testbed.experiments.matrix import Direction, Point, Scale, TransportChoice, points
from testbed.experiments.provenance import code_hash, encoder_versions, host, versions
from testbed.experiments.scenario import LoadedScenario
from testbed.media.spec import ClipSpec
from testbed.network.spec import DelaySpec, LossSpec, PathSpec
from testbed.randomness import generator
from testbed.worlds.session import SessionSpec
from testbed.yamlfile import Place, show_place

if TYPE_CHECKING:
    from testbed.media.clips import Clip
    from testbed.traces import ResolvedTrace


def expand(loaded: LoadedScenario, *, world: str = "simulator") -> list[Cell]:
    """All cells of a scenario: conditions outermost, then seeds, then transports.

    Raises:
        InputError: a name, trace, clip or value cannot be used; the message names file, line and
            field.
    """
    return list(_Expansion(loaded, world).cells())


def short_names(sources: set[str]) -> dict[str, str]:
    """File names for figures instead of whole paths, where that leaves them distinct."""
    names = {source: PurePath(source).name for source in sources}
    taken = Counter(names.values())
    return {source: name if taken[name] == 1 else source for source, name in names.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class _Chosen:
    """A transport of the scenario.

    Attributes:
        told: for the manifest and the run's name: name, every option with defaults included, and
            of a scheme that builds on another transport the `base`.
        runs, given: registered transport and keywords for the session.
        made_with: what its encodes depend on.
        look: how figures show it.
    """

    told: Mapping[str, Any]
    runs: str
    given: Mapping[str, Any]
    made_with: Mapping[str, Any]
    look: Mapping[str, Any]


class _Expansion:
    """One expansion, with what has been opened so far."""

    def __init__(self, loaded: LoadedScenario, world: str) -> None:
        self.loaded = loaded
        self.scenario = loaded.scenario
        self.world = world
        self.made_with = {"code": code_hash(), "encoders": dict(encoder_versions())}
        self._clips: dict[ClipSpec, Clip] = {}
        self._traces: dict[tuple[str, int, Scale], list[ResolvedTrace]] = {}
        self._chosen: dict[int, _Chosen] = {}
        self._delays: dict[str, tuple[float, ...]] = {}
        self._masks: dict[str, tuple[int, ...]] = {}
        self._checked: set[str] = set()
        self._clip_labels: dict[str, str] = {}

    def cells(self) -> Iterator[Cell]:
        """See `expand`."""
        all_points = list(points(self.scenario))
        self._clip_labels = short_names({point.clip.source for point in all_points})
        self._check_labels(all_points)
        # Transports are the innermost axis of the points; seeds go outside of them, so that
        # neighbours in the list can be compared first.
        width = len({point.transport.label for point in all_points})
        for start in range(0, len(all_points), width):
            group = all_points[start : start + width]
            for down, up in self._capacities(group[0]):
                for position, seed in enumerate(self.scenario.seeds):
                    for point in group:
                        yield self._cell(point, seed, down[position], up[position])

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Put file, line and field in front of what goes wrong inside."""
        try:
            yield
        except InputError as error:
            document = self.loaded.document
            trimmed = document.trim(place)
            where = f"{document.origin(trimmed)}: {show_place(trimmed)}"
            raise type(error)(f"{where}: {error}") from None

    def _check_labels(self, all_points: Sequence[Point]) -> None:
        seen: dict[str, Place] = {}
        for point in all_points:
            label, place = point.transport.label, point.places["transport"]
            with self.at(place):
                if seen.setdefault(label, place) != place:
                    raise ScenarioError(f"{label} is listed twice; give one of them a `label`")

    # --- traces -------------------------------------------------------------------------------

    def _capacities(self, point: Point) -> Iterator[tuple[list[Capacity], list[Capacity]]]:
        """Every pair of traces (one per seed each) that the point's trace fields stand for."""
        downs, ups = self._expand_trace(point.downlink), self._expand_trace(point.uplink)
        for down in downs:
            for up in ups:
                yield down, up

    def _expand_trace(self, direction: Direction) -> list[list[Capacity]]:
        seeds = self.scenario.seeds
        if direction.trace is None:
            return [[Capacity("unlimited", None)] * len(seeds)]
        with self.at(direction.places["trace"]):
            by_seed = [self._resolve(direction.trace, seed, direction.scale) for seed in seeds]
            if len({len(found) for found in by_seed}) != 1:
                raise ScenarioError(f"{direction.trace} gives a different number for each seed")
        expanded = []
        for found in zip(*by_seed, strict=True):
            names = {one.name for one in found}
            # A model draws another trace for each seed; what they share is what was asked for.
            label = names.pop() if len(names) == 1 else direction.trace
            if len(by_seed[0]) > 1 and label == direction.trace:
                label = found[0].name
            expanded.append([Capacity(label, one) for one in found])
        return expanded

    def _resolve(self, text: str, seed: int, scale: Scale) -> list[ResolvedTrace]:
        from testbed.traces import resolve

        key = (text, seed, scale)
        if key not in self._traces:
            found = resolve(text, base=self.loaded.base, seed=seed)
            self._traces[key] = [scaled(one, scale) for one in found]
        return self._traces[key]

    # --- names and options --------------------------------------------------------------------

    def _transport(self, choice: TransportChoice, place: Place) -> _Chosen:
        """What the file's word for a transport stands for."""
        import testbed.transports  # noqa: F401  (registers the built-in transports)
        from testbed.transports.base import check_world, look_of, parse_options
        from testbed.transports.schemes.transport import SchemeTransport, find_transport

        key = id(choice)
        if key not in self._chosen:
            with self.at(place):
                transport = find_transport(choice.name, base=self.loaded.base)
                check_world(transport, self.world)
                options = parse_options(transport, choice.options)
                made_with = transport.made_with(options)
            told: dict[str, Any] = {"name": transport.name, "options": dataclasses.asdict(options)}
            runs, given = transport.name, dict(choice.options)
            if isinstance(transport, SchemeTransport):
                # Worlds, other processes and other machines need not know the file.
                told["base"] = runs = transport.base.name
                given = dict(told["options"])
            self._chosen[key] = _Chosen(told, runs, given, made_with, look_of(transport))
        return self._chosen[key]

    def _check_rate(self, point: Point) -> None:
        from testbed.protocol.congestion import CONTROLLERS

        key = f"rate {point.control} {point.rate_options}"
        if key not in self._checked:
            with self.at(point.places["rate"]):
                factory: Callable[..., Any] = CONTROLLERS.get(point.control)
                check_keywords(factory, f"rate control {point.control}", point.rate_options)
            self._checked.add(key)

    def _check_competing(self, point: Point) -> None:
        from testbed.protocol.congestion import CONTROLLERS

        for sort in point.competing:
            if sort.rate_control:
                with self.at(point.places["competing"]):
                    factory: Callable[..., Any] = CONTROLLERS.get(sort.rate_control)
                    what = f"rate control {sort.rate_control}"
                    check_keywords(factory, what, sort.rate_options)

    def _check_compute(self, point: Point) -> None:
        from testbed.worlds.compute import COMPUTE_MODELS

        with self.at(point.places["compute"]):
            COMPUTE_MODELS.get(point.compute)

    # --- paths --------------------------------------------------------------------------------

    def _path(self, direction: Direction, capacity: Capacity, seed: int) -> PathSpec:
        entry = direction.fixed
        spec = PathSpec(
            trace=capacity.in_form(entry.mode),
            mode=entry.mode,
            queue=direction.queue,
            loss=tuple(self._loss(direction, one) for one in direction.loss),
            delay=self._delay(direction),
            order=entry.order,
            phase_ms=self._phase(direction, capacity, seed),
            once=entry.once,
        )
        self._check_path(direction, spec)
        return spec

    def _phase(self, direction: Direction, capacity: Capacity, seed: int) -> int:
        if direction.phase_ms != "random":
            return direction.phase_ms
        if capacity.resolved is None:
            return 0
        period_ms = max(1, int(capacity.resolved.duration_s * 1000))
        return int(generator(seed, f"phase/{direction.side}").integers(period_ms))

    def _delay(self, direction: Direction) -> DelaySpec:
        trace = direction.delay_trace
        return DelaySpec(
            delay_ms=direction.delay_ms,
            jitter_ms=direction.jitter_ms,
            reorder=direction.fixed.reorder,
            trace_ms=() if trace is None else trace.samples_ms or self._delay_file(direction),
            trace_step_ms=100.0 if trace is None else trace.step_ms,
        )

    def _delay_file(self, direction: Direction) -> tuple[float, ...]:
        assert direction.delay_trace is not None
        name = str(direction.delay_trace.file)
        if name not in self._delays:
            with self.at(direction.places["delay_trace"]):
                self._delays[name] = read_delays(self.loaded.base / name)
        return self._delays[name]

    def _loss(self, direction: Direction, loss: LossSpec) -> LossSpec:
        """The model with the content of its mask in place of the file, so that it is hashed."""
        from testbed.network.loss.simple import read_mask

        if loss.kind != "mask" or "file" not in loss.options:
            return loss
        name = str(loss.options["file"])
        if name not in self._masks:
            with self.at(direction.places["loss"]):
                self._masks[name] = read_mask(self.loaded.base / name)
        return LossSpec(loss.kind, {"bits": self._masks[name]})

    def _check_path(self, direction: Direction, spec: PathSpec) -> None:
        """Build the path once for each form: its stages know what they can work with."""
        from testbed.network.path import build_path

        key = f"{direction.side} {id(spec.trace)} {dataclasses.replace(spec, trace=None)}"
        if key in self._checked:
            return
        for part in ("queue", "loss", ""):
            reduced = {
                "queue": PathSpec(queue=spec.queue),
                "loss": PathSpec(loss=spec.loss),
                "": spec,
            }[part]
            with self.at(direction.places[part]):
                build_path(reduced, rng=lambda name: generator(0, name))
        self._checked.add(key)

    # --- cells --------------------------------------------------------------------------------

    def _clip(self, point: Point) -> Clip:
        from testbed.media.clips import open_clip

        if point.clip not in self._clips:
            with self.at(point.places["clip"]):
                self._clips[point.clip] = open_clip(point.clip, base=self.loaded.base)
        return self._clips[point.clip]

    def _cell(self, point: Point, seed: int, down: Capacity, up: Capacity) -> Cell:
        scenario = self.scenario
        chosen = self._transport(point.transport, point.places["transport"])
        self._check_rate(point)
        self._check_competing(point)
        self._check_compute(point)
        clip = self._clip(point)
        downlink = self._path(point.downlink, down, seed)
        uplink = self._path(point.uplink, up, seed)
        conditions = self._conditions(point, clip, down, up)
        resolved = {
            "transport": dict(chosen.told),
            "clip": dataclasses.asdict(point.clip),
            "downlink": path_data(downlink, down),
            "uplink": path_data(uplink, up),
            "rate": {"control": point.control, **point.rate_options},
            "competing": [dataclasses.asdict(sort) for sort in point.competing],
            "compute": point.compute,
            "playout_deadline_ms": point.deadline_ms,
            "warmup_s": scenario.warmup_s,
            "quality": list(scenario.quality),
            "world": self.world,
        }
        identity = {
            **resolved,
            "scenario": scenario.name,
            "label": point.transport.label,
            "seed": seed,
            "clip": {"sha256": clip.sha256, "duration_s": point.clip.duration_s},
            "made_with": {**self.made_with, **chosen.made_with},
            "host": host_if_measured(point.compute),
        }
        return Cell(
            scenario=scenario.name,
            description=scenario.description,
            transport=point.transport.label,
            seed=seed,
            session=SessionSpec(
                transport=chosen.runs,
                clip=point.clip,
                downlink=downlink,
                uplink=uplink,
                rate_control=point.control,
                rate_options=dict(point.rate_options),
                transport_options=dict(chosen.given),
                compute=point.compute,
                playout_deadline_ms=point.deadline_ms,
                seed=seed,
                keep_received=bool(scenario.quality),
                competing=point.competing,
            ),
            base=self.loaded.base,
            world=self.world,
            warmup_s=scenario.warmup_s,
            quality=scenario.quality,
            conditions=conditions,
            cell_id=digest({**conditions, "world": self.world}, length=12),
            run=digest(identity),
            encode_group=digest([clip.sha256, resolved["transport"], resolved["rate"]]),
            resolved=resolved,
            inputs={
                "clip": {"source": point.clip.source, **clip.facts(), "sha256": clip.sha256},
                "trace": trace_data(down),
                "uplink_trace": trace_data(up),
            },
            versions=versions(),
            host=host(),
            look=dict(chosen.look),
        )

    def _conditions(self, point: Point, clip: Clip, down: Capacity, up: Capacity) -> dict[str, Any]:
        """The flat coordinates; what distinguishes cells must be in here."""
        downlink, uplink = point.downlink, point.uplink
        return {
            "clip": self._clip_labels[point.clip.source],
            "width": clip.width,
            "height": clip.height,
            "fps": float(clip.fps),
            "duration_s": point.clip.duration_s,
            "trace": down.label,
            "uplink_trace": up.label,
            **describe_loss(downlink.loss),
            "uplink_loss": describe_loss(uplink.loss)["loss"],
            "control": point.control,
            "kbps": point.rate_options.get("kbps"),
            **{
                f"rate_{key}": value
                for key, value in point.rate_options.items()
                if key != "kbps" and isinstance(value, int | float | str)
            },
            "competing": describe_competing(point.competing),
            "queue": describe_queue(downlink.queue),
            "uplink_queue": describe_queue(uplink.queue),
            "delay_ms": downlink.delay_ms,
            "uplink_delay_ms": uplink.delay_ms,
            "jitter_ms": downlink.jitter_ms,
            "uplink_jitter_ms": uplink.jitter_ms,
            "phase_ms": downlink.phase_ms,
            "uplink_phase_ms": uplink.phase_ms,
            "paths": digest([direction_data(downlink), direction_data(uplink)], length=8),
            "playout_deadline_ms": point.deadline_ms,
            "compute": point.compute,
        }
