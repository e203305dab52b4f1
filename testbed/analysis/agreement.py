"""How far worlds agree: the same cells in virtual time and over real sockets, side by side.

Every emulated run is compared with the simulated run of the same cell, transport and seed. Frame
delay has a *constant offset of the host*, which is stated and taken off: the median time by which
the sender's datagrams left late, and the median time by which datagrams reached the receiver's
socket later than the network says (see `facts.realtime` in the manifest).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from testbed.analysis.metrics.columns import Floats
from testbed.analysis.metrics.delay import frame_delay_ms
from testbed.analysis.runs import Run
from testbed.analysis.suite import describe
from testbed.errors import BrokenLogError, InputError

#: The reference.
SIMULATOR: Final = "simulator"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far an emulated run may be from the simulated one.

    Attributes:
        delay_p50_ms, delay_p95_ms: of frame delay, after the host's offset.
        fps_share: of rendered frame rate, relative.
    """

    delay_p50_ms: float = 2.0
    delay_p95_ms: float = 5.0
    fps_share: float = 0.01


@dataclass(frozen=True, slots=True)
class Agreement:
    """One emulated run beside its simulated one; `simulated_` and `emulated_` name whose it is.

    Attributes:
        world: of the emulated run.
        transport, seed, cell: of both; the cell in a few words.
        offset_ms: the host's constant offset.
        late_p99_ms: of the sender's datagrams.
        link: departures that equal those of our model for the same arrivals, "n/n"; "exact" where
            the model itself was the link.
        simulated_p50_ms, emulated_p50_ms, simulated_p95_ms, emulated_p95_ms: frame delay.
        simulated_fps, emulated_fps: rendered.
        simulated_loss, emulated_loss: share of the media direction's packets.
        simulated_utilisation, emulated_utilisation: of the bottleneck; None without one.
        over: bounds that do not hold, in words; "" when all do.
    """

    world: str
    transport: str
    seed: int
    cell: str
    offset_ms: float
    late_p99_ms: float
    link: str
    simulated_p50_ms: float
    emulated_p50_ms: float
    simulated_p95_ms: float
    emulated_p95_ms: float
    simulated_fps: float
    emulated_fps: float
    simulated_loss: float
    emulated_loss: float
    simulated_utilisation: float | None
    emulated_utilisation: float | None
    over: str

    @property
    def p50_difference_ms(self) -> float:
        """Emulated less simulated, less the offset."""
        return self.emulated_p50_ms - self.simulated_p50_ms - self.offset_ms

    @property
    def p95_difference_ms(self) -> float:
        """Emulated less simulated, less the offset."""
        return self.emulated_p95_ms - self.simulated_p95_ms - self.offset_ms

    @property
    def fps_difference(self) -> float:
        """Relative; infinite where only the simulator shows nothing."""
        if self.simulated_fps:
            return self.emulated_fps / self.simulated_fps - 1
        return math.inf if self.emulated_fps else 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs of one cell: the simulated and the emulated one."""

    simulated: Run
    emulated: Run


def pairs(runs: Iterable[Run]) -> list[Pair]:
    """Every emulated run with its simulated one, in order of transport, cell, seed and world.

    Raises:
        InputError: an emulated run has none.
    """
    simulated: dict[tuple[str, str, int], Run] = {}
    emulated: list[Run] = []
    for run in runs:
        if run.manifest.get("world") == SIMULATOR:
            simulated[_key(run)] = run
        else:
            emulated.append(run)
    found = []
    for run in emulated:
        if _key(run) not in simulated:
            raise InputError(
                f"{run.folder}: no simulated run of the same cell, transport and seed beside it"
            )
        found.append(Pair(simulated[_key(run)], run))
    return sorted(found, key=lambda p: (*_key(p.emulated), str(p.emulated.manifest["world"])))


def _key(run: Run) -> tuple[str, str, int]:
    return run.transport, json.dumps(dict(run.cell), sort_keys=True), run.seed


def compare(pair: Pair, bounds: Bounds, *, label: str) -> Agreement:
    """The row of one pair.

    Args:
        pair: both runs.
        bounds: what must hold.
        label: the cell in a few words.

    Raises:
        BrokenLogError: a run lacks what is compared.
    """
    facts = pair.emulated.manifest.get("facts", {}).get("realtime")
    if not isinstance(facts, Mapping):
        raise BrokenLogError(f"{pair.emulated.folder}: manifest has no facts.realtime")
    ours, theirs = delays_ms(pair.simulated), delays_ms(pair.emulated)
    row = Agreement(
        world=str(pair.emulated.manifest["world"]),
        transport=pair.emulated.transport,
        seed=pair.emulated.seed,
        cell=label,
        offset_ms=_offset_ms(facts),
        late_p99_ms=float(facts["sender_late"]["p99_ms"]),
        link=_link(facts),
        simulated_p50_ms=_percentile(ours, 50),
        emulated_p50_ms=_percentile(theirs, 50),
        simulated_p95_ms=_percentile(ours, 95),
        emulated_p95_ms=_percentile(theirs, 95),
        simulated_fps=float(pair.simulated.summary["rendered_fps"]),
        emulated_fps=float(pair.emulated.summary["rendered_fps"]),
        simulated_loss=lost_share(pair.simulated),
        emulated_loss=lost_share(pair.emulated),
        simulated_utilisation=pair.simulated.summary["utilisation"],
        emulated_utilisation=pair.emulated.summary["utilisation"],
        over="",
    )
    return Agreement(**{**asdict(row), "over": "; ".join(_over(row, bounds))})


def _offset_ms(facts: Mapping[str, Any]) -> float:
    return float(facts["sender_late"]["p50_ms"]) + float(facts["host_delay_down"]["p50_ms"])


def _link(facts: Mapping[str, Any]) -> str:
    """Departures of both directions' links that are the model's, of all."""
    network = facts.get("network", {})
    checked = [network[side]["link"] for side in ("down", "up") if side in network]
    if not checked:
        return "exact"
    return f"{sum(c['equal'] for c in checked)}/{sum(c['departures'] for c in checked)}"


def _over(row: Agreement, bounds: Bounds) -> Iterable[str]:
    # Where a world shows nothing its delays are no numbers, and agree only with none.
    if _beyond(row.simulated_p50_ms, row.emulated_p50_ms, row.offset_ms, bounds.delay_p50_ms):
        yield f"p50 {row.p50_difference_ms:+.1f} ms (bound {bounds.delay_p50_ms:g})"
    if _beyond(row.simulated_p95_ms, row.emulated_p95_ms, row.offset_ms, bounds.delay_p95_ms):
        yield f"p95 {row.p95_difference_ms:+.1f} ms (bound {bounds.delay_p95_ms:g})"
    if abs(row.fps_difference) > bounds.fps_share:
        yield f"FPS {100 * row.fps_difference:+.1f} % (bound {100 * bounds.fps_share:g})"
    if "/" in row.link:
        equal, departures = row.link.split("/")
        if equal != departures:
            yield f"link {row.link} departures"


def _beyond(simulated_ms: float, emulated_ms: float, offset_ms: float, bound_ms: float) -> bool:
    if math.isnan(simulated_ms) and math.isnan(emulated_ms):
        return False
    return not abs(emulated_ms - simulated_ms - offset_ms) <= bound_ms


def delays_ms(run: Run) -> Floats:
    """Frame delay of the frames that were shown; see `testbed.analysis.metrics.delay`."""
    values = frame_delay_ms(run.timeline)
    shown: Floats = values[~np.isnan(values)]
    return shown


def packet_delays_ms(run: Run) -> Floats:
    """One-way delay of the media direction's packets that arrived."""
    packets = run.table("packets", ["direction", "sent_ns", "arrival_ns"])
    packets = packets[(packets["direction"] == "down") & packets["arrival_ns"].notna()]
    sent = packets["sent_ns"].to_numpy(dtype=np.float64)
    values: Floats = (packets["arrival_ns"].to_numpy(dtype=np.float64) - sent) / 1e6
    return values


def lost_share(run: Run) -> float:
    """Media-direction packets that the queue or the loss model dropped / packets sent."""
    packets = run.table("packets", ["direction", "drop"])
    drops = packets[packets["direction"] == "down"]["drop"]
    return float((drops != "none").mean()) if len(drops) else 0.0


#: Coordinates that may tell cells apart, in the order in which they are named.
_NAMING: Final = (
    "trace", "uplink_trace", "loss", "clip", "fps", "control", "kbps", "queue", "delay_ms",
    "jitter_ms", "phase_ms", "compute",
)  # fmt: skip


def labels(found: Sequence[Pair]) -> list[str]:
    """The cell of each pair in a few words: what varies between them, or else the trace."""
    cells = [dict(pair.emulated.cell) for pair in found]
    varying = [key for key in _NAMING if len({repr(cell.get(key)) for cell in cells}) > 1]
    names = []
    for cell in cells:
        told = [describe(key, cell.get(key)) for key in varying or ["trace"]]
        names.append(", ".join(filter(None, told)))  # what is not set has no words
    return names


def _percentile(values: Floats, percent: float) -> float:
    return float(np.percentile(values, percent)) if values.size else float("nan")


def write_csv(rows: Sequence[Agreement]) -> str:
    """CSV, one row a pair, with the differences."""
    out = io.StringIO()
    names = [field.name for field in fields(Agreement)]
    extra = ("p50_difference_ms", "p95_difference_ms", "fps_difference")
    writer = csv.DictWriter(out, [*names[:-1], *extra, "over"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = {**asdict(row), **{name: getattr(row, name) for name in extra}}
        writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in values.items()})
    return out.getvalue()


_HEAD: Final = """\
# Agreement of the worlds

Made by `{command}`.

Bounds: frame delay p50 within {bounds.delay_p50_ms:g} ms and p95 within {bounds.delay_p95_ms:g} ms
of the simulator after the host's offset, rendered FPS within {fps:g} %, every departure of the link
equal to the model's.

*Offset*: median time by which the sender's datagrams left late, and by which datagrams reached the
receiver's socket later than the network says. *Late*: the sender's datagrams, 99th percentile.
*Link*: departures of mm-link, both directions, that equal those of our model for the same
arrivals; in the relay the model is the link.
"""
_COLUMNS: Final = (
    "cell", "transport", "world", "seed", "delay p50 sim / emu (ms)", "diff",
    "p95 sim / emu (ms)", "diff", "offset (ms)", "late (ms)", "FPS sim / emu", "loss sim / emu",
    "used sim / emu", "link", "over",
)  # fmt: skip
_TABLE_HEAD: Final = (f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|")


def write_markdown(rows: Sequence[Agreement], bounds: Bounds, *, command: str) -> str:
    """The report: a table of differences, the bounds, and what the columns are."""
    within = sum(not row.over for row in rows)
    lines = [_HEAD.format(command=command, bounds=bounds, fps=100 * bounds.fps_share)]
    lines += [f"{within} of {len(rows)} runs are within all bounds.", "", *_TABLE_HEAD]
    for row in rows:
        cells = (
            row.cell, row.transport, row.world, str(row.seed),
            f"{row.simulated_p50_ms:.1f} / {row.emulated_p50_ms:.1f}",
            f"{row.p50_difference_ms:+.2f}",
            f"{row.simulated_p95_ms:.1f} / {row.emulated_p95_ms:.1f}",
            f"{row.p95_difference_ms:+.2f}",
            f"{row.offset_ms:.2f}", f"{row.late_p99_ms:.2f}",
            f"{row.simulated_fps:.2f} / {row.emulated_fps:.2f}",
            f"{100 * row.simulated_loss:.1f} / {100 * row.emulated_loss:.1f} %",
            f"{_share(row.simulated_utilisation)} / {_share(row.emulated_utilisation)}",
            row.link, row.over or "-",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def write_report(
    rows: Sequence[Agreement], found: Sequence[Pair], folder: Path, bounds: Bounds, *, command: str
) -> list[Path]:
    """Write `fidelity.csv`, `fidelity.md` and the quantile-quantile figures.

    Raises:
        OutputError: a file cannot be written.
    """
    from testbed.analysis.plots.agreement import draw_all
    from testbed.analysis.style import write_whole

    texts = {
        "fidelity.csv": write_csv(rows),
        "fidelity.md": write_markdown(rows, bounds, command=command),
    }
    for name, text in texts.items():
        write_whole(folder / name, text.encode())
    labelled = [(row.cell, pair) for row, pair in zip(rows, found, strict=True)]
    return [*(folder / name for name in texts), *draw_all(labelled, folder / "figures")]
