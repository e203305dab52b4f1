"""Which tokens are sent: one bit a token, cheap where rows are all or nothing.

Each row says first whether it is full, empty or mixed. A mixed row's even columns are coded as
changes along the row, its odd columns by their neighbours, with tables for how ragged the unit's
masks are. A P mask in a joint unit also looks at the I mask.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from morphe_core.vgc.range_coding import Coder, Index, Ints, Table
from morphe_core.vgc.tables import MASK_CONTEXTS, MASK_LEVELS
from morphe_core.vgc.tokens import Mask

#: Row forms.
EMPTY, FULL, MIXED = 0, 1, 2
_FORMS = Table(np.array([[13107, 39321]], np.uint16))
#: A level stands for this share of changes between neighbours, in 1 / 16.
_LEVEL_STEPS = 16
#: Contexts of odd columns begin here; before them those of even columns.
_ODD = 4


def code_mask(
    coder: Coder,
    table: Table,
    unit_rows: Index,
    cols: int,
    *,
    actual: Mask | None,
    lead: Mask | None,
) -> Mask:
    """Code the masks of all units.

    Args:
        coder: writes, reads or measures.
        table: `EntropyModel.masks`.
        unit_rows: (units + 1), first row of each unit and the end.
        cols: columns of the mask.
        actual: (rows, cols), what to write; None to read.
        lead: (rows, cols), a mask that both sides know.

    Returns:
        (rows, cols) bool.
    """
    count = int(unit_rows[-1])
    forms = coder.categorical(
        _FORMS, np.zeros(count, np.intp), unit_rows, None if actual is None else _forms(actual)
    )
    out = np.zeros((count, cols), np.bool_)
    out[forms == FULL] = True
    mixed = np.flatnonzero(forms == MIXED)
    if not mixed.size:
        return out
    rows = np.searchsorted(mixed, unit_rows)
    units = np.flatnonzero(np.diff(rows))
    whole = None if actual is None else actual[mixed].astype(np.int32)
    known = np.zeros((len(mixed), cols), np.int32) if lead is None else lead[mixed].astype(np.int32)
    used = np.concatenate([[0], np.cumsum(np.diff(rows) > 0)])
    levels = coder.uniform(
        np.full(len(units), MASK_LEVELS, np.int32), used,
        None if whole is None else _raggedness(whole, rows, units),
    )  # fmt: skip
    at = np.repeat(levels, np.diff(rows)[units])[:, None].astype(np.intp) * MASK_CONTEXTS
    found = _mixed(coder, table, rows, at, known, whole)
    out[mixed] = found.astype(np.bool_)
    return out


def _mixed(
    coder: Coder, table: Table, rows: Index, at: Index, lead: Ints, actual: Ints | None
) -> Ints:
    """Rows that are neither full nor empty, (rows, cols) of 0 and 1."""
    even_lead, odd_lead = lead[:, ::2], lead[:, 1::2]
    contexts = at + _changes(even_lead) + 2 * even_lead
    changes = coder.categorical(
        table, contexts.ravel().astype(np.intp), rows * even_lead.shape[1],
        None if actual is None else _changes(actual[:, ::2]).ravel(),
    )  # fmt: skip
    out = np.zeros(lead.shape, np.int32)
    out[:, ::2] = np.cumsum(changes.reshape(even_lead.shape), axis=1) & 1
    left = out[:, ::2][:, : odd_lead.shape[1]]
    right = np.concatenate([out[:, 2::2], left[:, -1:]], axis=1)[:, : odd_lead.shape[1]]
    contexts = at + _ODD + left + right + 3 * odd_lead
    odd = coder.categorical(
        table, contexts.ravel().astype(np.intp), rows * odd_lead.shape[1],
        None if actual is None else actual[:, 1::2].ravel(),
    )  # fmt: skip
    out[:, 1::2] = odd.reshape(odd_lead.shape)
    return out


def _changes(bits: Ints) -> Ints:
    """1 where a bit differs from the one before; before the first there is a 0."""
    out = bits.copy()
    out[:, 1:] ^= bits[:, :-1]
    return out


def _forms(mask: Mask) -> Ints:
    full, some = mask.all(axis=1), mask.any(axis=1)
    return np.where(full, FULL, np.where(some, MIXED, EMPTY)).astype(np.int32)


def _raggedness(mask: Ints, rows: Index, units: Index) -> Ints:
    """Level of each unit with mixed rows."""
    levels = []
    for unit in units:
        own = mask[rows[unit] : rows[unit + 1]]
        changes = int(_changes(own)[:, 1:].sum())
        share = changes * _LEVEL_STEPS // max(own.size, 1)
        levels.append(min(share, MASK_LEVELS - 1))
    return np.array(levels, np.int32)


def default_chances() -> npt.NDArray[np.float64]:
    """Probability that a bit is 1 in each context, before any mask was seen.

    A row is taken for a chain that changes between neighbours with the level's probability.
    """
    out = np.full((MASK_LEVELS, MASK_CONTEXTS), 0.5)
    for level in range(MASK_LEVELS):
        change = (level + 0.5) / _LEVEL_STEPS
        stay = 1 - change
        out[level, :_ODD] = 2 * change * stay
        other = change**2 / (change**2 + stay**2)
        for around, chance in enumerate((other, 0.5, 1 - other)):
            out[level, [_ODD + around, _ODD + 3 + around]] = chance
    return out.ravel()
