"""How the encoder cuts pictures into packets; needs neither the network nor PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from grace_style.errors import CodecConfigError
from grace_style.header import MOST_PACKETS

#: Pictures that the encoder can still decode again: reports of older ones come too late.
HISTORY: Final = 64
#: Sides of intra patches.
PATCH_SIDES: Final = tuple(range(16, 257, 16))


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """How to encode.

    Attributes:
        packet_bytes: size of a packet that the encoder aims at, 64..1400: more packets lose less at
            once, and cost headers.
        least_packets: of a P picture, 1..255.
        most_bytes: largest packet, 200..1460.
        patch_side: of intra patches in luma samples, a multiple of 16 up to 256; 0: none.
    """

    packet_bytes: int = 400
    least_packets: int = 2
    most_bytes: int = 1200
    patch_side: int = 64

    def __post_init__(self) -> None:
        for name, low, high in (
            ("packet_bytes", 64, 1400), ("least_packets", 1, MOST_PACKETS),
            ("most_bytes", 200, 1460),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise CodecConfigError(f"{name}: must be in {low}..{high}")
        if self.patch_side and self.patch_side not in PATCH_SIDES:
            raise CodecConfigError("patch_side: must be 0 or a multiple of 16 up to 256")
