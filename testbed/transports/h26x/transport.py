"""`h264`, `h265` and `h266` as registered transports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.media.encoders import PRESETS, EncoderConfig, open_encoder
from testbed.media.types import FrameEncoder
from testbed.protocol.budget import PAYBACK_S
from testbed.protocol.endpoint import Endpoint
from testbed.protocol.payload import PAYLOADS
from testbed.transports.base import TRANSPORTS, ReceiverContext, SenderContext
from testbed.transports.h26x.options import H26xOptions
from testbed.transports.h26x.receiver import H26xReceiver
from testbed.transports.h26x.sender import H26xSender
from testbed.transports.registered import TextsFromFile


@dataclass(frozen=True, slots=True)
class H26xTransport(TextsFromFile):
    """RTP with retransmission on request and key-frame recovery, for one of the three codecs."""

    name: str
    codec: str
    most_slices: int = 1
    layered_encoder: str = ""
    payback_s: float = PAYBACK_S  # of the repairs' surplus, see `RepairBudget`

    @property
    def options_type(self) -> type[Any]:
        """`H26xOptions`."""
        return H26xOptions

    def check_options(self, options: H26xOptions) -> None:
        """Slices and layers are H.264's alone: x265 and VVenC make none in low-delay mode.

        Presets have the same names in x264 and x265, and others in VVenC.
        """
        presets = PRESETS.get(self.codec, ())  # an encoder from elsewhere has its own
        if options.preset and presets and options.preset not in presets:
            known = ", ".join(presets)
            raise ValueError(f"preset: must be one of {known} (got {options.preset!r})")
        if options.slices > self.most_slices:
            raise ValueError(f"slices: must be in 1..{self.most_slices} (got {options.slices})")
        if options.layered and not self.layered_encoder:
            raise ValueError("temporal_layers: must be in 1..1 (got 2)")

    def made_with(self, options: H26xOptions) -> Mapping[str, Any]:  # noqa: ARG002 - contract
        """Nothing: the versions of FFmpeg and its encoders are in every run's name."""
        return {}

    def open_encoder(
        self,
        clip: Clip,
        options: H26xOptions,
        cache: EncodeCache | None,
        *,
        adaptive: bool,  # noqa: ARG002 - contract
        pixels: bool,  # noqa: ARG002 - contract
    ) -> FrameEncoder:
        """A live encoder; it follows any target."""
        config = EncoderConfig(
            preset=options.preset,
            intra_period_frames=options.intra_period_frames,
            slices=options.slices,
        )
        encoder = self.layered_encoder if options.layered else self.codec
        return open_encoder(encoder, clip, config, cache)

    def decoder_options(self, options: H26xOptions) -> Mapping[str, Any]:  # noqa: ARG002 - contract
        """None."""
        return {}

    def make_sender(self, context: SenderContext) -> Endpoint:
        """A new sender."""
        return H26xSender(context, PAYLOADS.get(self.codec), payback_s=self.payback_s)

    def make_receiver(self, context: ReceiverContext) -> Endpoint:
        """A new receiver."""
        return H26xReceiver(context, PAYLOADS.get(self.codec))


for _transport in (
    H26xTransport("h264", "h264", most_slices=32, layered_encoder="h264-temporal"),
    H26xTransport("h265", "h265"),
    # VVenC follows large moves up to a second late, and small ones later.
    H26xTransport("h266", "h266", payback_s=3.0),
):
    TRANSPORTS.register(_transport.name)(_transport)
