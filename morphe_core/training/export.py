"""From a trained network to a model that can code: entropy tables counted on training windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from morphe_core.network import Network
from morphe_core.training.data import Windows
from morphe_core.training.pipeline import Batch, prepare
from morphe_core.vgc.allocation import COARSEST, I_FINER
from morphe_core.vgc.entropy import EntropyModel
from morphe_core.vgc.estimate import estimate_motion, motion_price
from morphe_core.vgc.motion import carry_on
from morphe_core.vgc.pictures import Picture, to_bytes, to_patches
from morphe_core.vgc.quantiser import coding_cost, quantise, step_of
from morphe_core.vgc.state import decode_i, field_tensor, step_tensor, to_array
from morphe_core.vgc.tokens import GOP_FRAMES, QUALITIES, GopTokens, Grid

#: Qualities of the P tokens on which tables are counted (steps 215 to 6).
_QUALITIES = (COARSEST, 88)
_BATCH = 8


class _Gop(NamedTuple):
    """One window at its coded size."""

    before: Picture
    first: Picture
    rest: Picture


def fit_entropy(
    network: Network, windows: Windows, *, gops: int, generator: np.random.Generator
) -> EntropyModel:
    """Entropy tables for `network`, counted on `gops` training windows.

    Args:
        network: trained; its arithmetic here is float32.
        windows: training windows; a test clip has no place here either.
        gops: how many windows; a thousand fill the tables.
        generator: draws windows, qualities and factors.
    """
    return EntropyModel.fit(collect_tokens(network, windows, gops=gops, generator=generator))


@torch.inference_mode()
def collect_tokens(
    network: Network, windows: Windows, *, gops: int, generator: np.random.Generator
) -> Iterator[GopTokens]:
    """Tokens as an encoder would make them, at random qualities; half of them keep I tokens."""
    device = next(network.parameters()).device
    for number in range(-(-gops // _BATCH)):
        batch = prepare(*windows.batch(_BATCH, generator), 2 + number % 2, device)
        for index in range(_BATCH):
            yield _tokens(network, _take(batch, index), generator)


def _take(batch: Batch, index: int) -> _Gop:
    def pick(picture: Picture, count: int) -> Picture:
        return picture.take(slice(index * count, (index + 1) * count))

    return _Gop(pick(batch.before, 1), pick(batch.first, 1), pick(batch.rest, GOP_FRAMES - 1))


def _tokens(network: Network, gop: _Gop, generator: np.random.Generator) -> GopTokens:
    tokenizer = network.tokenizer
    device = gop.first.luma.device
    p_quality = int(generator.integers(*_QUALITIES))
    i_quality = min(
        QUALITIES - 1, p_quality + int(generator.integers(I_FINER // 2, 3 * I_FINER // 2))
    )
    step = step_of(i_quality)
    luma = torch.cat([gop.first.luma, gop.rest.luma])[:, 0]
    grid = Grid(luma.shape[1] // 8, luma.shape[2] // 8)
    pixels = to_bytes(luma).cpu().numpy()
    last = to_bytes(gop.before.luma)[0, 0].cpu().numpy() if generator.random() < 0.9 else None
    motion = estimate_motion(pixels, grid, price=motion_price(step_of(p_quality)), before=last)
    field = field_tensor(*motion, device)

    before = None
    if generator.random() < 0.5:
        size = step_tensor(step, device)
        values = quantise(tokenizer.analyse_i(gop.before), size) * size
        known = tokenizer.synthesise_i(values, torch.ones_like(values[:, :1]), size, None).picture
        before = carry_on(known, field)
    values = tokenizer.analyse_i(gop.first)
    scaled = quantise(values, step)
    sent = np.ones((grid.rows, grid.cols), np.bool_)
    if before is not None:
        stay = (to_patches(gop.first) - to_patches(before)).square().sum(1)
        code = (values - scaled * step).square().sum(1)
        bits = 1.5 * torch.log2(1 + 2 * scaled.abs()).sum(1)
        sent = (stay >= coding_cost(code, bits, step))[0].cpu().numpy()
    i_tokens = np.where(sent[..., None], to_array(scaled), np.int16(0))
    decoded = decode_i(tokenizer, i_tokens, sent, step, before)
    p_values = tokenizer.analyse_p(gop.rest, tokenizer.predict(decoded, field))
    p_tokens = to_array(quantise(p_values, step_of(p_quality)))
    return GopTokens(i_tokens, p_tokens, sent, np.ones_like(sent), *motion, i_quality, p_quality)
