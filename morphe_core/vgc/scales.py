"""Which factor between source and coded size the next GoP has."""

from __future__ import annotations

#: Bits per source pixel of the first GoP from which 2x and 1x are begun with; our choice, tuned by
#: hand.
SCALE_LIMITS = ((2, 0.0065), (1, 0.055))
#: After that, the content decides: P qualities at a scale, (below this go coarser, above this go
#: finer). Our choice, tuned by hand; the bands overlap, so that the scale does not swing.
SCALE_BANDS = {3: (-1, 38), 2: (12, 85), 1: (44, 128)}
#: The scales of tokens of a given quality (paper, section 6.1): 3x, and 2x from where whole tokens
#: fit into the budget there.
ANCHOR_SCALES = (3, 2)
#: Bytes of whole tokens at 2x over those at 3x: 1.9 and 2.1 on two test clips.
ANCHOR_RATIO = 2.0
#: Back to 3x only when whole tokens are beyond the budget by this factor; our choice. The paper
#: says that there is hysteresis, not how much.
ANCHOR_SLACK = 1.1


def first_scale(bits_per_pixel: float) -> int:
    """The factor to begin with, by the budget per source luma pixel."""
    chosen = 3
    for scale, limit in SCALE_LIMITS:
        if bits_per_pixel >= limit:
            chosen = scale
    return chosen


def next_scale(scale: int, p_quality: int) -> int:
    """The factor of the next GoP after one at `scale` came out with `p_quality`."""
    coarser, finer = SCALE_BANDS[scale]
    if p_quality < coarser:
        return scale + 1
    if p_quality > finer:
        return scale - 1
    return scale


def anchor_scale(scale: int, whole_bytes: float, budget_bytes: int) -> int:
    """The factor of the next GoP where the quality is given (paper, Algorithm 1).

    Args:
        scale: of the GoP before; 0 = there was none.
        whole_bytes: what that one's units would come to with all of its tokens.
        budget_bytes: of the next one.
    """
    far, near = ANCHOR_SCALES
    if scale == near:
        return near if whole_bytes <= ANCHOR_SLACK * budget_bytes else far
    return near if scale and ANCHOR_RATIO * whole_bytes <= budget_bytes else far
