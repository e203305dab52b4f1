"""Whether a comparison was fair: what each transport was allowed, what it sent, what it met.

A scheme that sends more than the others under the name of the same rate buys its picture with it,
and one that meets other losses is not compared at all. So every report says for each setting:

- the **rate on the wire**: the IP bytes of every datagram of the media direction, whatever is in it
  (media, IP, UDP, RTP and payload headers, FEC, retransmissions, padding, sender reports), sent
  from the start of the session to its very end, over the duration of the media. The end is where
  the last frame's packets are, also of a scheme that sends a group of frames late;
- its **deviation** from the target: of the fixed rate control its rate, else the controller's mean;
- whether the transports of a cell had the same clip, trace and phase, and **lost the same
  positions**: the decisions of the loss models are read off the packet log, not off the scenario.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.runs import Run
from testbed.analysis.suite import levels, settings, transports

if TYPE_CHECKING:
    import pandas as pd

#: A fixed rate that is met within this is called fair.
TOLERANCE: Final = 0.03
#: What the bytes on the wire are, in the order of the table.
PARTS: Final = ("media", "header", "fec", "retransmission", "padding", "other")
#: Fate of a packet at the loss models; what the queue dropped never got there.
_PASSED, _LOST, _UNKNOWN = 0, 1, 2

Fates = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sent:
    """What one run put on the wire.

    Attributes:
        target_kbps: what it was allowed; None: nothing says.
        wire_kbps: what it sent.
        shares: what its bytes were, by `PARTS`; sums to 1.
        fates: of its packets at the loss models, in order of entry.
    """

    target_kbps: float | None
    wire_kbps: float
    shares: Mapping[str, float]
    fates: Fates

    @property
    def deviation(self) -> float | None:
        """Of the rate from the target, as a share of it."""
        return self.wire_kbps / self.target_kbps - 1 if self.target_kbps else None


@dataclass(frozen=True, slots=True)
class FairnessRow:
    """One transport in one setting, its runs pooled (means over seeds and pooled cells).

    Attributes:
        setting: what sets this group apart, "" in a suite with one.
        level: loss level.
        transport: label.
        runs: how many went in.
        matched: all transports of the level have the same cells and seeds.
        target_kbps, wire_kbps: means; the target is None where nothing says.
        deviation: mean of the runs' deviations, as a share.
        worst_deviation: of the run that is furthest off.
        shares: mean shares of the bytes, by `PARTS`.
        playout_deadline_ms: the viewer's patience.
        mask: "same" (the loss models decided alike about every position that all transports of the
            cell used), "differs", "no loss", "by frame" or "by time" (they depend on more than the
            position, and share that), "shared path" (others' packets are in between), "alone".
        mask_packets: positions compared at least, None where none could be.
        mask_sha256: of the decisions about them, one hash for each cell and seed; 12 digits.
        trace, clip: trace and phase, and content and size, are the same for all of a cell; None: it
            has one transport.
        fixed: the rate is fixed, so that a verdict makes sense.
    """

    setting: str
    level: str
    transport: str
    runs: int
    matched: bool
    target_kbps: float | None
    wire_kbps: float
    deviation: float | None
    worst_deviation: float | None
    shares: Mapping[str, float]
    playout_deadline_ms: float
    mask: str
    mask_packets: int | None
    mask_sha256: tuple[str, ...]
    trace: bool | None
    clip: bool | None
    fixed: bool

    @property
    def verdict(self) -> str:
        """What is wrong, or "ok"; "not judged" under a rate control that adapts."""
        wrong = []
        if self.fixed and (self.deviation is None or abs(self.deviation) > TOLERANCE):
            wrong.append("no target" if self.deviation is None else f"{self.deviation:+.1%} rate")
        if not self.matched:
            wrong.append("other cells or seeds")
        if self.mask == "differs":
            wrong.append("other losses")
        if self.trace is False:
            wrong.append("other trace or phase")
        if self.clip is False:
            wrong.append("other clip")
        return ", ".join(wrong) or ("ok" if self.fixed else "not judged")

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**dataclasses.asdict(self), "verdict": self.verdict}


def fairness(runs: Sequence[Run], sent: Mapping[str, Sent] | None = None) -> list[FairnessRow]:
    """The table of a results folder: a row a setting, loss level and transport.

    Args:
        runs: what to compare.
        sent: `sent_by` of each by its name, where that is known already.

    Raises:
        BrokenLogError: a run that cannot be read.
    """
    if sent is None:
        sent = {run.name: sent_by(run) for run in runs}
    cells: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        cells.setdefault((run.cell_id, run.seed), []).append(run)
    met = {key: _met(members, sent) for key, members in cells.items()}
    rows = []
    for setting in settings(runs):
        for level in levels(setting.runs, "loss"):
            all_cells = {(run.cell_id, run.seed) for run in level.runs}
            for name in transports(level.runs):
                mine = [run for run in level.runs if run.transport == name]
                rows.append(_row(setting.title, level.label, mine, sent, met, all_cells))
    return rows


def sent_by(run: Run) -> Sent:
    """What a run put on the wire.

    Raises:
        BrokenLogError: its tables cannot be read.
    """
    from testbed.analysis.metrics.columns import packet_columns, session
    from testbed.analysis.metrics.wire import byte_shares, rates

    packets = packet_columns(run.table("packets"))
    facts = dataclasses.replace(session(run.manifest, run.frames), warmup_s=0.0)
    shares = byte_shares(run.timeline, packets, facts)
    target = rates(packets, run.table("control"), facts)["target_kbps"]
    if is_fixed(run):
        target = float(run.cell["kbps"])
    drop = packets.drop.astype(str)
    fates = np.where(drop == "loss", _LOST, np.where(drop == "queue", _UNKNOWN, _PASSED))
    return Sent(
        target,
        int(np.sum(packets.ip_bytes)) * 8 / 1e3 / facts.duration_s,
        {part: shares[f"{part}_share"] or 0.0 for part in PARTS},
        fates.astype(np.uint8),
    )


def is_fixed(run: Run) -> bool:
    """Its rate control keeps one target."""
    return run.cell.get("control") == "fixed" and bool(run.cell.get("kbps"))


# --- what a cell met ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Met:
    """What the transports of one cell and seed met; see `FairnessRow`."""

    mask: str
    packets: int | None = None
    sha256: str = ""
    trace: bool | None = None
    clip: bool | None = None


def _met(members: Sequence[Run], sent: Mapping[str, Sent]) -> _Met:
    alone = len({run.transport for run in members}) < 2
    mask, packets, sha256 = _mask(members, [sent[run.name].fates for run in members])
    if alone:
        return _Met("alone" if mask == "same" else mask, packets, sha256)
    return _Met(
        mask,
        packets,
        sha256,
        trace=len({_canonical(_path_inputs(run)) for run in members}) == 1,
        clip=len({_canonical(_clip_inputs(run)) for run in members}) == 1,
    )


def _mask(members: Sequence[Run], fates: Sequence[Fates]) -> tuple[str, int | None, str]:
    """Whether the positions that all used were decided alike: word, how many, hash."""
    indexed = {word for run in members for word in _indexed_by(run)}
    if not indexed:
        lost = any(bool(np.any(one == _LOST)) for one in fates)
        return ("differs" if lost else "no loss"), None, ""
    for word in ("time", "frame"):
        if word in indexed:
            return f"by {word}", None, ""
    if any(run.cell.get("competing", "none") != "none" for run in members):
        return "shared path", None, ""
    count = min(one.size for one in fates)
    both = np.stack([one[:count] for one in fates])
    known = np.all(both != _UNKNOWN, axis=0)
    decided = both[:, known]
    digest = hashlib.sha256(np.where(known, both[0], _UNKNOWN).astype(np.uint8).tobytes())
    same = bool(np.all(decided == decided[0]))
    return ("same" if same else "differs"), int(np.sum(known)), digest.hexdigest()[:12]


def _indexed_by(run: Run) -> list[str]:
    """What the loss models of the media direction depend on besides the seed."""
    facts = run.manifest.get("facts")
    told = facts.get("loss_down", {}) if isinstance(facts, Mapping) else {}
    found = told.get("indexed_by") if isinstance(told, Mapping) else None
    if isinstance(found, list):
        return [str(word) for word in found]
    return [] if run.cell.get("loss_kind") in (None, "none") else ["packet"]


def _path_inputs(run: Run) -> Any:
    """Both directions as resolved: trace, phase, queue, loss, delay."""
    resolved = run.manifest.get("resolved")
    sides = resolved if isinstance(resolved, Mapping) else {}
    return [sides.get("downlink"), sides.get("uplink"), run.cell.get("paths")]


def _clip_inputs(run: Run) -> Any:
    """Content and size of the clip."""
    inputs = run.manifest.get("inputs")
    clip = inputs.get("clip") if isinstance(inputs, Mapping) else None
    told = clip if isinstance(clip, Mapping) else {}
    shape = [run.cell.get(field) for field in ("clip", "width", "height", "fps", "duration_s")]
    return [told.get("sha256"), *shape]


def _canonical(value: Any) -> str:
    import json

    return json.dumps(value, sort_keys=True, default=str)


# --- pooling ------------------------------------------------------------------------------------


def _row(
    setting: str,
    level: str,
    mine: Sequence[Run],
    sent: Mapping[str, Sent],
    met: Mapping[tuple[str, int], _Met],
    all_cells: set[tuple[str, int]],
) -> FairnessRow:
    found = [sent[run.name] for run in mine]
    targets = [one.target_kbps for one in found if one.target_kbps is not None]
    off = [one.deviation for one in found if one.deviation is not None]
    cells = [met[run.cell_id, run.seed] for run in mine]
    compared = [cell.packets for cell in cells if cell.packets is not None]
    return FairnessRow(
        setting,
        level,
        mine[0].transport,
        len(mine),
        {(run.cell_id, run.seed) for run in mine} == all_cells,
        _mean(targets),
        math.fsum(one.wire_kbps for one in found) / len(found),
        _mean(off),
        max(off, key=abs) if off else None,
        {part: math.fsum(one.shares[part] for one in found) / len(found) for part in PARTS},
        float(mine[0].cell["playout_deadline_ms"]),
        _worst([cell.mask for cell in cells]),
        min(compared) if compared else None,
        tuple(cell.sha256 for cell in cells if cell.sha256),
        _all(cell.trace for cell in cells),
        _all(cell.clip for cell in cells),
        all(is_fixed(run) for run in mine),
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _worst(words: Sequence[str]) -> str:
    """One word for several cells: a difference anywhere is a difference."""
    return "differs" if "differs" in words else ", ".join(dict.fromkeys(words))


def _all(values: Any) -> bool | None:
    known = [value for value in values if value is not None]
    return all(known) if known else None


# --- files --------------------------------------------------------------------------------------


def fairness_frame(rows: Sequence[FairnessRow]) -> pd.DataFrame:
    """The rows as a table for CSV: shares and deviations as they are, no percent."""
    import pandas as pd

    made = []
    for row in rows:
        told = row.as_json()
        shares = told.pop("shares")
        told["mask_sha256"] = " ".join(told["mask_sha256"])
        made.append({**told, **{f"{part}_share": shares[part] for part in PARTS}})
    return pd.DataFrame(made)
