"""Errors of the codec core; every message is one line that names what is wrong."""

from __future__ import annotations


class MorpheError(Exception):
    """Base of the codec core's errors."""


class BitstreamError(MorpheError):
    """Bytes are not a unit or file of ours, or were damaged on their way."""


class CodecConfigError(MorpheError):
    """A setting is outside what the codec can do; the message names the allowed values."""


class WeightsError(MorpheError):
    """A weights file is missing, damaged or of another form."""


class TrainingError(MorpheError):
    """The training's configuration or data cannot be used."""
