"""One cell of a suite: a session and everything that determines and describes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.network.spec import LossSpec, QueueSpec
from testbed.worlds.session import CompetingSpec, SessionSpec


@dataclass(frozen=True, slots=True)
class Cell:
    """One run to be made.

    Attributes:
        scenario, description: of the file.
        transport: label of the transport in results.
        seed: master seed.
        session: what the world runs.
        base: folder that relative clip paths start from.
        world: name of the world.
        warmup_s: left out of utilisation and tracking.
        quality: picture metrics; empty = pixels are not decoded.
        conditions: flat coordinates in the matrix; the same for all transports and seeds. `paths`
            is a hash of both directions as the file states them.
        cell_id: hash of the conditions; results are paired by it.
        run: hash of everything that determines the result; the folder's name.
        encode_group: cells of one group ask for the same encodes at first.
        resolved, inputs, versions, host: for the manifest.
        look: how figures show the transport, for the manifest; no part of what determines a run.
    """

    scenario: str
    description: str
    transport: str
    seed: int
    session: SessionSpec
    base: Path
    world: str
    warmup_s: float
    quality: tuple[str, ...]
    conditions: Mapping[str, Any]
    cell_id: str
    run: str
    encode_group: str
    resolved: Mapping[str, Any]
    inputs: Mapping[str, Any]
    versions: Mapping[str, Any]
    host: Mapping[str, Any]
    look: Mapping[str, Any] = field(default_factory=dict)


def digest(value: Any, *, length: int = 16) -> str:
    """First hex digits of SHA-256 over the value as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def describe_competing(competing: Sequence[CompetingSpec]) -> str:
    """`3 media + 1 tcp from 10 s`, or `none`."""
    return " + ".join(_sort_label(sort) for sort in competing) or "none"


def _sort_label(sort: CompetingSpec) -> str:
    words = [f"{sort.count} {sort.kind}"]
    if sort.reverse:
        words.append("the other way")
    if sort.rate_control:
        words.append(sort.rate_control)
        words += [f"{number(value)} kbps" for value in sort.rate_options.values()]
    if sort.start_s:
        words.append(f"from {number(sort.start_s)} s")
    if sort.every_s and sort.count > 1:
        words.append(f"every {number(sort.every_s)} s")
    if sort.stop_s is not None:
        words.append(f"to {number(sort.stop_s)} s")
    if sort.transfer_kbytes is not None:
        words.append(f"of {number(sort.transfer_kbytes)} kB, {number(sort.idle_s)} s idle")
    if sort.extra_delay_ms:
        words.append(f"+{number(sort.extra_delay_ms)} ms")
    return " ".join(words)


def number(value: float) -> str:
    """A number as short as it can be shown."""
    return f"{value:g}"


def describe_queue(queue: QueueSpec) -> str:
    """`droptail 60 packets 90000 bytes`."""
    words = [queue.kind]
    if queue.packets is not None:
        words.append(f"{queue.packets} packets")
    if queue.bytes is not None:
        words.append(f"{queue.bytes} bytes")
    words += [f"{key}={value}" for key, value in queue.options.items()]
    return " ".join(words)


def describe_loss(loss: Sequence[LossSpec]) -> dict[str, Any]:
    """Label and nominal numbers of the loss models of one direction.

    Returns:
        loss (label), loss_kind, loss_rate (share, or None where it has no closed form here) and
        mean_burst (packets, or None). For several models the label joins theirs and the numbers
        are None.
    """
    if not loss:
        return {"loss": "none", "loss_kind": "none", "loss_rate": 0.0, "mean_burst": None}
    if len(loss) > 1:
        return {
            "loss": " + ".join(_loss_label(one) for one in loss),
            "loss_kind": "+".join(one.kind for one in loss),
            "loss_rate": None,
            "mean_burst": None,
        }
    (one,) = loss
    burst = one.options.get("mean_burst")
    return {
        "loss": _loss_label(one),
        "loss_kind": one.kind,
        "loss_rate": loss_rate(one),
        "mean_burst": float(burst) if isinstance(burst, int | float) else None,
    }


def loss_rate(loss: LossSpec) -> float | None:
    """Long-run share of lost packets that the model is asked for; None where it is not stated."""
    options = loss.options
    rate = options.get("rate")
    if isinstance(rate, int | float):
        return float(rate)
    if loss.kind != "gilbert-elliott":
        return None
    p, r = float(options["p"]), float(options["r"])
    bad = p / (p + r) if p + r > 0 else 0.0
    # Delivery probabilities h (bad) and k (good): Elliott's letters.
    return bad * (1 - float(options.get("h", 0.0))) + (1 - bad) * (1 - float(options.get("k", 1.0)))


def _loss_label(loss: LossSpec) -> str:
    rate, burst = loss.options.get("rate"), loss.options.get("mean_burst")
    words = [loss.kind]
    if isinstance(rate, int | float):
        words.append(f"{number(100 * rate)} %")
    if isinstance(burst, int | float):
        words.append(f"burst {number(burst)}")
    words += [
        f"{key}={_short(value)}"
        for key, value in loss.options.items()
        if key not in {"rate", "mean_burst"}
    ]
    return " ".join(words)


def _short(value: Any) -> str:
    if isinstance(value, tuple | list):
        if len(value) > 6:
            return f"{len(value)} values"
        return "/".join(_short(one) for one in value)
    return number(value) if isinstance(value, float) else str(value)
