"""Which runs of two sides are of the same cell, and what else has changed between them.

A cell is told by what the scenario says in words and numbers (clip, trace, loss, rate, ...), not by
its hash: a baseline should still speak when the content of a trace or a default has changed, and
that change is reported instead.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from testbed.analysis.gate.records import Record, Side
from testbed.analysis.suite import describe
from testbed.errors import InputError

#: A hash over both paths as the scenario states them: only for cells that look the same without.
_PATHS: Final = "paths"
#: Fields that a label beside them says in words.
_UNSAID: Final = frozenset({_PATHS, "loss_kind", "loss_rate", "mean_burst", "height"})
#: Differences of settings that are listed.
_MOST: Final = 8

#: Where in a key the transport stands; the fields of the cell follow these.
_FIXED_FIELDS: Final = ("scenario", "world", "transport")
_FIXED: Final = len(_FIXED_FIELDS)
_TRANSPORT: Final = _FIXED_FIELDS.index("transport")

Key = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """The runs of one transport in one cell, on both sides.

    Attributes:
        name: for readers: the transport and what sets the cell apart from the others.
        pool: equal for cells whose seeds may be taken to spread alike.
        before: the baseline's runs by seed.
        after: the runs now.
    """

    name: str
    pool: Hashable
    before: Mapping[int, Record]
    after: Mapping[int, Record]

    @property
    def shared(self) -> list[int]:
        """Seeds of both sides, in order."""
        return sorted(self.before.keys() & self.after.keys())


@dataclass(frozen=True, slots=True)
class Problem:
    """A run that is not there to be compared.

    Attributes:
        kind: "missing", "failed" or "broken".
        cell: its name; "" for a broken run, which may not say.
        message: what is known, one line.
    """

    kind: Literal["missing", "failed", "broken"]
    cell: str
    message: str


@dataclass(frozen=True, slots=True)
class Matching:
    """Two sides, cell by cell.

    Attributes:
        cells: cells with runs on both sides, in the baseline's order.
        problems: what is missing, failed or broken now; each is a regression.
        notes: what is worth knowing and no regression.
    """

    cells: tuple[Cell, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def match(before: Side, after: Side) -> Matching:
    """Bring two sides together.

    Raises:
        InputError: the sides share no cell, or two runs of one side cannot be told apart.
    """
    tell = _Telling(before, after)
    old, new = tell.groups(before), tell.groups(after)
    if before.records and after.records and not old.keys() & new.keys():
        raise InputError(f"{before.source} and {after.source} share no cell{tell.difference()}")
    cells = [Cell(tell.name(key), key[:_FIXED], old[key], new[key]) for key in old if key in new]
    problems = [Problem("broken", "", message) for message in after.broken]
    failed = set()
    notes = list(tell.notes)
    for entry in after.failures:
        key, seed = tell.key(entry), entry.get("seed")
        failed.add((key, seed))
        text = f"{tell.name(key)}, seed {seed}"
        if key in old:
            problems.append(Problem("failed", text, str(entry.get("error", "it failed"))))
        else:
            notes.append(f"a failed run that the baseline does not have: {text}")
    problems += _missing(tell, old, new, failed)
    notes += [f"new cell, not compared: {tell.name(key)}" for key in new if key not in old]
    notes += _seeds(before, after)
    notes += [*_versions(before, after), *_settings(cells)]
    return Matching(tuple(cells), tuple(problems), tuple(notes))


class _Telling:
    """How the cells of two sides are told apart and called."""

    def __init__(self, before: Side, after: Side) -> None:
        self.sides = (before, after)
        fields = [dict.fromkeys(f for r in s.records for f in r.cell) for s in self.sides]
        self.notes: list[str] = []
        # A field of one version only says nothing about which cells are the same.
        for side, here, there in zip(self.sides, fields, reversed(fields), strict=True):
            extra = [field for field in here if field not in there]
            if there and extra:
                self.notes.append(f"only {side.source} states {', '.join(extra)}")
        self.fields = [f for f in fields[0] if f in fields[1] or not fields[1]] or list(fields[1])
        if _PATHS in self.fields:
            self.fields.remove(_PATHS)
            if any(self._twice(side) for side in self.sides):
                self.fields.append(_PATHS)
        for side in self.sides:
            if found := self._twice(side):
                raise InputError(self._confusion(side, *found))
        cells = [self.key(_facts(r)) for side in self.sides for r in side.records]
        self.varying = [
            i for i in range(_FIXED + len(self.fields)) if len({c[i] for c in cells}) > 1
        ]

    def key(self, run: Mapping[str, Any]) -> Key:
        """What a run's cell and transport are told by."""
        cell = run.get("cell")
        cell = cell if isinstance(cell, Mapping) else {}
        world = run.get("world") or self._world()
        values = (_hashable(cell.get(field)) for field in self.fields)
        return (run.get("scenario"), world, run.get("transport"), *values)

    def _world(self) -> str:
        """`failures.json` does not name the world; a results folder seldom has two."""
        worlds = {record.world for record in self.sides[0].records}
        return worlds.pop() if len(worlds) == 1 else ""

    def groups(self, side: Side) -> dict[Key, dict[int, Record]]:
        """Runs by cell and seed, in the order of the side."""
        found: dict[Key, dict[int, Record]] = {}
        for record in side.records:
            found.setdefault(self.key(_facts(record)), {})[record.seed] = record
        return found

    def name(self, key: Key) -> str:
        """`h264, bernoulli 5 % loss, 30 fps`: what sets a cell apart."""
        words = [str(key[_TRANSPORT])]
        for index, field in enumerate((*_FIXED_FIELDS, *self.fields)):
            if index == _TRANSPORT or index not in self.varying or field in _UNSAID:
                continue
            words.append(describe(field, key[index]))
        return ", ".join(word for word in words if word)

    def difference(self) -> str:
        """The first fields in which the sides have nothing in common."""
        found = []
        keys = [{self.key(_facts(r)) for r in side.records} for side in self.sides]
        for index, field in enumerate((*_FIXED_FIELDS, *self.fields)):
            here, there = ({key[index] for key in side} for side in keys)
            if not here & there and field not in _UNSAID:
                found.append(f"{field} is {_some(here)} and {_some(there)}")
        return f": {'; '.join(found[:3])}" if found else ""

    def _twice(self, side: Side) -> tuple[Record, Record] | None:
        seen: dict[tuple[Key, int], Record] = {}
        for record in side.records:
            at = (self.key(_facts(record)), record.seed)
            if at in seen:
                return seen[at], record
            seen[at] = record
        return None

    def _confusion(self, side: Side, first: Record, second: Record) -> str:
        differs = _differing(first.made_with, second.made_with) or _differing(
            first.settings, second.settings
        )
        why = f"they differ in {', '.join(differs[:3])}" if differs else "they differ in nothing"
        return (
            f"{side.source}: holds two runs of {first.transport}, seed {first.seed}, in one cell "
            f"of {first.scenario} ({why}); give each version a folder of its own"
        )


def _facts(record: Record) -> dict[str, Any]:
    """A record as an entry of `failures.json` would put it."""
    return {
        "scenario": record.scenario,
        "world": record.world,
        "transport": record.transport,
        "cell": record.cell,
    }


def _hashable(value: Any) -> Hashable:
    return value if isinstance(value, Hashable) else json.dumps(value, sort_keys=True)


def _some(values: Iterable[Hashable]) -> str:
    texts = sorted(str(value) for value in values)
    return ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "")


def _missing(
    tell: _Telling,
    old: Mapping[Key, Mapping[int, Record]],
    new: Mapping[Key, Mapping[int, Record]],
    failed: set[tuple[Key, Any]],
) -> Iterator[Problem]:
    """Runs of the baseline that are not there now; one problem a cell.

    A seed that is nowhere on the new side was not asked for.
    """
    asked = {seed for group in new.values() for seed in group}
    for key, group in old.items():
        there = new.get(key, {})
        gone = [
            seed
            for seed in sorted(group)
            if seed not in there and (key, seed) not in failed and (not there or seed in asked)
        ]
        if not gone:
            continue
        if there:
            seeds = ", ".join(map(str, gone))
            yield Problem("missing", tell.name(key), f"no run of seed {seeds}")
        else:
            yield Problem("missing", tell.name(key), "no run of this cell")


def _seeds(before: Side, after: Side) -> Iterator[str]:
    old, new = ({record.seed for record in side.records} for side in (before, after))
    if old and new and not old & new:
        yield "the sides share no seeds: runs are compared unpaired"
    elif old - new and new:
        yield f"seeds of the baseline only, not compared: {_some(old - new)}"


def _versions(before: Side, after: Side) -> Iterator[str]:
    """One line on the software."""
    found = []
    names = dict.fromkeys(key for s in (before, after) for r in s.records for key in r.made_with)
    for name in names:
        old, new = ({r.made_with.get(name, "none") for r in s.records} for s in (before, after))
        if old != new and old and new:
            found.append(f"{name} {_some(old)} -> {_some(new)}")
    if found:
        yield f"made with other versions: {'; '.join(found)}"


def _settings(cells: Sequence[Cell]) -> Iterator[str]:
    """What runs of the same cell and seed were resolved to differently."""
    found: Counter[tuple[str, str, str]] = Counter()
    for cell in cells:
        for seed in cell.shared:
            then, now = cell.before[seed].settings, cell.after[seed].settings
            for name in _differing(then, now):
                found[name, then.get(name, "unset"), now.get(name, "unset")] += 1
    for (name, old, new), count in found.most_common(_MOST):
        yield f"{name} differs: {old} -> {new} ({count} run{'s' if count > 1 else ''})"
    if len(found) > _MOST:
        yield f"... and {len(found) - _MOST} more differences of settings"


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
