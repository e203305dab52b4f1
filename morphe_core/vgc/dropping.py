"""What stands in for I tokens that are left out on purpose, for comparing selections."""

from __future__ import annotations

import numpy as np
import torch

from morphe_core.vgc.pictures import Picture, to_patches
from morphe_core.vgc.rounding import Values, quantise_array
from morphe_core.vgc.selection import Candidates
from morphe_core.vgc.small import SmallTokenizer
from morphe_core.vgc.tokens import Tokens


def i_candidates(
    tokenizer: SmallTokenizer, tokens: Tokens, step: float, before: Picture | None,
    generator: np.random.Generator,
) -> Candidates:  # fmt: skip
    """The I tokens, and what stands in for each: the GoP before, or the rows around it.

    Args:
        tokenizer: whose tokens they are.
        tokens: (rows, cols, i_channels), all of them.
        step: their quantisation step.
        before: the GoP before, carried on; None at a start.
        generator: for random selection.
    """
    values: Values = tokens.astype(np.float32) * np.float32(step)
    if before is None:
        padded = np.pad(values, ((1, 1), (0, 0), (0, 0)), mode="edge")
        stand_in = np.float32(0.5) * (padded[:-2] + padded[2:])
    else:
        patches = to_patches(before)
        stand_in = torch.einsum("oc,nchw->nhwo", tokenizer.i_basis, patches)[0].cpu().numpy()
    missing = quantise_array(values - stand_in, step)
    return Candidates(missing, lambda: (values, stand_in), generator)
