"""Against zfec byte for byte, and against the inverse of the code's matrix in galois."""

import galois
import numpy as np
import pytest
import zfec
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import LocalProtocolError
from testbed.protocol.fec import rs
from testbed.protocol.fec.gf256 import POLYNOMIAL

GF = galois.GF(2**8, irreducible_poly=galois.Poly.Int(POLYNOMIAL))
SMALL = [(k, n) for n in range(1, 33) for k in range(1, n + 1)]


def block(rng: np.random.Generator, k: int, size: int = 24) -> list[bytes]:
    return [rng.bytes(size) for _ in range(k)]


def test_every_small_code_is_that_of_zfec_and_survives_any_erasure() -> None:
    rng = np.random.default_rng(1)
    for k, n in SMALL:
        source = block(rng, k)
        repairs = rs.encode(source, range(n - k))
        assert [*source, *repairs] == zfec.Encoder(k, n).encode(source)
        for _ in range(4):
            kept = sorted(int(i) for i in rng.permutation(n)[:k])
            have = {i: (source[i] if i < k else repairs[i - k]) for i in kept}
            assert rs.decode(have, k) == source
            theirs = zfec.Decoder(k, n).decode([have[i] for i in kept], kept)
            assert theirs == source


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_codes_up_to_the_largest(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 200))
    rows = data.draw(st.integers(0, rs.MAX_SYMBOLS - k).map(lambda most: min(most, 20)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    source = block(rng, k, 8)
    repairs = rs.encode(source, range(rows))
    assert [*source, *repairs] == zfec.Encoder(k, k + rows).encode(source)
    gone = {int(i) for i in rng.permutation(k)[: min(rows, k)]}
    have = {i: s for i, s in enumerate(source) if i not in gone}
    have |= {k + row: symbol for row, symbol in enumerate(repairs)}
    assert rs.decode(have, k) == source


@pytest.mark.parametrize(("k", "n"), [(1, 2), (4, 6), (9, 14), (20, 32)])
def test_the_inverse_of_the_generator_in_galois_decodes(k: int, n: int) -> None:
    rng = np.random.default_rng(k)
    source = block(rng, k)
    generator = np.eye(n, k, dtype=np.uint8)
    for row in range(n - k):
        generator[k + row] = rs.coefficients(k, row)
    sent = np.array(GF(generator) @ GF(np.array([list(s) for s in source], dtype=np.uint8)))
    kept = [int(i) for i in sorted(rng.permutation(n)[:k])]
    inverse = np.linalg.inv(GF(generator[kept]))
    assert [bytes(line) for line in np.array(inverse @ GF(sent[kept]))] == source
    assert rs.decode({i: sent[i].tobytes() for i in kept}, k) == source


def test_shorter_symbols_come_back_padded() -> None:
    source = [b"abcdef", b"gh", b""]
    repairs = rs.encode(source, [0, 1, 2])
    assert rs.decode({3: repairs[0], 4: repairs[1], 5: repairs[2]}, 3) == [
        b"abcdef",
        b"gh\0\0\0\0",
        b"\0\0\0\0\0\0",
    ]


@pytest.mark.parametrize(("sources", "row"), [(0, 0), (1, -1), (255, 0), (200, 55)])
def test_there_are_255_symbols(sources: int, row: int) -> None:
    with pytest.raises(LocalProtocolError, match="no repair symbol"):
        rs.coefficients(sources, row)


def test_too_few_symbols_give_nothing() -> None:
    with pytest.raises(LocalProtocolError, match="2 symbols do not give 3"):
        rs.decode({0: b"a", 4: b"b"}, 3)
    with pytest.raises(LocalProtocolError, match=r"0\.\.254"):
        rs.decode({0: b"a", 255: b"b"}, 2)
