"""H.264 in two temporal layers: every second picture is referred to by none and may be left out.

x264 without B pictures has no such pictures. They are made here out of two facts. An encoder that
codes a picture changes its state, but a copy of the process keeps the change to itself: odd
pictures are coded in a fork, and the next even one, in the parent, refers to the even one before
it. And a picture that nothing refers to says so by nal_ref_idc 0, and then has no marking of
reference pictures in its slice header (H.264 7.3.3): one bit is cut out, and the CABAC data, which
begin at a byte, stay as they are. The frame number and the picture order are right as they come:
with pic_order_cnt_type 2 a non-reference picture is shown before the reference picture of the same
frame_num (H.264 8.2.1.3).
"""

from __future__ import annotations

import os
import struct
import time
from typing import Any, Final

from testbed.errors import ToolFailedError, ToolMissingError
from testbed.media import annexb
from testbed.media.lavc import LavcSegment

#: What x264 has to leave out: weights, which the slice header would carry, and further references.
PARAMETERS: Final = "weightp=0:ref=1"
_HEADER: Final = struct.Struct("!IQ")
#: Profiles whose parameter sets say more than the others' (H.264 7.3.2.1.1).
_HIGH_PROFILES: Final = (100, 110, 122, 244)
_SLICE, _PARAMETERS = 1, 7


class _Bits:
    """Reads H.264's syntax elements."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._size = 8 * len(data)
        self.at = 0

    def u(self, bits: int) -> int:
        """An unsigned number of so many bits."""
        self.at += bits
        if self.at > self._size:
            raise ToolFailedError("libx264: a slice header ends early")
        return self._value >> (self._size - self.at) & ((1 << bits) - 1)

    def ue(self) -> int:
        """Exponential Golomb code (H.264 9.1); a signed one is as long."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def head(self, bits: int) -> int:
        """The first `bits` bits as a number."""
        return self._value >> (self._size - bits)


def _unescaped(data: bytes) -> bytes:
    return data.replace(b"\0\0\3", b"\0\0")


def _escaped(data: bytes) -> bytes:
    """With emulation prevention (H.264 7.4.1)."""
    out, zeros = bytearray(), 0
    for byte in data:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def frame_number_bits(unit: bytes) -> int:
    """Bits of frame_num, from a sequence parameter set.

    Raises:
        ToolFailedError: the set is not of the kind that x264 makes here.
    """
    bits = _Bits(_unescaped(unit[1:]))
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    if profile in _HIGH_PROFILES:
        plain = bits.ue() == 1 and not bits.ue() and not bits.ue() and not bits.u(1)
        if not plain or bits.u(1):
            raise ToolFailedError("libx264: not 4:2:0 of 8 bits with plain scaling")
    size = bits.ue() + 4
    if bits.ue() != 2:
        raise ToolFailedError("libx264: pic_order_cnt_type is not 2")
    return size


def disposable(unit: bytes, number_bits: int) -> bytes:
    """A P slice as one that no picture refers to.

    Args:
        unit: NAL unit of a CABAC slice with deblocking parameters and without weights.
        number_bits: of frame_num.

    Raises:
        ToolFailedError: it is another kind of slice.
    """
    raw = _unescaped(unit)
    bits = _Bits(raw[1:])
    bits.ue()
    if bits.ue() not in (0, 5):
        raise ToolFailedError("libx264: a picture between references is no P picture")
    bits.ue()
    bits.u(number_bits)
    if bits.u(1):
        bits.ue()
    if bits.u(1):
        while bits.ue() != 3:
            bits.ue()
    marking = bits.at
    if bits.u(1):
        raise ToolFailedError("libx264: marks reference pictures by hand")
    bits.ue()  # cabac_init_idc
    bits.ue()  # slice_qp_delta
    if bits.ue() != 1:
        bits.ue()
        bits.ue()
    end = bits.at
    head = bits.head(end)
    after = end - marking - 1
    kept = (head >> (after + 1)) << after | head & ((1 << after) - 1)
    filler = -(end - 1) % 8
    kept = kept << filler | ((1 << filler) - 1)
    start = kept.to_bytes((end - 1 + filler) // 8, "big")
    return bytes([raw[0] & 0x1F]) + _escaped(start + raw[1 + -(-end // 8) :])


class TemporalSegment(LavcSegment):
    """Even pictures refer to even ones; odd ones refer to the even one before and to no other."""

    _number_bits = 0

    def encode(self, index: int, target_kbps: float) -> list[tuple[bytes, int]]:
        """See `LavcSegment.encode`."""
        if (index - self._start) % 2 == 0:
            coded = super().encode(index, target_kbps)
            if index == self._start:
                for unit in annexb.nal_units(coded[0][0]):
                    if unit[0] & 0x1F == _PARAMETERS:
                        self._number_bits = frame_number_bits(unit)
            return coded
        frame, _ = self._prepare(index, target_kbps)
        data, took = self._aside(index, frame)
        units = [
            disposable(unit, self._number_bits) if unit[0] & 0x1F == _SLICE else unit
            for unit in annexb.nal_units(data)
        ]
        data = b"".join(annexb.START_CODE + unit for unit in units)
        self._control.record(8 * len(data), target_kbps)
        return [(data, took)]

    def _aside(self, index: int, frame: Any) -> tuple[bytes, int]:
        """Encode in a copy of this process, so that this one's encoder stays as it is."""
        if not hasattr(os, "fork"):
            raise ToolMissingError("two temporal layers need fork(), which this system lacks")
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            status = 1
            try:
                begin = time.perf_counter_ns()
                data = self._coded(index, frame)
                took = time.perf_counter_ns() - begin
                with os.fdopen(writing, "wb") as pipe:
                    pipe.write(_HEADER.pack(len(data), took) + data)
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        if len(answer) < _HEADER.size:
            raise ToolFailedError(f"libx264: frame {index} failed in a fork")
        size, took = _HEADER.unpack_from(answer)
        return answer[_HEADER.size : _HEADER.size + size], took
