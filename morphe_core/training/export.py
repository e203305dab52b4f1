"""From a trained network to a model that can code: entropy tables counted on training windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Unpack

import numpy as np
import torch

from morphe_core.network import Network
from morphe_core.training.data import Windows
from morphe_core.training.pipeline import Batch, prepare
from morphe_core.vgc.allocation import COARSEST, I_FINER
from morphe_core.vgc.config import EncoderConfig
from morphe_core.vgc.entropy import Beside, EntropyModel, measured_bits
from morphe_core.vgc.estimate import estimate_motion, motion_price
from morphe_core.vgc.motion import carry_on
from morphe_core.vgc.pictures import Picture, to_bytes, to_patches
from morphe_core.vgc.quantiser import coding_cost, quantise, step_of
from morphe_core.vgc.rounding import DEAD_ZONE_BEFORE, Values, quantise_array, without_the_dear
from morphe_core.vgc.state import decode_i, field_tensor, step_tensor, to_values
from morphe_core.vgc.tokens import GOP_FRAMES, QUALITIES, GopTokens, Grid, Tokens

#: Qualities of the P tokens on which tables are counted (steps 215 to 6).
_QUALITIES = (COARSEST, 88)
_BATCH = 8
#: Share of the tokens that are rounded by cost, where there are tables to do it by.
_ROUNDED_SHARE = 0.75


class _Gop(NamedTuple):
    """One window at its coded size."""

    before: Picture
    first: Picture
    rest: Picture


def fit_entropy(
    network: Network, windows: Windows, *, gops: int, generator: np.random.Generator
) -> EntropyModel:
    """Entropy tables for `network`, counted on `gops` training windows.

    Twice: an encoder rounds by what tables say that a value costs, so the second ones are counted
    on tokens that were rounded by the first ones, which a third of the windows gave.

    Args:
        network: trained; its arithmetic here is float32.
        windows: training windows; a test clip has no place here either.
        gops: how many windows; a thousand fill the tables.
        generator: draws windows, qualities and factors.
    """
    first = EntropyModel.fit(
        collect_tokens(network, windows, gops=-(-gops // 3), generator=generator)
    )
    return EntropyModel.fit(
        collect_tokens(network, windows, gops=gops, generator=generator, rounded_by=first)
    )


@torch.inference_mode()
def collect_tokens(
    network: Network, windows: Windows, *, gops: int, generator: np.random.Generator,
    rounded_by: EntropyModel | None = None,
) -> Iterator[GopTokens]:  # fmt: skip
    """Tokens as an encoder would make them, at random qualities; half of them keep I tokens.

    With `rounded_by`, three quarters are rounded by cost, the others not: a form may round plainly.
    """
    device = next(network.parameters()).device
    for number in range(-(-gops // _BATCH)):
        batch = prepare(*windows.batch(_BATCH, generator), 2 + number % 2, device)
        for index in range(_BATCH):
            model = rounded_by if generator.random() < _ROUNDED_SHARE else None
            yield _tokens(network, _take(batch, index), generator, model)


def _take(batch: Batch, index: int) -> _Gop:
    def pick(picture: Picture, count: int) -> Picture:
        return picture.take(slice(index * count, (index + 1) * count))

    return _Gop(pick(batch.before, 1), pick(batch.first, 1), pick(batch.rest, GOP_FRAMES - 1))


def _tokens(
    network: Network, gop: _Gop, generator: np.random.Generator, model: EntropyModel | None
) -> GopTokens:
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
    i_values = to_values(tokenizer.analyse_i(gop.first))
    i_tokens = _rounded(i_values, i_quality, model, "i")
    sent = np.ones((grid.rows, grid.cols), np.bool_)
    if before is not None:
        stay = (to_patches(gop.first) - to_patches(before)).square().sum(1)[0].cpu().numpy()
        error = np.square(i_values - i_tokens * np.float32(step)).sum(axis=2)
        bits = 1.5 * np.log2(1 + 2 * np.abs(i_tokens.astype(np.float32))).sum(axis=2)
        sent = stay >= coding_cost(error, bits, step)
    i_tokens = np.where(sent[..., None], i_tokens, np.int16(0))
    decoded = decode_i(tokenizer, i_tokens, sent, step, before)
    p_values = tokenizer.analyse_p(gop.rest, tokenizer.predict(decoded, field))
    p_tokens = _rounded(
        to_values(p_values), p_quality, model, "p", i_tokens=i_tokens, i_sent=sent,
        motion=motion.cells,
    )  # fmt: skip
    return GopTokens(i_tokens, p_tokens, sent, np.ones_like(sent), *motion, i_quality, p_quality)


def _rounded(
    values: Values, quality: int, model: EntropyModel | None, matrix: str,
    **beside: Unpack[Beside],
) -> Tokens:  # fmt: skip
    """As the encoder rounds by what `model` says; None: plainly."""
    step = step_of(quality)
    if model is None:
        return quantise_array(values, step)
    tokens = quantise_array(values, step, DEAD_ZONE_BEFORE)
    _, saved_bits = measured_bits(model, tokens, quality, matrix, **beside)
    return without_the_dear(values, tokens, saved_bits, step, EncoderConfig().rounding)[0]
