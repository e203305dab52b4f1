"""How the runs of a results folder relate: what varies, what a figure may put side by side.

A run has *coordinates*: the scenario, the world and every field of its cell. Transport and seed
are not among them; figures draw one curve a transport and take intervals over seeds. Loss is a
coordinate of its own: a *family* (the model without its rate) and a *level* (the rate) within it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from testbed.analysis.runs import Run

if TYPE_CHECKING:
    import pandas as pd

_RATE: Final = re.compile(r"\s*\d+(\.\d+)?([eE][+-]?\d+)? %")
#: A hash over both paths: it differs with every loss rate and tells a reader nothing.
_OPAQUE: Final = frozenset({"paths"})
#: Fields of a cell that `loss_family` and `loss_levels` speak for.
LOSS_FIELDS: Final = frozenset({"loss", "loss_kind", "loss_rate", "mean_burst"})
#: Fields over which a pooled figure may put frames together.
POOLED_FIELDS: Final = frozenset({"clip", "trace", "uplink_trace", "width", "height"})
#: Which field becomes the panels or the axis when there is only one loss level.
PANEL_FIELDS: Final = ("trace", "clip", "kbps", "fps", "queue", "delay_ms", "uplink_trace")

_FORMATS: Final[dict[str, Callable[[Any], str]]] = {
    "fps": lambda v: f"{v:g} fps",
    "kbps": lambda v: f"{v:g} kbit/s",
    "delay_ms": lambda v: f"{v:g} ms delay",
    "duration_s": lambda v: f"{v:g} s",
    "playout_deadline_ms": lambda v: f"{v:g} ms deadline",
    "width": lambda v: f"{v:g} px wide",
    "height": lambda v: f"{v:g} px high",
    "clip": str,
    "trace": str,
    "uplink_trace": lambda v: f"uplink {v}",
    "uplink_loss": lambda v: f"uplink loss {v}",
    "uplink_queue": lambda v: f"uplink queue {v}",
    "uplink_delay_ms": lambda v: f"{v:g} ms uplink delay",
    "jitter_ms": lambda v: f"{v:g} ms jitter",
    "uplink_jitter_ms": lambda v: f"{v:g} ms uplink jitter",
    "phase_ms": lambda v: f"trace from {v:g} ms" if isinstance(v, int | float) else f"{v} phase",
    "uplink_phase_ms": lambda v: f"uplink trace phase {v}",
    "control": lambda v: f"{v} rate",
    "rate_variant": str,
    "competing": lambda v: "nobody beside" if v == "none" else f"beside {v}",
    "queue": lambda v: f"{v} queue",
    "compute": lambda v: f"{v} compute",
    "world": lambda v: f"{v} world",
    "scenario": str,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Runs that one figure shows together.

    Attributes:
        title: what sets them apart from the suite's other settings; "" when there is only one.
        slug: the same for file names.
        runs: in the order of `scan_runs`.
    """

    title: str
    slug: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """One value of the axis or panel dimension.

    Attributes:
        label: for readers, with unit.
        value: for a numeric axis, or None.
        runs: its runs.
    """

    label: str
    value: float | None
    runs: tuple[Run, ...]


def coordinates(run: Run) -> dict[str, Any]:
    """Every field that tells this run's cell from others, apart from loss; values hashable."""
    found = {"scenario": run.scenario, "world": run.manifest.get("world", "")}
    found |= {k: v for k, v in run.cell.items() if k not in LOSS_FIELDS | _OPAQUE}
    return {
        key: value if isinstance(value, Hashable) else json.dumps(value, sort_keys=True)
        for key, value in found.items()
    }


def describe(field: str, value: Any) -> str:
    """A coordinate for readers, such as "30 fps"; "" for one that is not set."""
    if value is None:
        return ""
    plain = _FORMATS.get(field)
    if plain is None:
        return f"{field} {value:g}" if isinstance(value, float) else f"{field} {value}"
    try:
        return plain(value)
    except (TypeError, ValueError):
        return f"{field} {value}"


def lossless(run: Run) -> bool:
    """No loss model is at work; such a run is the 0 % level of every family."""
    return run.cell.get("loss_kind") in (None, "none") or run.cell.get("loss_rate") == 0


def loss_family(run: Run) -> str:
    """The loss model without its rate, such as "gilbert-elliott burst 4"; "none" without loss.

    The label of a model that states no rate in percent is one level of its kind.
    """
    if lossless(run):
        return "none"
    label = str(run.cell.get("loss", run.cell["loss_kind"]))
    if _RATE.search(label) is None:
        return str(run.cell["loss_kind"])
    return _RATE.sub("", label).strip()


def loss_levels(runs: Iterable[Run]) -> list[Level]:
    """The loss levels of `runs`, by rate; levels without a known rate come last.

    With one loss family a level is called "5 % loss", with several by its whole label.
    """
    members = list(runs)
    several = len({loss_family(run) for run in members} - {"none"}) > 1
    groups: dict[tuple[float | None, str], list[Run]] = {}
    for run in members:
        groups.setdefault(_loss_level(run, named=several), []).append(run)
    keys = sorted(groups, key=lambda k: (k[0] is None, k[0] or 0.0, k[1]))
    return [Level(label, rate, tuple(groups[rate, label])) for rate, label in keys]


def _loss_level(run: Run, *, named: bool) -> tuple[float | None, str]:
    if lossless(run):
        return (0.0, "no loss" if named else "0 % loss")
    label = str(run.cell.get("loss", run.cell["loss_kind"]))
    rate = run.cell.get("loss_rate")
    known = float(rate) if isinstance(rate, int | float) else None
    if named or known is None or _RATE.search(label) is None:
        return (known, label)
    return (known, f"{known * 100:g} % loss")


def settings(runs: Sequence[Run], *, free: Collection[str] = ()) -> list[Setting]:
    """Split `runs` so that within a setting only loss level, transport, seed and `free` vary.

    Loss families are split when one of them has several rates; lossless runs then belong to every
    family of their setting. Titles name only what varies
    within the suite, and leave out fields that follow from those already named.
    """
    naming = _naming_fields(runs, free)
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        at = coordinates(run)
        groups.setdefault(tuple(at.get(field) for field in naming), []).append(run)
    levels_of: dict[str, set[Any]] = {}
    for run in runs:
        if not lossless(run):
            levels_of.setdefault(loss_family(run), set()).add(run.cell.get("loss"))
    split = len(levels_of) > 1 and max(len(found) for found in levels_of.values()) > 1
    found = []
    for key, members in groups.items():
        named = (describe(field, value) for field, value in zip(naming, key, strict=True))
        parts = [part for part in named if part]
        families = sorted({loss_family(run) for run in members} - {"none"})
        if not split or not families:
            title = " · ".join(parts)
            found.append(Setting(title, slug(title), tuple(members)))
            continue
        for family in families:
            chosen = tuple(r for r in members if loss_family(r) in ("none", family))
            title = " · ".join([*parts, f"{family} loss"])
            found.append(Setting(title, slug(title), chosen))
    return found


def _naming_fields(runs: Sequence[Run], free: Collection[str]) -> list[str]:
    """Varying fields outside `free`, without those that follow from the ones before them."""
    tables = [coordinates(run) for run in runs]
    fields = list(dict.fromkeys(key for table in tables for key in table if key not in free))
    naming: list[str] = []
    distinct = 1
    for field in fields:
        now = len({tuple(table.get(f) for f in [*naming, field]) for table in tables})
        if now > distinct:
            naming.append(field)
            distinct = now
    return naming


def panel_field(runs: Sequence[Run]) -> str:
    """What the panels of a figure stand for: "loss" if it varies, else a field that does."""
    if len(loss_levels(runs)) > 1:
        return "loss"
    tables = [coordinates(run) for run in runs]
    for field in PANEL_FIELDS:
        if len({table.get(field) for table in tables}) > 1:
            return field
    return "loss"


def levels(runs: Sequence[Run], field: str) -> list[Level]:
    """The values of `field` ("loss" or a field of the cell) with their runs, in order."""
    if field == "loss":
        return loss_levels(runs)
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(coordinates(run).get(field), []).append(run)

    def number(value: Any) -> float | None:
        usable = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if usable else None

    keys = sorted(groups, key=lambda v: (number(v) is None, number(v) or 0.0, str(v)))
    return [Level(describe(field, v) or f"no {field}", number(v), tuple(groups[v])) for v in keys]


def transports(runs: Iterable[Run]) -> list[str]:
    """Transports of `runs` in the order of every legend."""
    from testbed.analysis.style import order

    return order({run.transport for run in runs})


def slug(text: str) -> str:
    """`text` as part of a file name: lower case, digits, letters, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:120]


def summary_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row a run: run, scenario, world, cell_id, transport, seed, the cell's fields, metrics.

    Where a run had no pictures there is a last column `pixels`, "sizes-only" for such runs.

    Raises:
        BrokenLogError: at the first run that cannot be read.
    """
    import pandas as pd

    from testbed.analysis.metrics import DEFINITIONS

    runs = list(runs)
    some_without = any(run.sizes_only for run in runs)
    rows = []
    for run in runs:
        row: dict[str, Any] = {
            "run": run.name,
            "scenario": run.scenario,
            "world": run.manifest.get("world"),
            "cell_id": run.cell_id,
            "transport": run.transport,
            "seed": run.seed,
        }
        for key, value in run.cell.items():
            row[key] = value if isinstance(value, Hashable) else json.dumps(value, sort_keys=True)
        summary = run.summary
        row |= {key: summary.get(key) for key in DEFINITIONS}
        if some_without:
            row["pixels"] = run.manifest["facts"]["pixels"] if run.sizes_only else ""
        rows.append(row)
    return pd.DataFrame(rows)
