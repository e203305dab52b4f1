"""What every payload format offers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from testbed.registry import Registry


@dataclass(frozen=True, slots=True)
class DepacketizedFrame:
    """What could be put together again.

    Attributes:
        data: whole NAL units as an Annex-B stream with 4-byte start codes; may be empty.
        complete: every payload was there and well formed, and every NAL unit is whole.
        nal_types: types of the NAL units in `data`, in order.
    """

    data: bytes
    complete: bool
    nal_types: tuple[int, ...]


class PayloadFormat(Protocol):
    """One codec's way into RTP."""

    @property
    def codec(self) -> str:
        """Name in the registry: "h264", "h265" or "h266"."""

    def packetize(self, access_unit: bytes, *, max_payload_bytes: int) -> list[bytes]:
        """RTP payloads of at most `max_payload_bytes`, in order; the last gets the marker.

        Small NAL units are aggregated, large ones fragmented into pieces of nearly equal size.

        Raises:
            LocalProtocolError: no NAL unit in it, one that RTP cannot carry, or too small a limit.
        """

    def depacketize(self, payloads: Sequence[bytes | None]) -> DepacketizedFrame:
        """Put a frame together; None marks a missing payload, a malformed one counts as such."""

    def nal_types(self, payload: bytes) -> tuple[int, ...]:
        """Types of the NAL units in a payload, that of the fragmented one for a fragment.

        Empty for a malformed payload.
        """

    def is_key(self, nal_types: Iterable[int]) -> bool:
        """Whether decoding can start at a picture with these NAL units (IDR or CRA)."""

    def starts_frame(self, payload: bytes) -> bool:
        """Whether the payload surely is the first of its access unit."""


#: Payload formats by codec name.
PAYLOADS: Registry[PayloadFormat] = Registry("payload format", group="testbed.payloads")
