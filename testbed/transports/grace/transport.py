"""`grace-style` as a registered transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.codec.grace import CODEC, LivePictures, codec_versions, weights_sha256
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.protocol.endpoint import Endpoint
from testbed.transports.base import TRANSPORTS, ReceiverContext, SenderContext
from testbed.transports.grace.options import GraceOptions
from testbed.transports.grace.receiver import GraceReceiver
from testbed.transports.grace.sender import PACKET_HEADER_BYTES, GraceSender
from testbed.transports.registered import TextsFromFile


@dataclass(frozen=True, slots=True)
class GraceTransport(TextsFromFile):
    """Our own codec and transport in the manner of GRACE; not the authors' code or weights."""

    name: str = "grace-style"
    codec: str = CODEC

    @property
    def options_type(self) -> type[Any]:
        """`GraceOptions`."""
        return GraceOptions

    def check_options(self, options: GraceOptions) -> None:
        """Nothing beyond what the options check themselves."""

    def made_with(self, options: GraceOptions) -> Mapping[str, Any]:
        """Weights, the codec's sources and PyTorch."""
        return {"weights": weights_sha256(options.weights), **codec_versions()}

    def open_encoder(
        self,
        clip: Clip,
        options: GraceOptions,
        cache: EncodeCache | None,
        *,
        adaptive: bool,  # noqa: ARG002 - contract
        pixels: bool,  # noqa: ARG002 - contract
    ) -> LivePictures:
        """A live encoder; it follows any target."""
        config = {
            "packet_bytes": options.packet_bytes,
            "least_packets": options.least_packets,
            "most_bytes": options.payload_bytes,
            "patch_side": options.patch_side,
        }
        return LivePictures(
            clip, config, weights=options.weights, header_bytes=PACKET_HEADER_BYTES, cache=cache
        )

    def decoder_options(self, options: GraceOptions) -> Mapping[str, Any]:
        """Weights."""
        return {"weights": options.weights}

    def make_sender(self, context: SenderContext) -> Endpoint:
        """A new sender."""
        return GraceSender(context)

    def make_receiver(self, context: ReceiverContext) -> Endpoint:
        """A new receiver."""
        return GraceReceiver(context)


TRANSPORTS.register("grace-style")(GraceTransport())
