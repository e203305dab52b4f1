"""Frames of GRACE as units: an intra picture, or a patch and packets of latents.

An intra frame is one unit. A P frame's unit 0 is an intra-coded patch of 128x128, the next one in
reading order with every frame, and its other units are packets of latents. What arrives of a P
frame is decoded; at least one unit must.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from typing import Any, Final

import numpy as np

from testbed.codec.units import split_units
from testbed.errors import InputError, RemoteProtocolError
from testbed.media.clips import Clip
from testbed.media.decoding import DecodedFrame
from testbed.media.types import ReceivedFrame
from testbed.transports.grace_original.codec import PATCH, OriginalCodec, PCode, Rgb
from testbed.transports.grace_original.packing import pack, unpack
from testbed.transports.grace_original.pictures import ToPicture, padded, to_rgb
from testbed.transports.sized.plan import Reference, Slot, Structure, Unit
from testbed.transports.sized.wire import DESCRIPTOR_BYTES, MAX_UNITS

#: Every unit of a P frame may be missing, as long as one is there.
STRUCTURE: Final = Structure(
    1, Reference.CHAIN, optional=frozenset(range(MAX_UNITS)), whole_keys=True
)
#: With a single packet, one loss would take all of a frame.
LEAST_PACKETS: Final = 2
#: Height and width of an intra picture; row and column of a patch, in patches.
_PLACE: Final = Struct("!HH")


class GracePlanner:
    """Encodes the clip, frame by frame, by the original codec.

    The encoder's references are those of a receiver that lost nothing: the repository has no
    sender, and so no resynchronisation after losses either.

    Args:
        clip: what is streamed.
        codec: the codec.
        payload_bytes: largest RTP payload.
        model: name of the codec's model, for the manifest.
    """

    structure = STRUCTURE
    follows_target = False  # a model is one rate

    def __init__(self, clip: Clip, codec: OriginalCodec, *, payload_bytes: int, model: str) -> None:
        self._clip, self._codec, self._model = clip, codec, model
        self._room = payload_bytes - DESCRIPTOR_BYTES
        self._reference: Rgb | None = None
        self._patches = 0
        self._estimated_bytes = 0.0
        self._coded_bytes = 0

    def captured(self, index: int, *, wire_kbps: float, force_key: bool) -> Slot | None:
        """The frame's units; the model decides on their size, not the target."""
        width, height = self._clip.width, self._clip.height
        picture = to_rgb(self._clip.frame(index), width=width, height=height)
        if self._reference is None or force_key:
            data = self._codec.encode_i(picture)
            _, rows, columns = picture.shape
            self._reference = self._codec.decode_i(data, height=rows, width=columns)
            payloads = [_PLACE.pack(rows, columns) + data]
        else:
            payloads = self._encode_p(picture, self._reference)
        units = tuple(Unit(n, len(data), data) for n, data in enumerate(payloads))
        return Slot(index, 1, index, len(units), 1, len(units) == 1, wire_kbps, units)

    def _encode_p(self, picture: Rgb, reference: Rgb) -> list[bytes]:
        code = self._codec.encode_p(picture, reference)
        _, height, width = picture.shape
        columns = width // PATCH
        row, column = divmod(self._patches % (columns * (height // PATCH)), columns)
        self._patches += 1
        area = np.s_[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
        patch = self._codec.encode_i(np.ascontiguousarray(picture[area]))
        self._reference = self._codec.decode_p(code, reference)
        self._reference[area] = self._codec.decode_i(patch, height=PATCH, width=PATCH)
        wanted = -(-int(code.size_bytes) // self._room)
        packets = pack(code.motion, code.residual, min(max(LEAST_PACKETS, wanted), MAX_UNITS - 1))
        self._estimated_bytes += code.size_bytes
        self._coded_bytes += sum(map(len, packets))
        return [_PLACE.pack(row, column) + patch, *packets]

    def facts(self) -> Mapping[str, Any]:
        """The model, and what our entropy coder makes of what theirs estimates."""
        return {
            "kind": "grace-original",
            "model": self._model,
            "rate_control": "none: a model is one rate",
            "resynchronisation": "none",
            "latents_estimated_bytes": round(self._estimated_bytes),
            "latents_coded_bytes": self._coded_bytes,
        }


def decode_frames(
    codec: OriginalCodec, received: Iterable[ReceivedFrame], *, width: int, height: int
) -> Iterator[DecodedFrame]:
    """Decode what arrived, in order; a frame of which nothing did leaves the picture as it is.

    Args:
        codec: the codec.
        received: one entry a source frame.
        width: luma width of the pictures.
        height: luma height of the pictures.
    """
    to_picture = ToPicture(width, height)
    size = (padded(height), padded(width))
    reference: Rgb | None = None
    for frame in received:
        if not frame.data:
            continue
        units = split_units(frame.data)
        try:
            if frame.key:
                reference = _decode_i(codec, units[0], size)
            elif reference is not None:
                reference = _decode_p(codec, units, reference)
        except (RemoteProtocolError, InputError):
            continue
        if reference is not None:
            damaged = not all(units)
            yield DecodedFrame(frame.index, to_picture(reference), damaged=damaged)


def _decode_i(codec: OriginalCodec, unit: bytes, size: tuple[int, int]) -> Rgb:
    if len(unit) < _PLACE.size or _PLACE.unpack_from(unit) != size:
        raise RemoteProtocolError("an intra picture of another size")
    return codec.decode_i(unit[_PLACE.size :], height=size[0], width=size[1])


def _decode_p(codec: OriginalCodec, units: list[bytes], reference: Rgb) -> Rgb:
    arrived = {n - 1: unit for n, unit in enumerate(units) if n and unit}
    picture = reference.copy()
    if arrived:
        motion, residual = unpack(arrived, len(units) - 1)
        picture = codec.decode_p(PCode(motion, residual, 0.0), reference)
    patch = units[0]
    if len(patch) > _PLACE.size:
        row, column = _PLACE.unpack_from(patch)
        _, height, width = picture.shape
        if (row + 1) * PATCH > height or (column + 1) * PATCH > width:
            raise RemoteProtocolError(f"a patch at row {row}, column {column}")
        decoded = codec.decode_i(patch[_PLACE.size :], height=PATCH, width=PATCH)
        picture[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = decoded
    return picture
