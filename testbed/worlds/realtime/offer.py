"""What a sender tells a receiver on another machine about the session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, cast

from testbed.errors import InputError
from testbed.media.clips import Clip
from testbed.protocol.endpoint import Endpoint
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import ReceiverContext
from testbed.worlds.compute import compute_model
from testbed.worlds.ends import DRAIN_NS, EndFactory

#: Of the description; another one is refused.
FORMAT: Final = 1
#: A day at 240 fps.
MOST_FRAMES: Final = 240 * 86_400
MOST_FPS: Final = 240
MOST_DEADLINE_MS: Final = 60_000.0
#: A compute model that has to look at the clip.
_NEEDS_CLIP: Final = "measured"


@dataclass(frozen=True, slots=True)
class Offer:
    """A session as its receiver sees it.

    Attributes:
        transport, options: the scheme.
        clip: its name, for people.
        width, height: of the pictures.
        fps: capture rate.
        frames: how many there will be.
        compute: compute model of the decoder.
        deadline_ms: playout deadline.
    """

    transport: str
    options: Mapping[str, Any]
    clip: str
    width: int
    height: int
    fps: Fraction
    frames: int
    compute: str
    deadline_ms: float

    @staticmethod
    def of(make: EndFactory) -> Offer:
        """The offer for a session of ours."""
        spec, clip = make.spec, make.clip
        return Offer(
            spec.transport, dict(spec.transport_options), spec.clip.source, clip.width,
            clip.height, clip.fps, clip.frame_count, spec.compute, spec.playout_deadline_ms,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """For the wire."""
        return {
            "format": FORMAT,
            "transport": self.transport,
            "options": dict(self.options),
            "clip": self.clip,
            "size": [self.width, self.height],
            "fps": [self.fps.numerator, self.fps.denominator],
            "frames": self.frames,
            "compute": self.compute,
            "deadline_ms": self.deadline_ms,
        }

    @staticmethod
    def parse(given: Mapping[str, Any]) -> Offer:
        """From the wire.

        Raises:
            InputError: a field is missing or impossible; names it.
        """
        if given.get("format") != FORMAT:
            raise InputError(f"format is {given.get('format')!r}; this side reads {FORMAT}")
        rate, per = _integers(given, "fps", (1, MOST_FPS * 100_000), (1, 100_000))
        fps = Fraction(rate, per)
        if fps > MOST_FPS:
            raise InputError(f"fps is {float(fps):g}; at most {MOST_FPS}")
        width, height = _integers(given, "size", (2, 8192), (2, 8192))
        (frames,) = _integers({"frames": [given.get("frames")]}, "frames", (1, MOST_FRAMES))
        deadline = given.get("deadline_ms")
        if (
            not isinstance(deadline, int | float)
            or isinstance(deadline, bool)
            or not 0 < deadline <= MOST_DEADLINE_MS
        ):
            raise InputError(f"deadline_ms must be a number in (0, {MOST_DEADLINE_MS:g}]")
        options = given.get("options")
        if not isinstance(options, dict):
            raise InputError("options must be an object")
        names = {name: given.get(name) for name in ("transport", "clip", "compute")}
        for name, value in names.items():
            if not isinstance(value, str):
                raise InputError(f"{name} must be a text")
        return Offer(
            str(names["transport"]), options, str(names["clip"]), width, height, fps, frames,
            str(names["compute"]), float(deadline),
        )  # fmt: skip

    @property
    def end_ns(self) -> int:
        """When the session is over, as in `EndFactory`."""
        duration_ns = -(-self.frames * 10**9 * self.fps.denominator // self.fps.numerator)
        return duration_ns + round(self.deadline_ms * 1e6) + DRAIN_NS

    def capture_ns(self, index: int) -> int:
        """When frame `index` is captured."""
        return index * 10**9 * self.fps.denominator // self.fps.numerator

    def receiver(self) -> Endpoint:
        """A new receiver for it.

        Raises:
            InputError: an unknown transport, option or compute model, or one that needs the clip.
        """
        transport = TRANSPORTS.get(self.transport)
        options = parse_options(transport, self.options)
        if self.compute == _NEEDS_CLIP:
            raise InputError(f"compute {_NEEDS_CLIP} needs the clip, which this side does not have")
        # Only `measured` looks at the clip.
        compute = compute_model(self.compute, codec=transport.codec, clip=cast("Clip", None))
        return transport.make_receiver(
            ReceiverContext(
                self.fps, compute.decode_ns, round(self.deadline_ms * 1e6), options,
                keep_received=False,
            )
        )  # fmt: skip


def _integers(given: Mapping[str, Any], name: str, *ranges: tuple[int, int]) -> list[int]:
    values = given.get(name)
    if (
        not isinstance(values, list)
        or len(values) != len(ranges)
        or not all(isinstance(v, int) and not isinstance(v, bool) for v in values)
        or not all(low <= v <= high for v, (low, high) in zip(values, ranges, strict=True))
    ):
        wanted = " and ".join(f"an integer from {low} to {high}" for low, high in ranges)
        raise InputError(f"{name} must be {wanted}")
    return values
