"""What the codec does with the threads of NumPy's OpenBLAS, asked of OpenBLAS itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from morphe_core.threads import one_blas_thread


def threads() -> list[int]:
    np.eye(2) @ np.eye(2)
    pools = ThreadpoolController().select(internal_api="openblas").info()
    return [int(pool["num_threads"]) for pool in pools]


@pytest.fixture
def two_threads() -> Iterator[list[int]]:
    pools = ThreadpoolController().select(internal_api="openblas")
    if not pools.info():
        pytest.skip("NumPy's matrix products are not OpenBLAS's here")
    with pools.limit(limits=2):
        before = threads()
        if max(before) < 2:
            pytest.skip("OpenBLAS has one thread here")
        yield before


def test_one_thread_within_and_as_before_after(two_threads: list[int]) -> None:
    seen = one_blas_thread(threads)()
    assert set(seen) == {1}
    assert threads() == two_threads


def test_as_before_after_an_error(two_threads: list[int]) -> None:
    @one_blas_thread
    def fails(text: str, *, number: int) -> None:
        raise ValueError(f"{text} {number}")

    with pytest.raises(ValueError, match="no 7"):
        fails("no", number=7)
    assert threads() == two_threads


def test_within_one_another(two_threads: list[int]) -> None:
    outer = one_blas_thread(one_blas_thread(threads))
    assert set(outer()) == {1}
    assert threads() == two_threads
