"""What a transport is: a name, its options, and how to make its two endpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Protocol

from testbed.errors import InputError
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.media.decoding import DECODERS
from testbed.protocol.congestion.base import RateController
from testbed.protocol.endpoint import Endpoint, Event
from testbed.transports.registered import TransportRegistry
from testbed.transports.schemes.file import shipped_scheme


@dataclass(frozen=True, slots=True)
class SenderContext:
    """What a world gives a new sender.

    Attributes:
        fps: capture rate of the clip.
        encoder: live encoder over the clip, as the transport opened it.
        controller: rate control.
        encode_ns: compute model: how long encoding that frame or group takes.
        playout_deadline_ns: as in the scenario.
        options: the transport's parsed options.
        ssrc: RTP source; retransmissions use ssrc + 1, repair packets ssrc + 2.
    """

    fps: Fraction
    encoder: Any
    controller: RateController
    encode_ns: Callable[[Any], int]
    playout_deadline_ns: int
    options: Any
    ssrc: int = 0x4D6F7270


@dataclass(frozen=True, slots=True)
class ReceiverContext:
    """What a world gives a new receiver.

    Attributes:
        fps: capture rate of the clip, as a session description would tell.
        decode_ns: compute model: how long decoding one frame takes; a codec of several scales
            passes the scale.
        playout_deadline_ns: a frame decoded later than this after capture is late.
        options: the transport's parsed options.
        keep_received: keep every frame's bytes for later decoding.
        ssrc: as in `SenderContext`.
    """

    fps: Fraction
    decode_ns: Callable[..., int]
    playout_deadline_ns: int
    options: Any
    keep_received: bool = True
    ssrc: int = 0x4D6F7270


@dataclass(slots=True)  # not frozen: that triples the cost of making one, and there is one a frame
class FrameEncoded(Event):
    """Sender: a frame came out of the encoder.

    Attributes:
        index, key, target_kbps: of the frame; the target is the encoder's, without headers.
        encode_start_ns, encode_end_ns: when the encoder took it and gave it.
        media_bytes: size of the access unit; of a group's bytes, the frame's share.
        mode: how it was coded, for the log; "" for a scheme that has only one way.
    """

    index: int
    key: bool
    target_kbps: float
    encode_start_ns: int
    encode_end_ns: int
    media_bytes: int
    mode: str = ""


@dataclass(slots=True)
class FrameDecoded(Event):
    """Receiver: a frame went through the decoder.

    Attributes:
        index: source frame.
        decodable_ns: when it and all its references were there.
        decode_end_ns: after the compute model's decoding time.
        render_ns: when it was shown, or -1 if it was too late.
        outcome: "rendered", "concealed" or "late".
    """

    index: int
    decodable_ns: int
    decode_end_ns: int
    render_ns: int
    outcome: str


@dataclass(frozen=True, slots=True)
class FrameAbandoned(Event):
    """Receiver: a frame will never be decoded; `reason` is one word for the log."""

    index: int
    reason: str


class Transport(Protocol):
    """One scheme."""

    @property
    def name(self) -> str:
        """Registered name."""

    @property
    def display_name(self) -> str:
        """Name for figures."""

    @property
    def codec(self) -> str:
        """Decoder to use (a name of `testbed.media.decoding.DECODERS`)."""

    @property
    def options_type(self) -> type[Any]:
        """Frozen dataclass of the options, with defaults; its docstring explains them."""

    def check_options(self, options: Any) -> None:
        """Refuse, with ValueError, what this scheme cannot do although the type allows it."""

    def made_with(self, options: Any) -> Mapping[str, Any]:
        """What determines the encodes besides the testbed's own code (JSON values), for run names.

        Raises:
            InputError: it is not there.
        """

    def open_encoder(
        self, clip: Clip, options: Any, cache: EncodeCache | None, *, adaptive: bool, pixels: bool
    ) -> Any:
        """A live encoder over `clip`, for `SenderContext.encoder`.

        Args:
            clip: what to encode.
            options: the transport's parsed options.
            cache: where encodes are kept; None encodes every time.
            adaptive: the target will change with the network.
            pixels: what arrives will be decoded.

        Raises:
            InputError: the encoder is not there, or cannot do this.
        """

    def decoder_options(self, options: Any) -> Mapping[str, Any]:
        """Keywords for the decoder, see `testbed.media.decoding.decode`."""

    def make_sender(self, context: SenderContext) -> Endpoint:
        """A new sender."""

    def make_receiver(self, context: ReceiverContext) -> Endpoint:
        """A new receiver."""


TRANSPORTS = TransportRegistry("transport", group="testbed.transports")


def worlds_of(transport: Transport) -> tuple[str, ...]:
    """The worlds that a transport is confined to (its attribute `worlds`); none: any world."""
    return tuple(getattr(transport, "worlds", ()))


#: Value of the fact `pixels` in the manifest of a run without pictures.
SIZES_ONLY: Final = "sizes-only"


def has_pictures(transport: Transport) -> bool:
    """Whether what arrives can be decoded.

    A transport whose attribute `sizes_only` is true moves bytes that stand for a codec that we do
    not have; only with a decoder registered from outside under its codec's name has it pictures.
    """
    return not getattr(transport, "sizes_only", False) or transport.codec in DECODERS.names()


def refusal(transport: Transport) -> str:
    """What is said where a transport cannot run."""
    worlds = " or ".join(f"--world {world}" for world in worlds_of(transport))
    return f"transport {transport.name} runs in {worlds} only"


def check_world(transport: Transport, world: str) -> None:
    """Refuse a transport in a world that it is not made for.

    Raises:
        InputError: says in which it runs.
    """
    worlds = worlds_of(transport)
    if worlds and world not in worlds:
        raise InputError(refusal(transport))


def look_of(transport: Transport) -> Mapping[str, Any]:
    """How a transport is shown, for manifests: of the scheme file of its name, else its own word.

    Returns:
        `SchemeFile.look`, or what the transport has as `look`; empty where it says nothing.
    """
    found = shipped_scheme(transport.name)
    return getattr(transport, "look", {}) if found is None else found.look()


def defaults_of(transport: Transport) -> Mapping[str, Any]:
    """Options with another default than their type's (a transport's attribute `defaults`)."""
    found: Mapping[str, Any] = getattr(transport, "defaults", {})
    return found


def parse_options(transport: Transport, given: Mapping[str, Any]) -> Any:
    """The transport's options from a scenario's mapping.

    Raises:
        InputError: an unknown option or a value that the transport refuses.
    """
    fields = {f.name: f for f in dataclasses.fields(transport.options_type)}
    chosen = {**defaults_of(transport), **given}
    for key in chosen:
        if key not in fields:
            raise InputError(
                f"transport {transport.name}: unknown option {key!r}; known: {', '.join(fields)}"
            )
    try:
        options = transport.options_type(**chosen)
        transport.check_options(options)
        return options
    except (TypeError, ValueError) as error:
        raise InputError(f"transport {transport.name}: {error}") from None
