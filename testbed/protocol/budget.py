"""What repairs leave to the media of a target rate on the wire.

Forward error correction and retransmissions take their bytes from the same link as the media. The
budget watches what leaves, and tells which share of the target the media may have:

    share = (1 + surplus / (target * payback time)) / (1 + repair over media bytes of late)

The denominator is what repairs are to be expected; of forward error correction that is known in
advance, so the larger of what is foreseen and what was seen counts. The numerator is the integral
part: the surplus is all of the target so far less all that was sent, so that over a session of
some seconds the sum meets the target whatever the estimate missed. Shares go in steps of 2 %, four
times a second at most: equal targets give equal encodes, which are kept.

Where nothing is repaired the share stays 1 until an encoder is off by 300 ms of the target.
"""

from __future__ import annotations

import math
from typing import Final

#: Time constant of the repairs' rate: about ten reports of the receiver, ours.
MEMORY_NS: Final = 1_000_000_000
#: The surplus is worked off over this time; longer than the encoders' own bucket (500 ms), ours.
PAYBACK_S: Final = 1.0
#: Surplus and debt count up to this much of the target's time.
MOST_SURPLUS_S: Final = 1.0
#: A surplus or debt beyond this, without any repair, is the encoder's error: more than a key frame
#: leaves (200 ms of the target at most), and 3 % of a session of ten seconds.
DRIFT_S: Final = 0.3
#: Between two changes of the share, and its steps.
UPDATE_NS: Final = 250_000_000
STEP: Final = 0.02
#: The media never get less of the target; whoever needs more for repairs is beyond help.
LEAST_SHARE: Final = 0.2


class RepairBudget:
    """See the module's text.

    Args:
        meets_sum: the target is constant, and the sum of what is sent is to meet it. Otherwise only
            forward error correction is taken out: a controller that watches the network sees
            retransmissions itself, and paces them.
        payback_s: the surplus is worked off over this time; longer than the encoder takes to follow
            a target.
    """

    def __init__(self, *, meets_sum: bool, payback_s: float = PAYBACK_S) -> None:
        self._meets_sum = meets_sum
        self._payback_s = payback_s
        self._media_bytes = 0.0  # all three forgotten with `MEMORY_NS`
        self._fec_bytes = 0.0
        self._repeated_bytes = 0.0
        self._decayed_ns = 0
        self._repairs = self._drifted = False
        self._surplus_bits = 0.0
        self._asked_ns = 0
        self._share = 1.0
        self._updated_ns: int | None = None

    def on_sent(self, size_bytes: int, *, kind: str) -> None:
        """A datagram left.

        Args:
            size_bytes: with IP and UDP headers.
            kind: as in `Datagram`.
        """
        self._surplus_bits -= 8 * size_bytes
        if kind == "fec":
            self._fec_bytes += size_bytes
            self._repairs = True
        elif kind == "retransmission" and self._meets_sum:
            self._repeated_bytes += size_bytes
            self._repairs = True
        elif kind == "media":
            self._media_bytes += size_bytes

    def media_kbps(self, target_kbps: float, *, foreseen: float = 0.0, now_ns: int) -> float:
        """The part of a target that the media may have.

        All of it while nothing is repaired and the encoder keeps to it.

        Args:
            target_kbps: on the wire, > 0.
            foreseen: bytes of forward error correction over media bytes from now on, >= 0.
            now_ns: time; calls come in order.
        """
        most_bits = target_kbps * 1e3 * MOST_SURPLUS_S
        self._surplus_bits += target_kbps * (now_ns - self._asked_ns) / 1e6
        self._surplus_bits = min(max(self._surplus_bits, -most_bits), most_bits)
        self._asked_ns = now_ns
        if self._meets_sum and abs(self._surplus_bits) > target_kbps * 1e3 * DRIFT_S:
            self._drifted = True
        if not (self._repairs or foreseen or self._drifted):
            return target_kbps
        if self._updated_ns is None or now_ns - self._updated_ns >= UPDATE_NS:
            self._updated_ns = now_ns
            self._share = self._new_share(target_kbps, foreseen, now_ns)
        return target_kbps * self._share

    def _new_share(self, target_kbps: float, foreseen: float, now_ns: int) -> float:
        share = 1 / (1 + self._repair_ratio(foreseen, now_ns))
        if self._meets_sum:
            share *= 1 + self._surplus_bits / (target_kbps * 1e3 * self._payback_s)
        return max(round(share / STEP) * STEP, LEAST_SHARE)

    def _repair_ratio(self, foreseen: float, now_ns: int) -> float:
        """Repair over media bytes of late, or as foreseen where that is more."""
        fec, repeated = foreseen, 0.0
        if self._media_bytes:
            fec = max(fec, self._fec_bytes / self._media_bytes)
            repeated = self._repeated_bytes / self._media_bytes
        keep = math.exp((self._decayed_ns - now_ns) / MEMORY_NS)
        self._decayed_ns = now_ns
        self._media_bytes *= keep
        self._fec_bytes *= keep
        self._repeated_bytes *= keep
        return fec + repeated
