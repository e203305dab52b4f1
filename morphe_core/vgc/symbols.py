"""Magnitudes as buckets: an alphabet that reaches every number a token can be.

Buckets hold 2, 3, ... 7 alone and then half an octave each; the place within is coded as equally
probable. Zero and one have symbols of their own, as most numbers are one of these.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.range_coding import Ints

_SINGLE_BUCKETS = 6
_OCTAVES = 11
_BUCKET_EXTRA = np.array([0] * _SINGLE_BUCKETS + [2 + n // 2 for n in range(2 * _OCTAVES)])
#: Magnitudes from 2 on, up to 16383: twice the largest token value fits.
LARGE_BUCKETS = len(_BUCKET_EXTRA)
#: Numbers in each bucket.
BUCKET_SIZES: Ints = (1 << _BUCKET_EXTRA).astype(np.int32)
#: Smallest number of each bucket.
BUCKET_STARTS: Ints = (2 + np.cumsum(BUCKET_SIZES) - BUCKET_SIZES).astype(np.int32)


def bucket_of(magnitudes: Ints) -> Ints:
    """Bucket of magnitudes from 2 on (below that -1)."""
    found = np.searchsorted(BUCKET_STARTS, magnitudes, side="right") - 1
    return found.astype(np.int32)


def bounded(numbers: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Numbers within +-`limit`: `numpy.clip` without its cost for small arrays."""
    low: npt.NDArray[np.int64] = np.maximum(numbers, -limit)
    return np.minimum(low, limit, out=low)
