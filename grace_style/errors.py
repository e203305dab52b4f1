"""Errors of this package: the codec core's, so that callers catch one family."""

from __future__ import annotations

from morphe_core.errors import (
    BitstreamError,
    CodecConfigError,
    MorpheError,
    TrainingError,
    WeightsError,
)

__all__ = ["BitstreamError", "CodecConfigError", "MorpheError", "TrainingError", "WeightsError"]
