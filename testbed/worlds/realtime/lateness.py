"""How late things happened: a distribution in fixed memory."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

#: Percentiles that are reported, by numpy's "linear" method.
PERCENTILES: Final = (50.0, 95.0, 99.0)
#: Values kept; beyond this every second one is, then every fourth, and so on.
_MOST: Final = 65_536


class Lateness:
    """Values in nanoseconds, thinned evenly once there are very many."""

    def __init__(self) -> None:
        self.count = 0
        self.most_ns = 0
        self._every = 1
        self._values: list[int] = []

    def add(self, late_ns: int) -> None:
        """One value."""
        if late_ns > self.most_ns:
            self.most_ns = late_ns
        if self.count % self._every == 0:
            self._values.append(late_ns)
            if len(self._values) >= _MOST:
                self._values = self._values[::2]
                self._every *= 2
        self.count += 1

    def values_ns(self) -> npt.NDArray[np.int64]:
        """What was kept, in order."""
        return np.array(self._values, np.int64)

    def percentile_ns(self, percent: float) -> int:
        """0 where there is nothing."""
        if not self._values:
            return 0
        return round(float(np.percentile(self.values_ns(), percent)))

    def facts(self) -> dict[str, Any]:
        """Count, percentiles and the largest, in ms, for the manifest."""
        shown: dict[str, Any] = {"count": self.count}
        for percent in PERCENTILES:
            shown[f"p{percent:g}_ms"] = self.percentile_ns(percent) / 1e6
        shown["max_ms"] = self.most_ns / 1e6
        return shown
