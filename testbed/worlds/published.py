"""Speeds that the authors of other codecs published, each on the device that they had.

A scenario's device profile knows Morphe's codec alone (its Table 3). A codec of which we have no
code to time takes what its authors published, whatever device the scenario names: the manifest says
on which one it was. Nothing is scaled from one device or picture size to another.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.registry import Registry


@dataclass(frozen=True, slots=True)
class PublishedSpeed:
    """How fast a codec is said to be.

    Attributes:
        device: on which it was timed.
        encode_frame_ns: of one frame; 0 where encoding is no part of a session.
        decode_frame_ns: of one frame.
        source: where that stands, and what to know about it.
    """

    device: str
    encode_frame_ns: int
    decode_frame_ns: int
    source: str


PUBLISHED_SPEEDS: Registry[PublishedSpeed] = Registry("published speed", group="testbed.speeds")

PUBLISHED_SPEEDS.register("dcvc-rt")(
    PublishedSpeed(
        "NVIDIA A100",
        round(1e9 / 125.2),
        round(1e9 / 112.8),
        "DCVC-RT (CVPR 2025), abstract: 125.2 and 112.8 fps at 1080p",
    )
)
PUBLISHED_SPEEDS.register("promptus")(
    PublishedSpeed(
        "NVIDIA GeForce 4090D",
        0,
        round(1e9 / 170),
        "README of Promptus: 170 fps at 512x512; encoding is gradient inversion, offline, and its "
        "time is not charged",
    )
)
PUBLISHED_SPEEDS.register("disco")(
    PublishedSpeed(
        "NVIDIA H100",
        97_890_000,
        396_200_000,
        "DiSCo, section 4.5: 97.89 ms a frame to encode, 396.20 ms to decode",
    )
)


def published_speed(codec: str) -> PublishedSpeed | None:
    """What is published for `codec`, or None."""
    return PUBLISHED_SPEEDS.get(codec) if codec in PUBLISHED_SPEEDS.names() else None
