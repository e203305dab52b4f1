"""Which packets were asked for: when last, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from testbed.protocol.nack import OVERDUE_DENOMINATOR, OVERDUE_NUMERATOR
from testbed.protocol.rtt import RttEstimator
from testbed.transports.grace.pictures import NEVER

#: An answer of more packets is paced: while they follow each other, those behind take their turns.
SHORT_ANSWER: Final = 8
#: Packets whose requests are remembered.
MOST_REMEMBERED: Final = 8192


class Requests:
    """Asks for each packet again when an answer is overdue, and only so often.

    Args:
        rtt: round trip; repairs tell it.
        most: how often one packet is asked for.
        slack_ns: an answer may be so late besides.
    """

    def __init__(self, rtt: RttEstimator, *, most: int, slack_ns: int) -> None:
        self._rtt, self._most, self._slack_ns = rtt, most, slack_ns
        # When each was last asked for, how often, and whether with many others.
        self._asked: dict[int, tuple[int, int, bool]] = {}
        self._sampled_ns = self._answer_ns = -NEVER

    @property
    def overdue_after_ns(self) -> int:
        """How long an answer may take."""
        whole = self._rtt.smoothed_ns * OVERDUE_NUMERATOR // OVERDUE_DENOMINATOR
        return max(1_000_000, whole) + self._slack_ns

    def expected_ns(self, sequences: Sequence[int], *, now_ns: int) -> int:
        """When the first answer that may still come for one of these is overdue; `NEVER`: none."""
        due = (self._overdue_ns(one) for one in sequences if one in self._asked)
        return min((at for at in due if at > now_ns), default=NEVER)

    def take(self, sequences: Sequence[int], *, now_ns: int) -> list[int]:
        """Those to ask for now, which are taken to be asked for."""
        wanted = [one for one in sequences if self._is_due(one, now_ns)]
        for one in wanted:
            times = self._asked[one][1] if one in self._asked else 0
            self._asked[one] = (now_ns, times + 1, len(wanted) > SHORT_ANSWER)
        while len(self._asked) > MOST_REMEMBERED:
            del self._asked[next(iter(self._asked))]
        return wanted

    def answered(self, sequence: int, *, now_ns: int) -> bool:
        """A repair came; True: the round trip was learnt from it.

        Only the first answer to the only request for a packet tells it: those behind were paced.
        """
        self._answer_ns = now_ns
        at_ns, times, _ = self._asked.get(sequence, (0, 0, False))
        if times != 1 or at_ns == self._sampled_ns:
            return False
        self._sampled_ns = at_ns
        self._rtt.on_sample(now_ns - at_ns, now_ns=now_ns)
        return True

    def _is_due(self, sequence: int, now_ns: int) -> bool:
        """It was never asked for, or may be once more."""
        if sequence not in self._asked:
            return True
        return self._asked[sequence][1] < self._most and self._overdue_ns(sequence) <= now_ns

    def _overdue_ns(self, sequence: int) -> int:
        """When the answer to the latest request for a packet is."""
        asked_ns, _, many = self._asked[sequence]
        after_ns = self.overdue_after_ns
        overdue_ns = asked_ns + after_ns
        return max(overdue_ns, self._answer_ns + after_ns // 2) if many else overdue_ns
