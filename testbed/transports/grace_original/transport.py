"""`grace-original` as a registered transport, and its decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.media.decoding import DECODERS, DecodedFrame
from testbed.media.types import ReceivedFrame
from testbed.protocol.endpoint import Endpoint
from testbed.transports.base import TRANSPORTS, ReceiverContext, SenderContext
from testbed.transports.grace_original.checkout import (
    check_device,
    check_files,
    checkout_sha256,
    open_checkout,
)
from testbed.transports.grace_original.frames import STRUCTURE, GracePlanner, decode_frames
from testbed.transports.grace_original.options import GraceOriginalOptions
from testbed.transports.registered import TextsFromFile
from testbed.transports.sized.receiver import SizedReceiver
from testbed.transports.sized.sender import SizedSender


@dataclass(frozen=True, slots=True)
class GraceOriginalTransport(TextsFromFile):
    """The authors' code and weights, which the user brings, over our RTP."""

    name: str = "grace-original"
    codec: str = "grace-original"

    @property
    def options_type(self) -> type[Any]:
        """`GraceOriginalOptions`."""
        return GraceOriginalOptions

    def check_options(self, options: GraceOriginalOptions) -> None:
        """The options check themselves."""

    def made_with(self, options: GraceOriginalOptions) -> Mapping[str, Any]:
        """The checkout's code and weights, and whether there is what they run on.

        Raises:
            InputError: something is missing.
        """
        check_files(options.checkout, options.model)
        check_device(options.device)
        return {"checkout": checkout_sha256(options.checkout, options.model)}

    def open_encoder(
        self,
        clip: Clip,
        options: GraceOriginalOptions,
        cache: EncodeCache | None,  # noqa: ARG002 - contract
        *,
        adaptive: bool,  # noqa: ARG002 - contract
        pixels: bool,  # noqa: ARG002 - contract
    ) -> GracePlanner:
        """A live encoder.

        Raises:
            InputError: something is missing.
        """
        codec = open_checkout(options.checkout, options.model, options.device)
        return GracePlanner(clip, codec, payload_bytes=options.payload_bytes, model=options.model)

    def decoder_options(self, options: GraceOriginalOptions) -> Mapping[str, Any]:
        """Where the codec is."""
        return {
            "checkout": options.checkout,
            "model": options.model,
            "device": options.device,
        }

    def make_sender(self, context: SenderContext) -> Endpoint:
        """A new sender."""
        interval_ms = context.options.key_interval_ms
        return SizedSender(context, codec=self.codec, key_interval_ms=interval_ms)

    def make_receiver(self, context: ReceiverContext) -> Endpoint:
        """A new receiver."""
        options: GraceOriginalOptions = context.options
        interval_ms = options.key_interval_ms if options.key_requests else None
        return SizedReceiver(context, STRUCTURE, key_interval_ms=interval_ms)


@DECODERS.register("grace-original")
def _decode(
    received: Iterable[ReceivedFrame],
    *,
    width: int,
    height: int,
    conceal: bool,  # noqa: ARG001 - the codec always decodes what there is
    checkout: str,
    model: str,
    device: str,
) -> Iterator[DecodedFrame]:
    codec = open_checkout(checkout, model, device)
    yield from decode_frames(codec, received, width=width, height=height)


TRANSPORTS.register("grace-original")(GraceOriginalTransport())
