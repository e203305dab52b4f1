"""When to ask again, and when to stop asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from testbed.errors import LocalProtocolError

_MS: Final = 1_000_000
#: An epoch is at most this far from now. More is a mistake, and would keep a silent session alive.
MAX_LEAD_NS: Final = 60_000 * _MS
#: ABORT has no answer to wait for, so it goes out this often.
ABORT_COPIES: Final = 3


@dataclass(frozen=True, slots=True)
class Timeouts:
    """All durations of a session, in nanoseconds, > 0.

    Attributes:
        first_ns: wait before an unanswered message is sent again; doubles each time ...
        longest_ns: ... up to this, which is also the pace of keeping a waiting session alive.
        phase_ns: an unanswered phase ends after this; a responder's accepted offer as well, when
            the initiator falls silent.
        idle_ns: a started session ends when the peer is silent for this long.
        sync_spacing_ns: between two exchanges of times, so that they meet different queues.
    """

    first_ns: int = 200 * _MS
    longest_ns: int = 1000 * _MS
    phase_ns: int = 10_000 * _MS
    idle_ns: int = 10_000 * _MS
    sync_spacing_ns: int = 20 * _MS

    def __post_init__(self) -> None:
        durations = (
            self.first_ns, self.longest_ns, self.phase_ns, self.idle_ns, self.sync_spacing_ns
        )  # fmt: skip
        if min(durations) <= 0 or self.longest_ns < self.first_ns:
            raise LocalProtocolError(f"impossible durations: {self}")


DEFAULT_TIMEOUTS: Final = Timeouts()


class Retry:
    """When the message of a phase goes out again, and when the phase is over.

    Attributes:
        due_ns: when to send again, or None.
        deadline_ns: when to give up, or None.
    """

    __slots__ = ("_delay_ns", "_timeouts", "deadline_ns", "due_ns")

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._delay_ns = timeouts.first_ns
        self.due_ns: int | None = None
        self.deadline_ns: int | None = None

    def begin(self, *, now_ns: int) -> None:
        """A phase begins; its question goes out now."""
        self.deadline_ns = now_ns + self._timeouts.phase_ns
        self._delay_ns = self._timeouts.first_ns
        self.due_ns = now_ns + self._delay_ns

    def again(self, *, now_ns: int) -> None:
        """The question goes out again: wait twice as long."""
        self._delay_ns = min(2 * self._delay_ns, self._timeouts.longest_ns)
        self.due_ns = now_ns + self._delay_ns

    def pause(self, *, now_ns: int) -> None:
        """The question was answered, and is asked anew in a moment; the phase goes on."""
        # `again` doubles this, so that the first repetition comes after `first_ns`.
        self._delay_ns = max(1, self._timeouts.first_ns // 2)
        self.due_ns = now_ns + self._timeouts.sync_spacing_ns

    def keep_alive(self, *, now_ns: int) -> None:
        """No phase; something goes out at a slow pace."""
        self._delay_ns = self._timeouts.longest_ns
        self.due_ns = now_ns + self._delay_ns

    def stop(self) -> None:
        """Nothing is asked any more."""
        self.due_ns = None
        self.deadline_ns = None
