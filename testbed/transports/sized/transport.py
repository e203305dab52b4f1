"""`dcvc-rt`, `promptus` and `disco` as registered transports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.protocol.endpoint import Endpoint
from testbed.transports.base import TRANSPORTS, ReceiverContext, SenderContext, has_pictures
from testbed.transports.registered import TextsFromFile
from testbed.transports.sized import disco, promptus
from testbed.transports.sized.dcvc import STRUCTURE, DcvcOptions, DcvcPlanner
from testbed.transports.sized.plan import Planner, Structure
from testbed.transports.sized.receiver import SizedReceiver
from testbed.transports.sized.sender import SizedSender
from testbed.transports.sized.sizes import sha256_of


def _plain_kinds(_options: Any) -> tuple[str, ...]:
    """A file of sizes without kinds of units."""
    return ("",)


@dataclass(frozen=True, slots=True)
class SizedTransport(TextsFromFile):
    """A codec's payload plan over RTP with retransmission on request.

    Attributes:
        name, codec, options_type: see `testbed.transports.base.Transport`.
        structure: how frames fall into groups, from the options.
        planner: the payload plan over a clip, from the options.
        kinds: of units in a file of sizes, from the options.
        sizes_only: without a registered decoder of that name there are no pictures.
    """

    name: str
    codec: str
    options_type: type[Any]
    structure: Callable[[Any], Structure]
    planner: Callable[[Clip, Any], Planner]
    kinds: Callable[[Any], tuple[str, ...]] = _plain_kinds
    sizes_only: bool = True

    def check_options(self, options: Any) -> None:
        """The options check themselves."""

    def made_with(self, options: Any) -> Mapping[str, Any]:
        """The user's sizes, and whether there is a decoder.

        Raises:
            InputError: the file cannot be read.
        """
        made: dict[str, Any] = {"pictures": True} if has_pictures(self) else {}
        if options.sizes_from:
            made["sizes_sha256"] = sha256_of(options.sizes_from, kinds=self.kinds(options))
        return made

    def open_encoder(
        self,
        clip: Clip,
        options: Any,
        cache: EncodeCache | None,  # noqa: ARG002 - contract
        *,
        adaptive: bool,  # noqa: ARG002 - contract
        pixels: bool,  # noqa: ARG002 - contract
    ) -> Planner:
        """The payload plan.

        Raises:
            InputError: the file of sizes cannot be used.
        """
        return self.planner(clip, options)

    def decoder_options(self, options: Any) -> Mapping[str, Any]:  # noqa: ARG002 - contract
        """None."""
        return {}

    def make_sender(self, context: SenderContext) -> Endpoint:
        """A new sender."""
        interval_ms = getattr(context.options, "key_interval_ms", 0)
        return SizedSender(context, codec=self.codec, key_interval_ms=interval_ms)

    def make_receiver(self, context: ReceiverContext) -> Endpoint:
        """A new receiver."""
        options = context.options
        asks = getattr(options, "key_requests", False)
        return SizedReceiver(
            context,
            self.structure(options),
            key_interval_ms=options.key_interval_ms if asks else None,
        )


for _transport in (
    SizedTransport(
        "dcvc-rt", "dcvc-rt", DcvcOptions, lambda _options: STRUCTURE, DcvcPlanner,
    ),
    SizedTransport(
        "promptus", "promptus", promptus.PromptusOptions, promptus.structure,
        promptus.PromptusPlanner,
    ),
    SizedTransport(
        "disco", "disco", disco.DiscoOptions, disco.structure, disco.DiscoPlanner, disco.kinds,
    ),
):  # fmt: skip
    TRANSPORTS.register(_transport.name)(_transport)
