"""From latents to packets and back: every packet has a random part of all elements.

GRACE (NSDI 2024): elements go to packets by a reversible pseudo-random map (multiplication by a
prime modulo their number), and each packet is entropy-coded on its own with a scale a channel, so
that any packets that arrive are decoded and the elements of the others are 0.

The repository's entropy coder estimates sizes and cannot decode, so this one is ours: a Laplace
model of one of `SCALES` a channel and packet, through a range coder.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from testbed.errors import RemoteProtocolError
from testbed.transports.grace_original.codec import Latent

#: A prime larger than any number of elements, and so without a common factor (Knuth, The Art of
#: Computer Programming 3, section 6.4).
PRIME: Final = 2_654_435_761
#: Mean magnitudes that a channel may be said to have; 0: all of it is 0.
SCALES: Final = np.concatenate([[0.0], 0.02 * 1.4 ** np.arange(31)])
#: Latents beyond it are cut off.
LARGEST: Final = 255
#: Half of the channels are expected to be empty.
_SCALE_PRIOR: Final = np.array([0.5] + [0.5 / 31] * 31)
#: Channels of motion and of residual, rows, columns.
_SHAPE: Final = Struct("!BBBB")

Indices = npt.NDArray[np.int64]


def packet_elements(count: int, packets: int) -> list[Indices]:
    """Which of `count` elements are in which of `packets` packets."""
    place = np.arange(count, dtype=np.uint64) * np.uint64(PRIME) % np.uint64(count)
    order = np.argsort(place, kind="stable")
    return [order[n::packets] for n in range(packets)]


def pack(motion: Latent, residual: Latent, packets: int) -> list[bytes]:
    """The packets' contents."""
    channels, rows, columns = motion.shape
    flat = np.concatenate([motion.reshape(-1), residual.reshape(-1)])
    flat = np.clip(flat, -LARGEST, LARGEST).astype(np.int32)
    head = _SHAPE.pack(channels, residual.shape[0], rows, columns)
    count = channels + residual.shape[0]
    return [
        head + _encode(flat[elements], elements // (rows * columns), count)
        for elements in packet_elements(flat.size, packets)
    ]


def unpack(arrived: dict[int, bytes], packets: int) -> tuple[Latent, Latent]:
    """Motion and residual from the packets that arrived; the elements of the others are 0.

    Args:
        arrived: contents by number, at least one.
        packets: how many there were.

    Raises:
        RemoteProtocolError: what arrived is damaged.
    """
    first = next(iter(arrived.values()))
    if len(first) < _SHAPE.size:
        raise RemoteProtocolError("a packet of latents without its shape")
    of_motion, of_residual, rows, columns = shape = _SHAPE.unpack_from(first)
    if not all(shape):
        raise RemoteProtocolError(f"latents of shape {shape}")
    area = rows * columns
    flat = np.zeros((of_motion + of_residual) * area, np.int16)
    parts = packet_elements(flat.size, packets)
    for number, data in arrived.items():
        if data[: _SHAPE.size] != first[: _SHAPE.size] or number >= packets:
            raise RemoteProtocolError("packets of one frame differ in shape")
        elements = parts[number]
        flat[elements] = _decode(data[_SHAPE.size :], elements // area, of_motion + of_residual)
    return (
        flat[: of_motion * area].reshape(of_motion, rows, columns),
        flat[of_motion * area :].reshape(of_residual, rows, columns),
    )


def _models() -> tuple[Any, Any, Any]:
    import constriction

    model = constriction.stream.model
    return (
        constriction.stream.queue,
        model.Categorical(_SCALE_PRIOR, perfect=False),
        model.QuantizedLaplace(-LARGEST, LARGEST),
    )


def _encode(values: npt.NDArray[np.int32], channels: Indices, count: int) -> bytes:
    queue, prior, laplace = _models()
    sums = np.bincount(channels, np.abs(values), minlength=count)
    sizes = np.maximum(np.bincount(channels, minlength=count), 1)
    means = sums / sizes
    nearest = np.abs(np.log(np.maximum(means, 1e-9))[:, None] - np.log(SCALES[1:])).argmin(axis=1)
    scales = np.where(means > 0, nearest + 1, 0).astype(np.int32)
    coder = queue.RangeEncoder()
    coder.encode(scales, prior)
    coded = scales[channels] > 0
    if coded.any():
        width = SCALES[scales[channels[coded]]]
        coder.encode(values[coded], laplace, np.zeros(width.size), width)
    data: bytes = coder.get_compressed().astype("<u4").tobytes()
    return data


def _decode(data: bytes, channels: Indices, count: int) -> npt.NDArray[np.int32]:
    queue, prior, laplace = _models()
    if len(data) % 4:
        raise RemoteProtocolError("a packet of latents that is cut off")
    coder = queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    values = np.zeros(channels.size, np.int32)
    try:
        scales = coder.decode(prior, count)
        coded = scales[channels] > 0
        if coded.any():
            width = SCALES[scales[channels[coded]]]
            values[coded] = coder.decode(laplace, np.zeros(width.size), width)
    except AssertionError as error:  # what constriction raises for impossible bytes
        raise RemoteProtocolError(f"a packet of latents that is damaged ({error})") from None
    return values
