import numpy as np

from testbed.randomness import generator

PINNED = [737, 589, 174, 906, 244]


def test_a_component_draws_the_same_whatever_else_draws() -> None:
    first = generator(5, "down/loss").random(8)
    generator(5, "down/jitter").random(1000)
    assert np.array_equal(first, generator(5, "down/loss").random(8))


def test_seed_and_name_both_matter() -> None:
    draws = {
        (seed, name): tuple(generator(seed, name).integers(0, 2**62, 4))
        for seed in (0, 1)
        for name in ("down/loss", "up/loss")
    }
    assert len(set(draws.values())) == 4


def test_draws_are_pinned() -> None:
    # A change here changes every published number of the testbed.
    assert generator(1, "down/loss").integers(0, 1000, 5).tolist() == PINNED
