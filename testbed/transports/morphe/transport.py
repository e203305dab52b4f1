"""`morphe` as a registered transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import testbed.codec.pixels  # noqa: F401  (registers the decoder)
from testbed.codec.core import core_versions, weights_sha256
from testbed.codec.gops import GopSource, LadderGops, LiveGops
from testbed.errors import InputError
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.media.types import GopEncoder
from testbed.protocol.endpoint import Endpoint
from testbed.transports.base import TRANSPORTS, ReceiverContext, SenderContext
from testbed.transports.morphe.options import MorpheOptions
from testbed.transports.morphe.receiver import MorpheReceiver
from testbed.transports.morphe.sender import MorpheSender
from testbed.transports.registered import TextsFromFile


@dataclass(frozen=True, slots=True)
class MorpheTransport(TextsFromFile):
    """The paper's streaming protocol (section 6.2) over RTP."""

    name: str = "morphe"
    codec: str = "morphe"

    @property
    def options_type(self) -> type[Any]:
        """`MorpheOptions`."""
        return MorpheOptions

    def check_options(self, options: MorpheOptions) -> None:
        """What the codec itself refuses."""
        try:
            options.settings().config()
        except InputError as error:
            raise ValueError(str(error)) from None

    def made_with(self, options: MorpheOptions) -> Mapping[str, Any]:
        """Weights, the core's sources and PyTorch."""
        return {"weights": weights_sha256(options.weights), **core_versions()}

    def open_encoder(
        self,
        clip: Clip,
        options: MorpheOptions,
        cache: EncodeCache | None,
        *,
        adaptive: bool,
        pixels: bool,
    ) -> GopEncoder:
        """A live encoder or a ladder of encodes, see `MorpheOptions.encoder`."""
        kind = options.encoder
        if kind == "auto":
            kind = "ladder" if adaptive and not pixels else "live"
        if kind == "ladder" and pixels:
            raise InputError(
                "transport morphe: encoder ladder is for sessions without picture quality; use "
                "encoder live, or an empty `quality`"
            )
        source = GopSource(clip, options.settings(), cache, weights=options.weights)
        return LadderGops(source) if kind == "ladder" else LiveGops(source)

    def decoder_options(self, options: MorpheOptions) -> Mapping[str, Any]:
        """Smoothing and weights."""
        return {
            "smoothing": options.smoothing,
            "switches_only": options.smoothing_at == "switches",
            "weights": options.weights,
        }

    def make_sender(self, context: SenderContext) -> Endpoint:
        """A new sender."""
        return MorpheSender(context)

    def make_receiver(self, context: ReceiverContext) -> Endpoint:
        """A new receiver."""
        return MorpheReceiver(context)


TRANSPORTS.register("morphe")(MorpheTransport())
