"""Quality indices: the step of the residual's elements, eight indices an octave."""

from __future__ import annotations

from typing import Final

#: Step of quality 0, in steps of the 8-bit scale; elements are orthonormal transform coefficients.
COARSEST_STEP: Final = 256.0
INDICES_PER_OCTAVE: Final = 8
QUALITIES: Final = 56


def step_of(quality: int) -> float:
    """Quantisation step of quality index 0..QUALITIES - 1."""
    step: float = COARSEST_STEP * 2.0 ** (-quality / INDICES_PER_OCTAVE)
    return step
