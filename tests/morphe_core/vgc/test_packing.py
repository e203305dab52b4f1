from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphe_core.models import load_model
from morphe_core.vgc.bitstream import HEADER_BYTES, Part, Unit, read_unit, write_unit
from morphe_core.vgc.concealment import fill_motion
from morphe_core.vgc.config import EncoderConfig
from morphe_core.vgc.entropy import EntropyModel
from morphe_core.vgc.geometry import Geometry
from morphe_core.vgc.packing import (
    GopFacts,
    empty_tokens,
    pack_units,
    unpack_units,
)
from morphe_core.vgc.tokens import GopTokens

GEOMETRY = Geometry.of(128, 96, 1)
GRID = GEOMETRY.grid
FACTS = GopFacts(5, GEOMETRY, 7, False, 0)
ROWS = EncoderConfig(packing="rows")
JOINT = EncoderConfig(unit_bytes=700, least_units=4)
NAMES = ("i", "p", "i_sent", "p_sent", "motion")
ALL = slice(None)


@pytest.fixture(scope="module")
def entropy() -> EntropyModel:
    return load_model("small").entropy


def gop(entropy: EntropyModel, seed: int, share: float = 0.7, moves: int = 3) -> GopTokens:
    """Tokens of a Laplacian kind, with holes."""
    noise = np.random.default_rng(seed)
    tokens = empty_tokens(entropy, GRID, 45, 30)
    for values, sent in ((tokens.i, tokens.i_sent), (tokens.p, tokens.p_sent)):
        sent[:] = noise.random(sent.shape) < share
        falling = np.exp(-np.arange(values.shape[2]) / 8)
        values[:] = np.rint(noise.laplace(0, 6 * falling, values.shape)) * sent[..., None]
    tokens.motion[:] = noise.integers(-moves, moves + 1, tokens.motion.shape)
    tokens.camera[:] = noise.integers(-5 * moves, 5 * moves + 1, tokens.camera.shape)
    return tokens


def units_of(data: Sequence[bytes]) -> list[Unit]:
    return [read_unit(unit) for unit in data]


def assert_equal(one: GopTokens, other: GopTokens, rows: Sequence[int] | slice) -> None:
    for name in NAMES:
        np.testing.assert_array_equal(getattr(one, name)[rows], getattr(other, name)[rows], name)
    np.testing.assert_array_equal(one.camera, other.camera)
    assert (one.i_quality, one.p_quality) == (other.i_quality, other.p_quality)


@pytest.mark.parametrize("config", [JOINT, ROWS])
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.3, 0.9, 1.0]))
@settings(max_examples=6)
def test_tokens_come_back_as_they_were(
    entropy: EntropyModel, config: EncoderConfig, seed: int, share: float
) -> None:
    tokens = gop(entropy, seed, share)
    packed = pack_units(entropy, tokens, FACTS, config, 3000)
    order = np.random.default_rng(seed).permutation(len(packed))
    units = units_of(packed)
    received = unpack_units(entropy, [units[n] for n in order], GRID)
    assert_equal(received.tokens, tokens, ALL)
    assert (received.units, received.damaged) == (len(packed), 0)
    assert received.motion_known.all()


def test_headers_say_what_a_decoder_must_know(entropy: EntropyModel) -> None:
    units = units_of(pack_units(entropy, gop(entropy, 1), FACTS, JOINT, 3000))
    count = len(units)
    assert count >= 4
    assert sorted(unit.header.unit for unit in units) == list(range(count))
    for unit in units:
        header = unit.header
        assert (header.gop, header.frames, header.scale) == (5, 7, 1)
        assert (header.width, header.height, header.unit_count) == (128, 96, count)
        assert (header.i_quality, header.p_quality, header.intra) == (45, 30, False)
        assert header.part is Part.JOINT
    # Neighbouring rows are not sent one after the other.
    order = [unit.header.unit for unit in units]
    assert all(abs(a - b) > 1 for a, b in itertools.pairwise(order)) or count < 6


def test_units_stay_near_the_size_that_is_asked_for(entropy: EntropyModel) -> None:
    tokens = gop(entropy, 2, 1.0)
    for size in (800, 1500):
        config = EncoderConfig(unit_bytes=size, least_units=1)
        # A budget that says nothing of the real size: the count is found by trying.
        packed = pack_units(entropy, tokens, FACTS, config, 100)
        assert max(map(len, packed)) <= 1.15 * size or len(packed) == GRID.rows
    assert len(packed) < GRID.rows
    smallest = pack_units(entropy, tokens, FACTS, EncoderConfig(unit_bytes=64), 100)
    assert len(smallest) == GRID.rows


@pytest.mark.parametrize("config", [JOINT, ROWS])
def test_every_unit_decodes_alone(entropy: EntropyModel, config: EncoderConfig) -> None:
    tokens = gop(entropy, 3)
    for data in pack_units(entropy, tokens, FACTS, config, 3000):
        unit = read_unit(data)
        received = unpack_units(entropy, [unit], GRID)
        rows, part = list(unit.header.rows), unit.header.part
        others = [row for row in range(GRID.rows) if row not in rows]
        wanted = replace(tokens)
        nothing = empty_tokens(entropy, GRID, 45, 30)
        if part is Part.I_ONLY:
            wanted = replace(
                tokens, p=nothing.p, p_sent=nothing.p_sent, motion=nothing.motion,
                camera=nothing.camera,
            )  # fmt: skip
        if part is Part.P_ONLY:
            wanted = replace(tokens, i=nothing.i, i_sent=nothing.i_sent)
        assert_equal(received.tokens, wanted, rows)
        # Any unit alone says what the camera does, which is not of its rows only.
        assert_equal(received.tokens, replace(nothing, camera=wanted.camera), others)
        assert (received.units, received.damaged) == (1, 0)
        known = [row in rows and part is not Part.I_ONLY for row in range(GRID.rows)]
        assert received.motion_known.tolist() == known


def test_rows_of_holes_are_not_sent_and_come_back_as_holes(entropy: EntropyModel) -> None:
    tokens = gop(entropy, 4, 1.0, moves=0)
    tokens.i[3], tokens.i_sent[3] = 0, False
    for row in (0, 7, 8):
        tokens.p[row], tokens.p_sent[row] = 0, False
    packed = pack_units(entropy, tokens, FACTS, ROWS, 3000)
    units = units_of(packed)
    sent = {(unit.header.part, unit.header.unit) for unit in units}
    every = range(GRID.rows)
    assert sent == {
        *((Part.I_ONLY, row) for row in every if row != 3),
        *((Part.P_ONLY, row) for row in every if row not in (0, 7, 8)),
    }
    received = unpack_units(entropy, units, GRID)
    assert_equal(received.tokens, tokens, ALL)
    assert not fill_motion(received.tokens.motion, received.motion_known).any()


def test_motion_travels_even_where_no_p_token_does(entropy: EntropyModel) -> None:
    tokens = gop(entropy, 5, 1.0)
    tokens.p[:6], tokens.p_sent[:6] = 0, False
    units = units_of(pack_units(entropy, tokens, FACTS, ROWS, 3000))
    received = unpack_units(entropy, units, GRID)
    assert received.motion_known.all()
    assert_equal(received.tokens, tokens, ALL)


def test_the_camera_travels_even_where_nothing_else_moves(entropy: EntropyModel) -> None:
    tokens = gop(entropy, 5, 1.0, moves=0)
    tokens.p[:], tokens.p_sent[:] = 0, False
    assert len(units_of(pack_units(entropy, tokens, FACTS, ROWS, 3000))) == GRID.rows
    tokens.camera[0] = 7, -3
    units = units_of(pack_units(entropy, tokens, FACTS, ROWS, 3000))
    assert len(units) == 2 * GRID.rows
    for unit in units:
        if unit.header.part is Part.P_ONLY:
            received = unpack_units(entropy, [unit], GRID)
            np.testing.assert_array_equal(received.tokens.camera, tokens.camera)
    assert_equal(unpack_units(entropy, units, GRID).tokens, tokens, ALL)


def test_a_gop_of_holes_still_has_a_unit(entropy: EntropyModel) -> None:
    tokens = empty_tokens(entropy, GRID, 45, 30)
    for config in (JOINT, ROWS):
        packed = pack_units(entropy, tokens, FACTS, config, 3000)
        assert packed
        assert max(map(len, packed)) < HEADER_BYTES + 16
        received = unpack_units(entropy, units_of(packed), GRID)
        assert_equal(received.tokens, tokens, ALL)


def test_a_payload_that_cannot_be_read_is_a_hole(entropy: EntropyModel) -> None:
    """Behind a right checksum too: the sender may be broken, or mean it."""
    tokens = gop(entropy, 6)
    good = units_of(pack_units(entropy, tokens, FACTS, JOINT, 3000))
    bad, noise = good[1], np.random.default_rng(0)
    rows = list(bad.header.rows)
    others = [row for row in range(GRID.rows) if row not in rows]
    refused = 0
    for _ in range(12):
        units = list(good)
        units[1] = read_unit(write_unit(bad.header, noise.bytes(len(bad.payload))))
        received = unpack_units(entropy, units, GRID)
        assert_equal(received.tokens, tokens, others)
        assert received.units + received.damaged == len(units)
        if received.damaged:
            refused += 1
            assert not received.tokens.i_sent[rows].any()
            assert not received.tokens.p_sent[rows].any()
            assert not received.motion_known[rows].any()
    assert refused
