"""`aiortc-h264` and `aiortc-vp8`: aiortc's own media stack, which brings its own network.

There is nothing of ours between its camera and its viewer, so there is no endpoint to make: a world
that can run it runs it whole (`testbed.worlds.webrtc`), and the others refuse it. What is here is
the name, so that scenarios can name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import Any, Final, NoReturn

from testbed.errors import InputError, ToolMissingError
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.protocol.endpoint import Endpoint
from testbed.transports.base import TRANSPORTS, ReceiverContext, SenderContext, refusal
from testbed.transports.registered import TextsFromFile

#: How aiortc comes here.
INSTALL: Final = "pip install 'morphe-testbed[webrtc]'"


@dataclass(frozen=True, slots=True)
class AiortcOptions:
    """aiortc's media has no options: it is taken as it comes."""


@dataclass(frozen=True, slots=True)
class AiortcTransport(TextsFromFile):
    """aiortc's encoder, RTP, retransmission, jitter buffer and rate control."""

    name: str
    codec: str
    worlds: tuple[str, ...] = ("webrtc",)

    @property
    def options_type(self) -> type[Any]:
        """`AiortcOptions`."""
        return AiortcOptions

    def check_options(self, options: AiortcOptions) -> None:
        """There are none."""

    def made_with(self, options: AiortcOptions) -> Mapping[str, Any]:  # noqa: ARG002 - contract
        """The version of aiortc; the encoders are PyAV's, which is in every run's name.

        Raises:
            ToolMissingError: it is not installed.
        """
        try:
            return {"aiortc": package_version("aiortc")}
        except PackageNotFoundError:
            raise ToolMissingError(
                f"transport {self.name} needs the package aiortc: {INSTALL}"
            ) from None

    def open_encoder(
        self,
        clip: Clip,  # noqa: ARG002 - contract
        options: AiortcOptions,  # noqa: ARG002 - contract
        cache: EncodeCache | None,  # noqa: ARG002 - contract
        *,
        adaptive: bool,  # noqa: ARG002 - contract
        pixels: bool,  # noqa: ARG002 - contract
    ) -> Any:
        """Not in a world that would ask for it."""
        self._refuse()

    def decoder_options(self, options: AiortcOptions) -> Mapping[str, Any]:  # noqa: ARG002 - contract
        """None."""
        return {}

    def make_sender(self, context: SenderContext) -> Endpoint:  # noqa: ARG002 - contract
        """Not in a world that would ask for it."""
        self._refuse()

    def make_receiver(self, context: ReceiverContext) -> Endpoint:  # noqa: ARG002 - contract
        """Not in a world that would ask for it."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InputError(refusal(self))


for _transport in (
    AiortcTransport("aiortc-h264", "h264"),
    AiortcTransport("aiortc-vp8", "vp8"),
):
    TRANSPORTS.register(_transport.name)(_transport)
