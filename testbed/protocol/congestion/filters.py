"""Windowed minimum and maximum, and a maximum over probing cycles."""

from __future__ import annotations

from collections import deque


class WindowedMin:
    """Smallest value of the last `length` units of time; O(1) a sample on average.

    Args:
        length: how long a value counts, in the unit of the times given, >= 0.
    """

    __slots__ = ("_length", "_values")

    def __init__(self, length: int) -> None:
        self._length = length
        # (time, value), both ascending: the head is the minimum of the window.
        self._values: deque[tuple[int, int]] = deque()

    def update(self, value: int, *, time: int) -> int:
        """Take in a value and return the minimum; `time` never runs backwards."""
        values = self._values
        while values and values[-1][1] >= value:
            values.pop()
        values.append((time, value))
        while values[0][0] < time - self._length:
            values.popleft()
        return values[0][1]

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()

    @property
    def value(self) -> int | None:
        """The minimum as of the last update; None before the first."""
        return self._values[0][1] if self._values else None


class WindowedMax:
    """Largest value of the last `length` units of time, as `WindowedMin`."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: deque[tuple[int, int]] = deque()

    def update(self, value: int, *, time: int, length: int) -> int:
        """Take in a value and return the maximum over `length`, which may differ each time."""
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        values.append((time, value))
        while values[0][0] <= time - length:
            values.popleft()
        return values[0][1]


class CycleMax:
    """Largest value of the current and the previous cycle.

    The max_bw filter of draft-ietf-ccwg-bbr-06 with MaxBwFilterLen = 2: the draft notes that two
    slots are all it takes.
    """

    __slots__ = ("_current", "_previous")

    def __init__(self) -> None:
        self._previous = 0
        self._current = 0

    @property
    def value(self) -> int:
        """The maximum; 0 before the first value."""
        return max(self._previous, self._current)

    def update(self, value: int) -> int:
        """Take in a value of the current cycle and return the maximum."""
        if value > self._current:
            self._current = value
        return self.value

    def advance(self) -> None:
        """The next cycle begins.

        Without a value in this one the cycle goes on: no estimate is ever forgotten for nothing.
        Linux keeps to the same rule.
        """
        if self._current:
            self._previous, self._current = self._current, 0

    def reset(self, value: int) -> None:
        """Forget both cycles for `value`."""
        self._previous = self._current = value
