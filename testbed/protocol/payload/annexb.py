"""Byte streams with start codes (H.264, H.265 and H.266 annex B)."""

from __future__ import annotations

from collections.abc import Iterable


def split_nal_units(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream, without start codes and surrounding zero bytes.

    Emulation prevention bytes stay. Bytes before the first start code are ignored.
    """
    raise NotImplementedError


def join_nal_units(units: Iterable[bytes]) -> bytes:
    """A byte stream with a 4-byte start code before each NAL unit."""
    raise NotImplementedError
