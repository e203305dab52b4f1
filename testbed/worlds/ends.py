"""Both ends of a stream, made from a session's specification in the same way in every world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip, open_clip
from testbed.media.types import ReceivedFrame
from testbed.protocol.congestion import make_controller
from testbed.protocol.congestion.base import RateController
from testbed.protocol.endpoint import Endpoint
from testbed.randomness import generator
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import SIZES_ONLY, ReceiverContext, SenderContext, has_pictures
from testbed.worlds.compute import compute_model
from testbed.worlds.frame_log import FrameLog
from testbed.worlds.session import SessionResult, SessionSpec

#: How long after the last frame's deadline a world still runs.
DRAIN_NS = 200_000_000


class EndFactory:
    """Makes senders and receivers of one session.

    Args:
        spec: the session.
        base: folder that relative clip paths start from.

    Attributes:
        clip: what is streamed.
        transport, options: the scheme.
        compute: its compute model.
        deadline_ns, duration_ns, end_ns: from the specification; the end leaves room for the last
            frame.

    Raises:
        InputError: the clip, an option or a name cannot be used.
    """

    def __init__(self, spec: SessionSpec, *, base: Path) -> None:
        self.spec = spec
        self.clip: Clip = open_clip(spec.clip, base=base)
        self.transport = TRANSPORTS.get(spec.transport)
        self.options = parse_options(self.transport, spec.transport_options)
        self.compute = compute_model(spec.compute, codec=self.transport.codec, clip=self.clip)
        self.deadline_ns = round(spec.playout_deadline_ms * 1e6)
        fps = self.clip.fps
        self.duration_ns = -(-self.clip.frame_count * 10**9 * fps.denominator // fps.numerator)
        self.end_ns = self.duration_ns + self.deadline_ns + DRAIN_NS

    def capture_ns(self, index: int) -> int:
        """When frame `index` is captured."""
        fps = self.clip.fps
        return index * 10**9 * fps.denominator // fps.numerator

    def sender(
        self,
        capacity_kbps: Callable[[int], float],
        *,
        control: str = "",
        rate_options: Mapping[str, Any] | None = None,
        name: str = "congestion",
        pixels: bool | None = None,
    ) -> tuple[Endpoint, RateController]:
        """A new sender with its controller.

        Args:
            capacity_kbps: the truth at a time in ns, for controllers that are told.
            control: rate control instead of the session's.
            rate_options: its keywords.
            name: of the controller's generator.
            pixels: what arrives will be decoded; None: as the session says.
        """
        spec, transport = self.spec, self.transport
        if not control:
            control, rate_options = spec.rate_control, spec.rate_options
        controller = make_controller(
            control,
            rate_options or {},
            capacity_kbps=capacity_kbps,
            rng=generator(spec.seed, name),
        )
        encoder = transport.open_encoder(
            self.clip,
            self.options,
            EncodeCache.default(),
            adaptive=control != "fixed",
            pixels=spec.keep_received if pixels is None else pixels,
        )
        context = SenderContext(
            self.clip.fps, encoder, controller, self.compute.encode_ns, self.deadline_ns,
            self.options,
        )  # fmt: skip
        return transport.make_sender(context), controller

    def receiver(self, *, keep_received: bool | None = None) -> Endpoint:
        """A new receiver; `keep_received` None: as the session says."""
        keep = self.spec.keep_received if keep_received is None else keep_received
        keep = keep and has_pictures(self.transport)
        return self.transport.make_receiver(
            ReceiverContext(
                self.clip.fps, self.compute.decode_ns, self.deadline_ns, self.options, keep
            )
        )

    def result(
        self, received: list[ReceivedFrame], frames: FrameLog, facts: dict[str, Any]
    ) -> SessionResult:
        """What the decoder and the viewer work with."""
        if not has_pictures(self.transport):
            facts = {"pixels": SIZES_ONLY, **facts}
        return SessionResult(
            received=received,
            displayed=frames.displayed(),
            codec=self.transport.codec,
            conceal=bool(getattr(self.options, "conceal", False)),
            decoder_options=self.transport.decoder_options(self.options),
            facts=facts,
        )
