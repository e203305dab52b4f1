"""The Reed-Solomon code beside zfec, which is written in C.

Read the ratios, not the times: pytest-benchmark prints how many times slower each entry of a
group is than the fastest. Both sides get the same packets and make the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zfec

from testbed.protocol.fec import rs

SIZE_BYTES = 1200
#: Source and repair packets: a frame of a call, and a key frame.
BLOCKS = [(4, 2), (20, 10)]


def source(k: int) -> list[bytes]:
    rng = np.random.default_rng(k)
    return [rng.bytes(SIZE_BYTES) for _ in range(k)]


def encode_here(_: int, rows: int, packets: list[bytes]) -> list[bytes]:
    return rs.encode(packets, range(rows))


def encode_zfec(k: int, rows: int, packets: list[bytes]) -> list[bytes]:
    return zfec.Encoder(k, k + rows).encode(packets, tuple(range(k, k + rows)))


def decode_here(k: int, _: int, have: dict[int, bytes]) -> list[bytes]:
    return rs.decode(have, k)


def decode_zfec(k: int, rows: int, have: dict[int, bytes]) -> list[bytes]:
    return zfec.Decoder(k, k + rows).decode(list(have.values()), list(have))


@pytest.mark.parametrize(("k", "rows"), BLOCKS)
@pytest.mark.parametrize("encode", [encode_here, encode_zfec], ids=["here", "zfec"])
def test_encode(benchmark: Any, k: int, rows: int, encode: Any) -> None:
    benchmark.group = f"encode {k}+{rows} packets"
    packets = source(k)
    assert benchmark(encode, k, rows, packets) == encode_zfec(k, rows, packets)


@pytest.mark.parametrize(("k", "rows"), BLOCKS)
@pytest.mark.parametrize("decode", [decode_here, decode_zfec], ids=["here", "zfec"])
def test_decode_as_many_losses_as_repairs(benchmark: Any, k: int, rows: int, decode: Any) -> None:
    benchmark.group = f"decode {k}+{rows} packets"
    packets = source(k)
    have = {k + row: symbol for row, symbol in enumerate(rs.encode(packets, range(rows)))}
    have |= {number: packets[number] for number in range(rows, k)}
    assert benchmark(decode, k, rows, have) == packets
