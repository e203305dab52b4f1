from __future__ import annotations

import numpy as np
import pytest
import torch

from morphe_core.training.klt import Covariance

SIZE = 12


def data(count: int = 400) -> np.ndarray:
    """Correlated vectors with well-separated directions, (count, SIZE)."""
    generator = np.random.default_rng(9)
    mixed = np.linalg.qr(generator.normal(size=(SIZE, SIZE)))[0]
    return generator.normal(size=(count, SIZE)) * 0.7 ** np.arange(SIZE) @ mixed.T


def gathered(values: np.ndarray, batches: int = 1) -> Covariance:
    moments = Covariance(SIZE)
    for part in np.split(values, batches):
        planes = part.reshape(2, -1, 5, SIZE).transpose(0, 3, 1, 2)
        moments.add(torch.from_numpy(np.ascontiguousarray(planes)).float())
    return moments


@pytest.mark.parametrize("channels", [1, 5, SIZE])
def test_it_is_what_numpys_svd_gives(channels: int) -> None:
    values = data()
    basis = gathered(values).basis(channels).numpy()
    assert basis.dtype == np.float32
    _, _, wanted = np.linalg.svd(values, full_matrices=False)
    assert basis.shape == (channels, SIZE)
    same = np.abs((basis * wanted[:channels]).sum(axis=1))
    np.testing.assert_allclose(same, 1, atol=1e-4)


def test_rows_are_orthonormal_and_have_a_fixed_sign() -> None:
    basis = gathered(data()).basis(7)
    torch.testing.assert_close(basis @ basis.T, torch.eye(7), rtol=0, atol=1e-6)
    largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    assert bool((largest > 0).all())
    assert basis.is_contiguous()


def test_batches_add_up() -> None:
    whole, parts = gathered(data()).basis(6), gathered(data(), batches=4).basis(6)
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-5)


def test_fewer_channels_are_the_first_of_more() -> None:
    moments = gathered(data())
    torch.testing.assert_close(moments.basis(3), moments.basis(9)[:3])


def test_no_orthonormal_rows_keep_more() -> None:
    values = data()
    basis = gathered(values).basis(4).double().numpy()
    kept = np.square(values @ basis.T).sum()
    generator = np.random.default_rng(1)
    for _ in range(20):
        nudged = basis + generator.normal(0, 0.1, basis.shape)
        other = np.linalg.qr(nudged.T)[0].T
        assert np.square(values @ other.T).sum() < kept
