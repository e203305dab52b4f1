"""NTP time, as RTCP wants it, from the session's clock.

The session's clock counts nanoseconds from its start. On the wire RTCP wants NTP time, so the
session is said to start at 2026-01-01T00:00:00Z (`VIRTUAL_EPOCH_NTP_S`); in the simulator this is
a label, not a claim.
"""

from __future__ import annotations

from typing import Final

from testbed.protocol.sequence import wrap_distance

#: 2026-01-01T00:00:00Z in NTP seconds (since 1900): 1 767 225 600 + 2 208 988 800.
VIRTUAL_EPOCH_NTP_S: Final = 3_976_214_400

_SECOND_NS: Final = 1_000_000_000
_MASK32: Final = 0xFFFFFFFF
_MASK64: Final = 0xFFFFFFFFFFFFFFFF


def ntp_of(now_ns: int) -> int:
    """64-bit NTP time (32.32 s) of session time `now_ns`, rounded down; modulo the NTP era."""
    return ((VIRTUAL_EPOCH_NTP_S << 32) + (now_ns << 32) // _SECOND_NS) & _MASK64


def compact_ntp_of(now_ns: int) -> int:
    """Middle 32 bits of the NTP time (16.16 s), as in LSR, DLSR and RFC 8888's timestamp."""
    return ntp_of(now_ns) >> 16 & _MASK32


def ns_of_compact_ntp(compact: int, *, near_ns: int) -> int:
    """Session time of a compact NTP time, the one nearest to `near_ns` (it wraps after 18 h).

    Both ends must share the session clock, as they do in the simulator. Resolution 1/65536 s,
    rounded down.
    """
    units = wrap_distance(compact_ntp_of(near_ns), compact, bits=32)
    near_units = (ntp_of(near_ns) >> 16) - (VIRTUAL_EPOCH_NTP_S << 16)
    return (near_units + units) * _SECOND_NS >> 16
