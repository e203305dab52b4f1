"""One master seed, one named child generator a component.

A child is keyed by its name alone, so adding a component never shifts the draws of another, and
all transports of one cell see the same loss realisation.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, name: str) -> np.random.Generator:
    """The random generator of component `name` under master `seed` (PCG64).

    Args:
        seed: the run's seed, >= 0.
        name: stable component name, such as "loss/down" or "trace/rail".
    """
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words.tolist()])))
