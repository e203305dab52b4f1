"""What a gate looks at, and how far each of it may get worse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from testbed.analysis.metrics import DEFINITIONS
from testbed.errors import InputError, UnknownNameError

#: Series over time carry this in front of their name, for `capacity_kbps` and `target_kbps` are
#: metrics as well.
SERIES_PREFIX: Final = "series."


@dataclass(frozen=True, slots=True)
class Limit:
    """How far a number may move the wrong way: the larger of the two.

    Attributes:
        absolute: in the unit of the metric (a share as a number in 0..1).
        relative: share of the baseline's value.
    """

    absolute: float = 0.0
    relative: float = 0.0

    def allowed(self, baseline: float) -> float:
        """In the unit of the metric."""
        return max(self.absolute, self.relative * abs(baseline))


#: What is looked at unless metrics are named. The limits are about what a viewer or a plot would
#: not show; a metric that has no better direction (realised loss) may move neither way.
DEFAULTS: Final[dict[str, Limit]] = {
    "rendered_fps": Limit(0.5, 0.02),
    "non_rendered_share": Limit(0.02),
    "freeze_w3c_share": Limit(0.01),
    "freeze_gap200_share": Limit(0.01),
    "frame_delay_ms_p50": Limit(3, 0.05),
    "frame_delay_ms_p95": Limit(10, 0.1),
    "frame_delay_ms_censored_p95": Limit(10, 0.1),
    "latency_ms_p50": Limit(3, 0.05),
    "latency_ms_p95": Limit(10, 0.1),
    "utilisation": Limit(0.02),
    "goodput_share": Limit(0.02),
    "retransmission_share": Limit(0.02),
    "queue_drop_share": Limit(0.01),
    "realised_loss": Limit(0.01),
    "capacity_kbps": Limit(0, 0.01),
    "wire_over_target": Limit(0.03),
    "tracking_error": Limit(0.03),
    "vmaf_mean": Limit(1),
    "vmaf_p5": Limit(3),
    "ssim_db": Limit(0.2),
    "psnr_mean": Limit(0.3),
    "series.target_kbps": Limit(10, 0.1),
    "series.capacity_kbps": Limit(1, 0.01),
    "series.delivered_kbps": Limit(20, 0.1),
    "series.queueing_delay_ms": Limit(10, 0.2),
}
#: For a metric that is named and not among the defaults.
OTHERS: Final = Limit(0, 0.05)
#: What needs decoded pixels; a run without them has not become worse for it.
QUALITY: Final = ("vmaf_mean", "vmaf_p5", "ssim_mean", "ssim_db", "psnr_mean")


def known() -> list[str]:
    """Every name that `--metric` and `--tolerance` take."""
    return [*DEFINITIONS, *(name for name in DEFAULTS if name.startswith(SERIES_PREFIX))]


def limits(names: Iterable[str] = (), tolerances: Sequence[str] = ()) -> dict[str, Limit]:
    """The metrics and series to look at, each with its limit.

    Args:
        names: what to look at; the defaults when empty.
        tolerances: `NAME=ABSOLUTE`, `NAME=RELATIVE%` or `NAME=ABSOLUTE,RELATIVE%`; a part that is
            not given is 0. Without `names` a tolerance adds its metric to the defaults.

    Raises:
        InputError: a tolerance that is none, or is for a metric not looked at.
        UnknownNameError: no such metric; the message lists the known ones.
    """
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        _check_name("--metric", name)
    found = {name: DEFAULTS.get(name, OTHERS) for name in chosen or DEFAULTS}
    for text in tolerances:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(
                f"--tolerance {text}: must be NAME=VALUE, VALUE like 5, 5% or 5,5% (the larger)"
            )
        _check_name("--tolerance", name)
        if chosen and name not in found:
            raise InputError(f"--tolerance {text}: {name} is not among --metric")
        found[name] = _parse(text, value)
    return found


def _check_name(option: str, name: str) -> None:
    if name not in DEFAULTS and name not in DEFINITIONS:
        raise UnknownNameError(f"{option}: unknown metric {name!r}; known: {', '.join(known())}")


def _parse(text: str, value: str) -> Limit:
    parts = {"absolute": 0.0, "relative": 0.0}
    seen = set()
    for part in value.split(","):
        kind = "relative" if part.strip().endswith("%") else "absolute"
        try:
            number = float(part.strip().removesuffix("%"))
        except ValueError:
            number = math.nan
        if kind in seen or not 0 <= number < math.inf:
            raise InputError(
                f"--tolerance {text}: {value!r} must be a number >= 0, a percentage >= 0, or "
                "both with a comma between"
            )
        seen.add(kind)
        parts[kind] = number / 100 if kind == "relative" else number
    return Limit(**parts)
