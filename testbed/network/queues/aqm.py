"""Active queue management from the RFCs: CoDel (RFC 8289) and PIE (RFC 8033).

Both agree with mm-link's queues of the same name only statistically, and cannot do better:

- mm-link's CoDel takes `now` from the wall clock of the moment at which it happens to process an
  opportunity, not from the opportunity; it computes its control law in whole milliseconds; and a
  shadowed variable makes it deliver the packet it should drop and drop the one behind it. The
  number of drops is the textbook's, which packets are dropped is not (mahimahi F19).
- mm-link's PIE seeds its generator from the hardware, so it never repeats even itself; and it
  updates every 30 ms in whole milliseconds where the RFC says 15 ms (F20).
"""

from __future__ import annotations

from math import isqrt
from typing import Final

import numpy as np

from testbed.network.options import number, reject_unknown
from testbed.network.packet import Packet
from testbed.network.queues.base import QUEUES, Discipline
from testbed.network.queues.fifo import DropTail
from testbed.network.spec import QueueSpec
from testbed.network.trace import OPPORTUNITY_BYTES

_NS_PER_MS: Final = 1_000_000
#: Largest packet of the link; CoDel lets a queue of no more than this be (RFC 8289 section 4.4).
_LARGEST_BYTES: Final = OPPORTUNITY_BYTES
#: Fixed point of the integer square root in CoDel's control law.
_ROOT_SCALE: Final = 1 << 20


class CoDel(DropTail):
    """Controlled delay: drops on the way out, ever faster while packets wait too long.

    Names follow RFC 8289 section 5. A packet beyond the limits is dropped on arrival.

    Args:
        packets: limit of waiting packets, or None.
        limit_bytes: limit of waiting bytes, or None.
        target_ns: acceptable standing delay, >= 0.
        interval_ns: a worst-case round trip, > 0.
    """

    __slots__ = (
        "_count",
        "_drop_next_ns",
        "_dropping",
        "_first_above_ns",
        "_interval_ns",
        "_last_count",
        "_ok_to_drop",
        "_target_ns",
    )

    def __init__(
        self, packets: int | None, limit_bytes: int | None, *, target_ns: int, interval_ns: int
    ) -> None:
        super().__init__(packets, limit_bytes)
        self._target_ns = target_ns
        self._interval_ns = interval_ns
        self._first_above_ns = 0  # 0: the delay has not been above the target
        self._drop_next_ns = 0
        self._count = 0
        self._last_count = 0
        self._dropping = False
        self._ok_to_drop = False

    def _head(self, now_ns: int) -> Packet | None:
        """RFC 8289 `dodequeue`: the next packet; `_ok_to_drop` says whether it may be dropped."""
        self._ok_to_drop = False
        packet = super().dequeue(now_ns)
        waited_ns = now_ns - packet.link_in_ns if packet is not None else 0
        if packet is None or waited_ns < self._target_ns or self.bytes <= _LARGEST_BYTES:
            self._first_above_ns = 0
        elif self._first_above_ns == 0:
            self._first_above_ns = now_ns + self._interval_ns
        elif now_ns >= self._first_above_ns:
            self._ok_to_drop = True
        return packet

    def _drop(self, packet: Packet) -> None:
        packet.drop = "queue"
        self.drops += 1

    def _control_law(self, from_ns: int) -> int:
        """`from_ns` + interval / sqrt(count), in integers."""
        root = isqrt(self._count * _ROOT_SCALE * _ROOT_SCALE)
        return from_ns + self._interval_ns * _ROOT_SCALE // root

    def dequeue(self, now_ns: int) -> Packet | None:
        """See `Discipline`; RFC 8289 `deque`."""
        packet = self._head(now_ns)
        if self._dropping:
            if not self._ok_to_drop:
                self._dropping = False
            while self._dropping and now_ns >= self._drop_next_ns and packet is not None:
                self._drop(packet)
                self._count += 1
                packet = self._head(now_ns)
                if self._ok_to_drop:
                    self._drop_next_ns = self._control_law(self._drop_next_ns)
                else:
                    self._dropping = False
        elif self._ok_to_drop and packet is not None:
            self._drop(packet)
            packet = self._head(now_ns)
            self._dropping = True
            # It was dropping not long ago: start from the drop rate that held the queue then.
            recent = self._count - self._last_count
            close = now_ns - self._drop_next_ns < 16 * self._interval_ns
            self._count = recent if recent > 1 and close else 1
            self._drop_next_ns = self._control_law(now_ns)
            self._last_count = self._count
        return packet


#: RFC 8033 section 4.2: control parameters in 1/s.
_ALPHA: Final = 0.125
_BETA: Final = 1.25
#: RFC 8033 section 4.2: period of the update.
_UPDATE_NS: Final = 15 * _NS_PER_MS
#: RFC 8033 section 4.2: below this drop probability, the step is divided by that.
_SCALES: Final = (
    (0.000001, 2048.0),
    (0.00001, 512.0),
    (0.0001, 128.0),
    (0.001, 32.0),
    (0.01, 8.0),
    (0.1, 2.0),
)
#: RFC 8033 section 5.5: largest step once the probability has reached 0.1.
_LARGEST_STEP: Final = 0.02
#: RFC 8033 section 4.2: decay an update while there is no delay at all.
_DECAY: Final = 0.98
#: RFC 8033 section 4.1: no early drop with no more than two packets of this size waiting.
_MEAN_PACKET_BYTES: Final = OPPORTUNITY_BYTES
#: RFC 8033 section 5.4: bounds of the accumulated probability between two drops.
_NEVER_BELOW: Final = 0.85
_ALWAYS_FROM: Final = 8.5


class Pie(DropTail):
    """Proportional integral controller: drops on arrival with a probability that tracks delay.

    Names follow RFC 8033. The delay sample is the time that the last packet to leave had waited
    (section 5.2's timestamps rather than the rate estimate), and 0 for an empty queue.

    Args:
        packets: limit of waiting packets, or None.
        limit_bytes: limit of waiting bytes, or None.
        target_ns: QDELAY_REF, > 0.
        burst_ns: MAX_BURST: how long a burst is let through after calm.
        rng: one draw an arrival that may be dropped.
    """

    __slots__ = (
        "_accumulated",
        "_burst_left_ns",
        "_burst_ns",
        "_delay_ns",
        "_next_update_ns",
        "_old_delay_ns",
        "_rng",
        "_target_ns",
        "probability",
    )

    def __init__(
        self,
        packets: int | None,
        limit_bytes: int | None,
        *,
        target_ns: int,
        burst_ns: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(packets, limit_bytes)
        self._target_ns = target_ns
        self._burst_ns = burst_ns
        self._burst_left_ns = burst_ns
        self._rng = rng
        self._delay_ns = 0
        self._old_delay_ns = 0
        self._next_update_ns = _UPDATE_NS
        self._accumulated = 0.0
        self.probability = 0.0

    def enqueue(self, packet: Packet, now_ns: int) -> None:
        """See `Discipline`."""
        self._update_until(now_ns)
        if self._burst_left_ns == 0 and self._drop_early():
            packet.drop = "queue"
            self.drops += 1
            return
        super().enqueue(packet, now_ns)

    def dequeue(self, now_ns: int) -> Packet | None:
        """See `Discipline`."""
        self._update_until(now_ns)
        packet = super().dequeue(now_ns)
        if packet is not None:
            self._delay_ns = now_ns - packet.link_in_ns
        return packet

    def _drop_early(self) -> bool:
        """RFC 8033 sections 4.1 and 5.4."""
        calm = self._old_delay_ns < self._target_ns // 2 and self.probability < 0.2
        if calm or self.bytes <= 2 * _MEAN_PACKET_BYTES:
            return False
        if self.probability == 0.0:
            self._accumulated = 0.0
        self._accumulated += self.probability
        if self._accumulated < _NEVER_BELOW:
            return False
        if self._accumulated < _ALWAYS_FROM and self._rng.random() >= self.probability:
            return False
        self._accumulated = 0.0
        return True

    def _update_until(self, now_ns: int) -> None:
        """Make up for the updates that were due by `now_ns`."""
        while self._next_update_ns <= now_ns:
            if self.packets == 0 and self.probability == 0.0 and self._old_delay_ns == 0:
                # Nothing changes any more until a packet comes, but the burst allowance is whole.
                missed = (now_ns - self._next_update_ns) // _UPDATE_NS + 1
                self._next_update_ns += missed * _UPDATE_NS
                self._burst_left_ns = self._burst_ns
                return
            self._update()
            self._next_update_ns += _UPDATE_NS

    def _update(self) -> None:
        """RFC 8033 sections 4.2, 4.4 and 5.5."""
        delay_ns = self._delay_ns if self.packets else 0
        old_ns = self._old_delay_ns
        step = (_ALPHA * (delay_ns - self._target_ns) + _BETA * (delay_ns - old_ns)) / 1_000_000_000
        for below, divisor in _SCALES:
            if self.probability < below:
                step /= divisor
                break
        if self.probability >= 0.1:
            step = min(step, _LARGEST_STEP)
        probability = self.probability + step
        if delay_ns == 0 and old_ns == 0:
            probability *= _DECAY
        self.probability = min(max(probability, 0.0), 1.0)
        self._old_delay_ns = delay_ns
        self._burst_left_ns = max(0, self._burst_left_ns - _UPDATE_NS)
        half = self._target_ns // 2
        if self.probability == 0.0 and delay_ns < half and old_ns < half:
            self._burst_left_ns = self._burst_ns


@QUEUES.register("codel")
def _codel(spec: QueueSpec, rng: np.random.Generator) -> Discipline:  # noqa: ARG001
    owner = "queue codel"
    reject_unknown(owner, spec.options, ("target_ms", "interval_ms"))
    # RFC 8289 sections 4.2 and 4.3: 5 ms and 100 ms suit most of the Internet.
    target_ms = number(owner, spec.options, "target_ms", default=5.0)
    interval_ms = number(owner, spec.options, "interval_ms", default=100.0, low=0.001)
    return CoDel(
        spec.packets,
        spec.bytes,
        target_ns=round(target_ms * _NS_PER_MS),
        interval_ns=round(interval_ms * _NS_PER_MS),
    )


@QUEUES.register("pie")
def _pie(spec: QueueSpec, rng: np.random.Generator) -> Discipline:
    owner = "queue pie"
    reject_unknown(owner, spec.options, ("target_ms", "burst_ms"))
    # RFC 8033 section 4: QDELAY_REF and MAX_BURST.
    target_ms = number(owner, spec.options, "target_ms", default=15.0, low=0.001)
    burst_ms = number(owner, spec.options, "burst_ms", default=150.0)
    return Pie(
        spec.packets,
        spec.bytes,
        target_ns=round(target_ms * _NS_PER_MS),
        burst_ns=round(burst_ms * _NS_PER_MS),
        rng=rng,
    )
