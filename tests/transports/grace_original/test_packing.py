from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RemoteProtocolError
from testbed.transports.grace_original.packing import LARGEST, pack, packet_elements, unpack


def latents(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = np.where(np.arange(12) % 3, 3.0, 0.0)[:, None, None]
    both = np.rint(rng.laplace(0, 1, (12, 9, 16)) * sizes).astype(np.int16)
    return both[:5], both[5:]


@given(st.integers(1, 5000), st.integers(1, 254))
def test_every_element_is_in_one_packet_and_packets_are_even(count: int, packets: int) -> None:
    parts = packet_elements(count, packets)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_packet_takes_elements_from_everywhere() -> None:
    (first, *_) = packet_elements(28_800, 10)
    counts, _ = np.histogram(first, bins=16, range=(0, 28_800))
    assert counts.min() > 0.8 * counts.mean()
    gaps = np.diff(np.sort(first))
    assert gaps.max() < 60


@pytest.mark.parametrize("packets", [1, 2, 7])
def test_all_packets_give_the_latents_again(packets: int) -> None:
    motion, residual = latents()
    found = unpack(dict(enumerate(pack(motion, residual, packets))), packets)
    assert np.array_equal(found[0], motion)
    assert np.array_equal(found[1], residual)


def test_a_lost_packet_is_zeros_in_its_places_and_nowhere_else() -> None:
    motion, residual = latents()
    packed = dict(enumerate(pack(motion, residual, 5)))
    del packed[3]
    found = np.concatenate([part.reshape(-1) for part in unpack(packed, 5)])
    whole = np.concatenate([motion.reshape(-1), residual.reshape(-1)])
    gone = packet_elements(whole.size, 5)[3]
    assert not found[gone].any()
    rest = np.setdiff1d(np.arange(whole.size), gone)
    assert np.array_equal(found[rest], whole[rest])


def test_the_coder_is_near_the_entropy_of_its_source() -> None:
    rng = np.random.default_rng(3)
    whole = np.rint(rng.laplace(0, 2.0, (40, 30, 40))).astype(np.int16)
    size = sum(map(len, pack(whole[:20], whole[20:], 4)))
    _, counts = np.unique(whole, return_counts=True)
    shares = counts / whole.size
    entropy = -(shares * np.log2(shares)).sum() * whole.size / 8
    assert size < 1.03 * entropy + 4 * 40


def test_values_beyond_the_largest_are_cut() -> None:
    motion = np.full((1, 4, 4), 3000, np.int16)
    found, _ = unpack(dict(enumerate(pack(motion, motion, 1))), 1)
    assert set(found.reshape(-1)) == {LARGEST}


@given(st.dictionaries(st.integers(0, 4), st.binary(max_size=60), min_size=1, max_size=4))
def test_any_bytes_give_latents_or_the_one_error(arrived: dict[int, bytes]) -> None:
    with contextlib.suppress(RemoteProtocolError):
        unpack(arrived, 4)
