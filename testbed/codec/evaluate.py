"""Quality against rate and loss, of Morphe and of its anchors, over one clip.

A clip is encoded once for each rate and once more for each share of tokens that is dropped; losses
only decode. Everything is measured at the clip's own
size (or the height that it is brought to), against the pictures that were encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from testbed.codec.anchors import AnchorPoint, measure_anchor
from testbed.codec.core import Core, Settings, load_core
from testbed.codec.drops import DropCondition
from testbed.codec.files import ReceivedGop, decode_gops, encode_gops
from testbed.codec.losses import LossCondition, UnitLoss
from testbed.codec.rates import GopBudget, kbps, wire_bytes
from testbed.codec.rd import at_rate
from testbed.codec.reading import Reference, open_reference
from testbed.codec.steadiness import Steadiness, SteadinessMeter
from testbed.media.clips import Picture
from testbed.media.quality import METRICS, Scores, compare

if TYPE_CHECKING:
    import numpy.typing as npt

Report = Callable[[str], None]
"""Is told what was done, in a few words."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure of every clip.

    Attributes:
        kbps: rates to encode at, packet headers included.
        losses: conditions besides the lossless one.
        drops: of tokens, besides none; each is measured without loss.
        profiles: settings of the codec by name; none = anchors only.
        scale: source pixels per coded pixel; 0 = chosen by the rate.
        height: a taller source is scaled down to it.
        frames: most pictures of a clip.
        anchors: names of `testbed.codec.anchors.ANCHORS`.
        anchor_kbps: rates to measure the anchors at.
        weights: name or path of the model.
        device: where the networks run.
        sheet_kbps: the rate, of `kbps`, of which pictures are shown beside the anchors'; 0 = none.
        base: folder that the clips' relative paths start from.
    """

    kbps: tuple[float, ...]
    losses: tuple[LossCondition, ...] = ()
    drops: tuple[DropCondition, ...] = ()
    profiles: tuple[str, ...] = ("morphe",)
    scale: int = 0
    height: int = 720
    frames: int = 300
    anchors: tuple[str, ...] = ()
    anchor_kbps: tuple[float, ...] = ()
    weights: str = "small"
    device: str = "cpu"
    sheet_kbps: float = 0.0
    base: Path = field(default_factory=Path)


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Attributes:
        clip: name of the clip.
        codec: profile or anchor.
        target_kbps: what was asked for.
        kbps: what was sent, packet headers included; losses do not change it.
        loss: share of lost units that was asked for.
        burst: mean run of losses.
        seed: of the losses; 0 without.
        vmaf, ssim, psnr, vmaf_neg: means over the pictures.
        same_bytes: VMAF of each anchor at this row's `kbps`; without anchors, or where they were
            not measured at such a rate, there is nothing.
        drop: share of tokens that were dropped; 0 = as the rate control will have it.
        selection: how they were chosen; empty without.
        drop_scope: from which; empty without.
    """

    clip: str
    codec: str
    target_kbps: float
    kbps: float
    loss: float
    burst: float
    seed: int
    vmaf: float
    ssim: float
    psnr: float
    vmaf_neg: float
    same_bytes: dict[str, float] = field(default_factory=dict)
    drop: float = 0.0
    selection: str = ""
    drop_scope: str = ""

    def as_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture to look at.

    Attributes:
        index: of the picture in the clip.
        source, morphe: packed yuv420p.
        width, height: luma size.
        row: the measurement that it belongs to.
        dropped: the same picture where most tokens are dropped, each with its measurement.
    """

    index: int
    source: Picture
    morphe: Picture
    width: int
    height: int
    row: Row
    dropped: tuple[tuple[Row, Picture], ...] = ()

    def beside(self, row: Row, measured: _Measured) -> Shown:
        """With the same picture of another encode."""
        return replace(self, dropped=(*self.dropped, (row, measured.picture(self.index))))


@dataclass(frozen=True, slots=True)
class ClipResult:
    """All about one clip.

    Attributes:
        clip: its name.
        rows: measurements, anchors first.
        steadiness: of each profile and rate without loss: (codec, target_kbps, figures).
        shown: pictures for the sheets.
    """

    clip: str
    rows: list[Row]
    steadiness: list[tuple[str, float, Steadiness]]
    shown: list[Shown]


def evaluate_clip(source: str, plan: Plan, report: Report) -> ClipResult:
    """Measure one clip.

    Args:
        source: file, catalogue name or test pattern.
        plan: what to measure.
        report: told after each measurement.

    Raises:
        TestbedError: the clip cannot be used, or a tool failed.
        MorpheError: the codec cannot code it.
    """
    reference = open_reference(source, height=plan.height, frames=plan.frames, base=plan.base)
    rows: list[Row] = []
    for name, rate in product(plan.anchors, plan.anchor_kbps):
        point = measure_anchor(name, reference.clip, reference.frames, rate)
        rows.append(_anchor_row(reference, point))
        report(f"{reference.name}: {name} at {rate:g} kbps")
    curves = {
        name: [(row.kbps, row.vmaf) for row in rows if row.codec == name] for name in plan.anchors
    }
    steadiness: list[tuple[str, float, Steadiness]] = []
    shown: list[Shown] = []
    core = load_core(plan.weights, device=plan.device) if plan.profiles else None
    for profile, rate in product(plan.profiles, plan.kbps):
        assert core is not None
        measured = _Measured(reference, core, Settings(profile, plan.scale), rate, curves)
        report(f"{reference.name}: {profile} encoded at {rate:g} kbps")
        rows.append(measured.row(LossCondition()))
        steadiness.append((profile, rate, measured.meter.result()))
        show = rate == plan.sheet_kbps and profile == plan.profiles[0]
        if show:
            shown.append(measured.shown(rows[-1]))
        report(f"{reference.name}: {profile} at {rate:g} kbps")
        for condition in plan.losses:
            rows.append(measured.row(condition))
            report(f"{reference.name}: {profile} at {rate:g} kbps, {condition.rate:.0%} lost")
        for drop in plan.drops:
            dropped = _Measured(reference, core, Settings(profile, plan.scale, drop), rate, curves)
            rows.append(dropped.row(LossCondition()))
            if show and drop.share == max(one.share for one in plan.drops):
                shown[-1] = shown[-1].beside(rows[-1], dropped)
            report(f"{reference.name}: {profile} at {rate:g} kbps, {drop}")
    return ClipResult(reference.name, rows, steadiness, shown)


def steps(plan: Plan) -> int:
    """How many reports `evaluate_clip` makes."""
    anchors = len(plan.anchors) * len(plan.anchor_kbps)
    return anchors + len(plan.profiles) * len(plan.kbps) * (2 + len(plan.losses) + len(plan.drops))


class _Measured:
    """One encode of a clip, decoded under one condition after the other."""

    def __init__(
        self,
        reference: Reference,
        core: Core,
        settings: Settings,
        target_kbps: float,
        anchors: dict[str, list[tuple[float, float]]],
    ) -> None:
        clip, frames = reference.clip, reference.frames
        self.reference, self.core = reference, core
        self.codec, self.drop = settings.profile, settings.drop
        self.target_kbps = target_kbps
        encoder = core.encoder(
            width=clip.width, height=clip.height, fps=clip.fps, settings=settings
        )
        budget = GopBudget(target_kbps, clip.fps, least_packets=settings.config().least_units)
        self.gops = [
            ReceivedGop(gop.index, gop.frames, tuple(gop.units))
            for gop in encode_gops(map(clip.frame, range(frames)), encoder, budget)
        ]
        sent = sum(wire_bytes(map(len, gop.units)) for gop in self.gops)
        self.kbps = kbps(sent, frames, clip.fps)
        found = {name: at_rate(curve, self.kbps) for name, curve in anchors.items()}
        self.same_bytes = {name: value for name, value in found.items() if value is not None}
        self.meter = SteadinessMeter(clip.width, clip.height)
        self.scores: Scores = {}

    def pictures(self, condition: LossCondition) -> Iterator[Picture]:
        """What the receiver shows."""
        clip = self.reference.clip
        decoder = self.core.decoder(width=clip.width, height=clip.height)
        return decode_gops(self.gops, decoder, UnitLoss(condition))

    def row(self, condition: LossCondition) -> Row:
        """Decode and measure."""
        clip, frames = self.reference.clip, self.reference.frames
        pictures: Iterable[Picture] = self.pictures(condition)
        if not condition.rate:
            pictures = self.meter.watch(pictures, clip.frames())
        scores = compare(
            iter(pictures), clip.frames(), width=clip.width, height=clip.height, metrics=METRICS,
            count=frames,
        )  # fmt: skip
        if not condition.rate:
            self.scores = scores
        drop = self.drop
        return Row(
            self.reference.name, self.codec, self.target_kbps, self.kbps, condition.rate,
            condition.burst, condition.seed, **_means(scores), same_bytes=self.same_bytes,
            drop=drop.share if drop else 0.0, selection=drop.selection if drop else "",
            drop_scope=drop.scope if drop else "",
        )  # fmt: skip

    def picture(self, index: int) -> Picture:
        """One picture of what the receiver shows without loss."""
        return next(islice(self.pictures(LossCondition()), index, None))

    def shown(self, row: Row) -> Shown:
        """The picture whose VMAF is nearest to the clip's, from a GoP that has one before it."""
        vmaf: npt.NDArray[np.float64] = np.abs(self.scores["vmaf"] - row.vmaf)
        index = int(vmaf.argmin())
        clip = self.reference.clip
        return Shown(
            index, clip.frame(index).copy(), self.picture(index), clip.width, clip.height, row
        )


def _anchor_row(reference: Reference, point: AnchorPoint) -> Row:
    return Row(
        reference.name, point.anchor, point.target_kbps, point.kbps, 0.0, 1.0, 0,
        **point.scores, same_bytes={}, selection="", drop_scope="",
    )  # fmt: skip


def _means(scores: Scores) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in scores.items()}


def anchor_rates(targets: Sequence[float]) -> tuple[float, ...]:
    """Rates for the anchors' curves: a factor of two apart, from below to above the targets.

    They are of the series ... 50, 100, 200, 400 ..., so that other targets find them in the cache.
    """
    low, high = min(targets), max(targets)
    series = [50.0 * 2**power for power in range(-4, 14)]
    below = max((rate for rate in series if rate <= 0.9 * low), default=series[0])
    above = min((rate for rate in series if rate >= 1.1 * high), default=series[-1])
    return tuple(rate for rate in series if below <= rate <= above)
