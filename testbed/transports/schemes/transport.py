"""A scheme as a transport: its base, with other defaults and another name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.errors import InputError
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.protocol.endpoint import Endpoint
from testbed.transports.base import (
    TRANSPORTS,
    ReceiverContext,
    SenderContext,
    Transport,
    parse_options,
)
from testbed.transports.schemes.file import is_scheme_path, load_scheme, scheme_stem

if TYPE_CHECKING:
    from testbed.transports.schemes.model import SchemeFile


@dataclass(frozen=True, slots=True)
class SchemeTransport:
    """A transport that hands every call to its base.

    Attributes:
        file: the scheme's file.
        base: what does the work.
    """

    file: SchemeFile
    base: Transport

    @property
    def name(self) -> str:
        """Of the scheme."""
        return self.file.name

    @property
    def display_name(self) -> str:
        """Of the scheme."""
        return self.file.display_name

    @property
    def summary(self) -> str:
        """Of the scheme."""
        return self.file.summary

    @property
    def look(self) -> Mapping[str, Any]:
        """Of the scheme."""
        return self.file.look()

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Options of the base that have another default here."""
        return self.file.options

    @property
    def codec(self) -> str:
        """The base's."""
        return self.base.codec

    @property
    def worlds(self) -> tuple[str, ...]:
        """The base's."""
        return tuple(getattr(self.base, "worlds", ()))

    @property
    def options_type(self) -> type[Any]:
        """The base's."""
        return self.base.options_type

    def check_options(self, options: Any) -> None:
        """What the base refuses."""
        self.base.check_options(options)

    def made_with(self, options: Any) -> Mapping[str, Any]:
        """What the base's encodes depend on."""
        return self.base.made_with(options)

    def open_encoder(
        self, clip: Clip, options: Any, cache: EncodeCache | None, *, adaptive: bool, pixels: bool
    ) -> Any:
        """The base's encoder."""
        return self.base.open_encoder(clip, options, cache, adaptive=adaptive, pixels=pixels)

    def decoder_options(self, options: Any) -> Mapping[str, Any]:
        """The base's."""
        return self.base.decoder_options(options)

    def make_sender(self, context: SenderContext) -> Endpoint:
        """A sender of the base's."""
        return self.base.make_sender(context)

    def make_receiver(self, context: ReceiverContext) -> Endpoint:
        """A receiver of the base's."""
        return self.base.make_receiver(context)


def base_of(transport: Transport) -> Transport:
    """What does the work of a transport: a scheme's base, of others themselves."""
    return transport.base if isinstance(transport, SchemeTransport) else transport


def open_scheme(found: SchemeFile, *, where: str) -> SchemeTransport:
    """The scheme of a file as a transport; its options are tried.

    Args:
        found: from `load_scheme`.
        where: the file, for messages.

    Raises:
        InputError: no such base, or options that it refuses.
    """
    try:
        scheme = SchemeTransport(found, TRANSPORTS.coded(found.base))
    except InputError as error:
        raise InputError(f"{where}: base: {error}") from None
    try:
        parse_options(scheme, {})
    except InputError as error:
        raise InputError(f"{where}: options: {error}") from None
    return scheme


def find_transport(text: str, *, base: Path) -> Transport:
    """The transport that a scenario means: a registered name, or a scheme file of the user's.

    Args:
        text: as in the scenario.
        base: folder that relative paths start from.

    Raises:
        InputError: no such name or file, a wrong file, or a file with the name of a registered
            transport, which results could not tell apart.
    """
    if not is_scheme_path(text):
        return TRANSPORTS.get(text)
    name = scheme_stem(text)
    if name in TRANSPORTS.names():
        raise InputError(f"{text}: {name!r} is a registered transport; give the file another name")
    path = base / text
    return open_scheme(load_scheme(path), where=str(path))
