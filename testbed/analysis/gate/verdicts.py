"""From matched runs to verdicts.

A number is a regression when its mean has moved the wrong way by more than its limit, and a test
over the seeds says that this is not chance. The limit keeps what is real but small out of the way;
the test keeps out what is large but noise. Two tests are tried, and p is doubled for it: a t-test,
paired where seeds are shared, sees a small change that all seeds agree on, even where traces make
them very different; a permutation sees a change that hits some seeds much harder than others.

With few seeds no test can tell a real change among many comparisons, and to pass everything for
that would make a gate of no use: there the limit decides alone, as it does where seeds all moved
alike because nothing in the cell is random. Cells are not pooled to make up for seeds: they share
loss masks, so their changes go together, and on unchanged code such a test raised an alarm in a
third of the cases (docs/decisions/0008-gate.md).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal

from testbed.analysis.gate.limits import QUALITY, SERIES_PREFIX, Limit
from testbed.analysis.gate.matching import Cell
from testbed.analysis.gate.records import Record
from testbed.analysis.gate.series import Course, follow
from testbed.analysis.metrics import definition
from testbed.analysis.statistics import (
    Alternative,
    Change,
    adjusted,
    paired_changes,
    permutation_p,
    unpaired_change,
)

#: Chance of a false alarm when nothing has changed, and share of chance among alarms.
LEVEL: Final = 0.05
#: Seeds a side from which tests speak. Four can be dealt to two sides in 70 ways: adjusted for a
#: few dozen comparisons, not even a change that parts the sides wholly would count.
TESTED_FROM: Final = 5

#: `same`: equal in every run; `ok`: within the limit; `better`: beyond it the right way;
#: `unclear`: beyond it the wrong way, but it may be chance; `regression`.
Verdict = Literal["same", "ok", "better", "unclear", "regression"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one cell, or one series of one run.

    Attributes:
        metric: name of the metric or series.
        cell: name of the cell.
        before: the baseline's mean over the runs compared; None where it has no value.
        after: the mean now, likewise.
        low: lower end of the change's 95 % interval; None where seeds have no spread.
        high: upper end, likewise.
        allowed: how far it may get worse.
        excess: how far it got worse, in units of `allowed`; negative when it got better.
        runs: runs compared now, as many as of the baseline when they are paired.
        p: probability that it is chance, adjusted for all comparisons; None without a test.
        test: "paired t", "Welch t", "permutation" or "none".
        verdict: see above.
        remark: what else there is to say.
    """

    metric: str
    cell: str
    before: float | None
    after: float | None
    low: float | None
    high: float | None
    allowed: float
    excess: float
    runs: int
    p: float | None
    test: str
    verdict: Verdict
    remark: str = ""

    @property
    def change(self) -> float | None:
        """How far it moved: after − before."""
        return None if self.before is None or self.after is None else self.after - self.before


Values = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A comparison before the others are known."""

    metric: str
    cell: str
    before: Values
    after: Values
    change: Change
    limit: Limit
    test: str = "none"
    p: float | None = None


def compare(
    cells: Sequence[Cell], limits: Mapping[str, Limit]
) -> tuple[list[Comparison], list[str]]:
    """Compare metrics, each with its limit; series are left alone.

    Returns:
        The comparisons and notes.
    """
    metrics = {name: at for name, at in limits.items() if not name.startswith(SERIES_PREFIX)}
    drafts: list[_Draft] = []
    undefined: list[Comparison] = []
    notes: list[str] = []
    for metric, limit in metrics.items():
        usable = list(cells)
        if metric in QUALITY and _valued(cells, metric, after=True) == 0:
            if _valued(cells, metric, after=False):
                notes.append(f"{metric} was not measured now, not compared")
            continue
        for cell in cells:
            if lost := _lost(cell, metric):
                undefined.append(lost)
                usable.remove(cell)
        drafts += _drafts(usable, metric, limit)
    shares = iter(adjusted([draft.p for draft in drafts if draft.p is not None]))
    judged = [_judge(draft, None if draft.p is None else next(shares)) for draft in drafts]
    few = [d for d in drafts if min(len(d.before), len(d.after)) < TESTED_FROM]
    if any(draft.before != draft.after for draft in few):
        least = min(min(len(draft.before), len(draft.after)) for draft in few)
        notes.append(
            f"{least} seed{'s' if least > 1 else ''} a cell: limits alone decide, which is no "
            f"statistical statement; from {TESTED_FROM} on tests do"
        )
    return [*undefined, *judged], notes


def _valued(cells: Sequence[Cell], metric: str, *, after: bool) -> int:
    sides = (cell.after if after else cell.before for cell in cells)
    return sum(run.metrics.get(metric) is not None for side in sides for run in side.values())


def _lost(cell: Cell, metric: str) -> Comparison | None:
    """A metric that has no value now in runs where it had one.

    A delay without a value means that nothing was rendered, which is no reason to pass.
    """
    before = {s: v for s, run in cell.before.items() if (v := run.metrics.get(metric)) is not None}
    after = {s: v for s, run in cell.after.items() if (v := run.metrics.get(metric)) is not None}
    if cell.shared:
        judged = [seed for seed in cell.shared if seed in before]
        gone = [seed for seed in judged if seed not in after]
    else:  # run by run nothing can be said: only if all of the baseline's have one
        judged = list(cell.after) if before else []
        whole = len(before) == len(cell.before)
        gone = [s for s in judged if s not in after] if whole or not after else []
    if not gone:
        return None
    old = [before[seed] for seed in judged] if cell.shared else list(before.values())
    new = [after[seed] for seed in judged if seed in after]
    return Comparison(
        metric,
        cell.name,
        before=sum(old) / len(old),
        after=sum(new) / len(new) if new else None,
        low=None,
        high=None,
        allowed=0.0,
        excess=float("inf"),
        runs=len(judged),
        p=None,
        test="none",
        verdict="regression",
        remark=f"no value in {len(gone)} of {len(judged)} runs",
    )


def _alternative(metric: str) -> Alternative:
    """The change that is for the worse."""
    choices: dict[str, Alternative] = {"lower": "greater", "higher": "less"}
    return choices.get(definition(metric).better, "two-sided")


def _drafts(cells: Sequence[Cell], metric: str, limit: Limit) -> Iterator[_Draft]:
    """One a cell that has values on both sides; the spread is pooled over like cells."""
    alternative = _alternative(metric)
    pools: dict[Hashable, list[tuple[Cell, Values, Values]]] = {}
    for cell in cells:
        before, after = _values(cell, metric)
        if before and after:
            pools.setdefault(cell.pool, []).append((cell, before, after))
    for members in pools.values():
        pairs = [[y - x for x, y in zip(a, b, strict=True)] for c, a, b in members if c.shared]
        paired = iter(paired_changes(pairs, alternative))
        for cell, before, after in members:
            change = next(paired) if cell.shared else unpaired_change(before, after, alternative)
            yield _clearest(_Draft(metric, cell.name, before, after, change, limit))


def _clearest(draft: _Draft) -> _Draft:
    """The test with the smaller p of two, doubled for having had two tries (Bonferroni).

    Few seeds are not tested, nor are differences without spread.
    """
    first = draft.change.p
    if first is None or min(len(draft.before), len(draft.after)) < TESTED_FROM:
        return draft
    second = permutation_p(draft.before, draft.after, _alternative(draft.metric))
    test = "permutation" if second < first else draft.change.method
    return replace(draft, p=min(1.0, 2 * min(first, second)), test=test)


def _values(cell: Cell, metric: str) -> tuple[Values, Values]:
    """Values on both sides: in pairs where seeds are shared, else all that there are."""
    if cell.shared:
        pairs = [
            (old, new)
            for seed in cell.shared
            if (old := cell.before[seed].metrics.get(metric)) is not None
            and (new := cell.after[seed].metrics.get(metric)) is not None
        ]
        return tuple(old for old, _ in pairs), tuple(new for _, new in pairs)
    return _known(cell.before, metric), _known(cell.after, metric)


def _known(runs: Mapping[int, Record], metric: str) -> Values:
    return tuple(v for run in runs.values() if (v := run.metrics.get(metric)) is not None)


def _judge(draft: _Draft, p: float | None) -> Comparison:
    before, after = (sum(side) / len(side) for side in (draft.before, draft.after))
    alternative = _alternative(draft.metric)
    moved = draft.change.interval.mean
    worse = {"greater": moved, "less": -moved, "two-sided": abs(moved)}[alternative]
    allowed = draft.limit.allowed(before)
    tolerated = allowed * (1 + 1e-9)  # a change of exactly the limit is within it
    verdict: Verdict
    remarks = []
    if draft.before == draft.after:
        verdict = "same"
    elif worse <= tolerated:
        verdict = "better" if -worse > tolerated else "ok"
    elif p is None:
        verdict = "regression"
        remarks.append("limit alone")
    else:
        verdict = "regression" if p <= LEVEL else "unclear"
    if verdict in ("regression", "unclear") and alternative == "two-sided":
        remarks.append("must not move either way")
    spread = draft.change.p is not None
    return Comparison(
        draft.metric,
        draft.cell,
        before,
        after,
        low=draft.change.interval.low if spread else None,
        high=draft.change.interval.high if spread else None,
        allowed=allowed,
        excess=worse / allowed if allowed else (float("inf") if worse > 0 else 0.0),
        runs=len(draft.after),
        p=p,
        test=draft.test,
        verdict=verdict,
        remark="; ".join(remarks),
    )


def compare_series(
    cells: Sequence[Cell], limits: Mapping[str, Limit], step_ms: int
) -> tuple[list[Comparison], list[str]]:
    """Hold the series of each run against the baseline's of the same seed; not a statistic.

    Returns:
        The comparisons and notes.
    """
    found: list[Comparison] = []
    notes = [
        f"{cell.name}: no seed in common, series not compared" for cell in cells if not cell.shared
    ]
    names = [name for name in limits if name.startswith(SERIES_PREFIX)]
    for name, cell in product(names, cells):
        key = name.removeprefix(SERIES_PREFIX)
        for seed in cell.shared:
            before, after = (side[seed].series.get(key) for side in (cell.before, cell.after))
            if before is None or after is None:
                continue
            course = follow(before, after, limits[name])
            same = list(before) == list(after)
            verdict: Verdict = "same" if same else "ok" if course.holds else "regression"
            found.append(_course(name, f"{cell.name}, seed {seed}", course, verdict, step_ms))
    return found, notes


def _course(metric: str, cell: str, course: Course, verdict: Verdict, step_ms: int) -> Comparison:
    remark = ""
    if course.worst is not None:
        remark = (
            f"{course.outside} of {course.steps} steps outside, "
            f"most at {course.worst * step_ms / 1000:g} s"
        )
    return Comparison(
        metric,
        cell,
        course.before,
        course.after,
        low=None,
        high=None,
        allowed=course.allowed,
        excess=course.excess,
        runs=1,
        p=None,
        test="none",
        verdict=verdict,
        remark=remark,
    )
