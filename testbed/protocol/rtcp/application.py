"""APP, packet type 204: messages of an application's own (RFC 3550 section 6.7)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Final

from testbed.errors import LocalProtocolError, RemoteProtocolError

_HEAD: Final = Struct("!I4s")


@dataclass(frozen=True, slots=True)
class ApplicationDefined:
    """APP: who sends it, its name, and its data.

    Attributes:
        ssrc: of the sender.
        name: four ASCII letters.
        data: a multiple of four bytes.
        subtype: 0..31.
    """

    packet_type: ClassVar[int] = 204

    ssrc: int
    name: bytes
    data: bytes
    subtype: int = 0

    def pack_body(self) -> tuple[int, bytes]:
        """Subtype and body."""
        if len(self.name) != 4:
            raise LocalProtocolError(f"APP name of {len(self.name)} bytes, must be 4")
        return self.subtype, _HEAD.pack(self.ssrc, self.name) + self.data

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> ApplicationDefined:
        """Read a body; raises `RemoteProtocolError`."""
        if len(body) < _HEAD.size:
            raise RemoteProtocolError("RTCP APP too short")
        ssrc, name = _HEAD.unpack_from(body)
        return cls(ssrc, name, body[_HEAD.size :], count)
