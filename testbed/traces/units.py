"""Rates and durations as users write them."""

from __future__ import annotations

import math
import re
from typing import Final

from testbed.errors import TraceError

#: kbit/s in one of each unit; decimal prefixes, b = bit, B = byte.
KBPS_PER_UNIT: Final = {
    "bps": 0.001,
    "kbps": 1.0,
    "Mbps": 1000.0,
    "Gbps": 1_000_000.0,
    "B/s": 0.008,
    "kB/s": 8.0,
    "MB/s": 8000.0,
}
_RATE_ALIASES: Final = {
    "bit/s": "bps",
    "bits/sec": "bps",
    "kbit/s": "kbps",
    "Kbps": "kbps",
    "Kbits/sec": "kbps",
    "mbps": "Mbps",
    "Mbit/s": "Mbps",
    "Mbits/sec": "Mbps",
    "gbps": "Gbps",
    "Gbit/s": "Gbps",
    "Gbits/sec": "Gbps",
    "KB/s": "kB/s",
}
_US_PER_UNIT: Final = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000}
_QUANTITY: Final = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z/]+)\Z")

#: Bounds that keep exact integer arithmetic inside int64.
MAX_RATE_KBPS: Final = 1e9  # 1 Tbit/s
MAX_PERIOD_US: Final = 100 * 24 * 3_600_000_000  # 100 days


def rate_unit(text: str) -> float:
    """Factor to kbit/s of the unit called `text`.

    Raises:
        TraceError: not a unit; the message lists them.
    """
    name = _RATE_ALIASES.get(text, text)
    if name not in KBPS_PER_UNIT:
        raise TraceError(f"unknown rate unit {text!r}; use one of {', '.join(KBPS_PER_UNIT)}")
    return KBPS_PER_UNIT[name]


def time_unit_us(text: str) -> int:
    """Microseconds in the time unit called `text` (us, ms, s, min, h)."""
    if text not in _US_PER_UNIT:
        raise TraceError(f"unknown time unit {text!r}; use one of {', '.join(_US_PER_UNIT)}")
    return _US_PER_UNIT[text]


def parse_rate_kbps(text: str) -> float:
    """`2000kbps`, `2.5Mbps` and the like, in kbit/s.

    Raises:
        TraceError: not a number with a unit, or out of range.
    """
    match = _QUANTITY.match(text.strip())
    if match is None:
        raise TraceError(f"{text!r} is not a rate; write a number and a unit, such as 2000kbps")
    rate = float(match[1]) * rate_unit(match[2])
    if not math.isfinite(rate) or rate > MAX_RATE_KBPS:
        raise TraceError(f"rate {text!r} is out of range; at most 1000 Gbps")
    return rate


def parse_duration_us(text: str) -> int:
    """`30s`, `500ms`, `2min`, in whole microseconds, > 0.

    Raises:
        TraceError: not a number with a unit, or out of range.
    """
    match = _QUANTITY.match(text.strip())
    if match is None or match[2] not in _US_PER_UNIT:
        raise TraceError(f"{text!r} is not a duration; write a number and a unit, such as 30s")
    duration = float(match[1]) * _US_PER_UNIT[match[2]]
    if not 1 <= duration <= MAX_PERIOD_US:
        raise TraceError(f"duration {text!r} is out of range; from 1us to 100 days")
    return round(duration)
