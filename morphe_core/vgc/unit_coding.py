"""One walk through the rows of all units: masks, I, motion and P, for whichever coder is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from morphe_core.errors import CodecConfigError
from morphe_core.vgc.bitstream import Part
from morphe_core.vgc.camera_coding import code_camera
from morphe_core.vgc.contexts import Contexts, level
from morphe_core.vgc.mask_coding import code_mask
from morphe_core.vgc.matrix_coding import MatrixCoder
from morphe_core.vgc.motion_coding import MotionCoder
from morphe_core.vgc.range_coding import Coder, Floats, Index
from morphe_core.vgc.tables import I_AROUND, MOTION_KNOWN, EntropyModel
from morphe_core.vgc.tokens import (
    CAMERA_SHAPE,
    MOTION_COLS,
    MOTION_MAX,
    TOKEN_MAX,
    GopTokens,
    Grid,
    Mask,
    Tokens,
)


@dataclass(frozen=True, slots=True)
class RowTokens:
    """Some rows of a GoP; what the part does not hold is zero and not sent.

    Attributes:
        i: (rows, cols, i_channels) int16.
        p: (rows, cols, p_channels) int16.
        i_sent: (rows, cols) bool.
        p_sent: (rows, cols) bool.
        motion: (rows, cols // 2, motion_channels) int16.
        camera: (units, 9, 2) int16, as each of the rows' units has it.
    """

    i: Tokens
    p: Tokens
    i_sent: Mask
    p_sent: Mask
    motion: Tokens
    camera: Tokens


class UnitCoder:
    """Codes the rows of all units; what is written and what is read take the same way."""

    def __init__(
        self,
        model: EntropyModel,
        coder: Coder,
        units: Sequence[Sequence[int]],
        grid: Grid,
        qualities: tuple[int, int],
    ) -> None:
        self._model = model
        self._coder = coder
        self._unit_rows: Index = np.concatenate(
            [[0], np.cumsum([len(rows) for rows in units], dtype=np.intp)]
        )
        self._cols = grid.cols
        self._i_quality, self._p_quality = qualities

    def run(self, part: Part, actual: RowTokens | None) -> RowTokens:
        """Code `part` of the rows."""
        model, count, cols = self._model, int(self._unit_rows[-1]), self._cols
        i_sent = p_sent = np.zeros((count, cols), np.bool_)
        i = np.zeros((count, cols, model.i_channels), np.int16)
        p = np.zeros((count, cols, model.p_channels), np.int16)
        motion = np.zeros((count, cols // MOTION_COLS, model.motion_channels), np.int16)
        camera = np.zeros((len(self._unit_rows) - 1, *CAMERA_SHAPE), np.int16)
        if part is not Part.P_ONLY:
            i_sent = self._mask(None if actual is None else actual.i_sent, None)
            i = self._matrix(
                "i", i_sent, self._i_quality, np.zeros((count, cols, 0), np.float32),
                None if actual is None else actual.i,
            )  # fmt: skip
        if part is not Part.I_ONLY:
            if model.motion is not None:
                camera = code_camera(
                    self._coder, model.motion.camera, len(camera),
                    None if actual is None else actual.camera,
                ).astype(np.int16)  # fmt: skip
                motion = self._motion(None if actual is None else actual.motion)
            extras, name = motion_extras(motion), "p_alone"
            if part is Part.JOINT:
                extras = np.concatenate([extras, i_extras(i, i_sent)], axis=2)
                name = "p"
            p_sent = self._mask(
                None if actual is None else actual.p_sent, i_sent if part is Part.JOINT else None
            )
            p = self._matrix(
                name, p_sent, self._p_quality, extras, None if actual is None else actual.p
            )
        return RowTokens(i, p, i_sent, p_sent, motion, camera)

    def _mask(self, actual: Mask | None, lead: Mask | None) -> Mask:
        return code_mask(
            self._coder, self._model.masks, self._unit_rows, self._cols, actual=actual, lead=lead
        )

    def _matrix(
        self, name: str, sent: Mask, quality: int, extras: Floats, actual: Tokens | None
    ) -> Tokens:
        model = self._model.matrices[name]
        contexts = Contexts(model.layout, sent, self._unit_rows, quality, extras)
        coder = MatrixCoder(model, self._coder, contexts, actual=actual)
        return coder.run().astype(np.int16)

    def _motion(self, actual: Tokens | None) -> Tokens:
        assert self._model.motion is not None
        coder = MotionCoder(
            self._model.motion, self._coder, self._unit_rows, self._cols // MOTION_COLS, actual
        )
        return coder.run().astype(np.int16)


def motion_extras(motion: Tokens) -> Floats:
    """What a P token knows of its cell's motion, (rows, cols, channels)."""
    known = motion[..., list(MOTION_KNOWN)] if motion.shape[2] else motion
    return level(known).repeat(MOTION_COLS, axis=1)


def i_extras(i: npt.NDArray[np.integer], i_sent: Mask) -> Floats:
    """What a P token of the joint form knows of I: its own token, its neighbours, was it sent."""
    own = level(i)
    lead = own[:, :, :I_AROUND]
    around = np.zeros_like(lead)
    around[:, 1:] += lead[:, :-1]
    around[:, :-1] += lead[:, 1:]
    flag = i_sent[..., None].astype(np.float32)
    return np.concatenate([own, around, flag], axis=2)


def check_tokens(model: EntropyModel, tokens: GopTokens) -> None:
    """Refuse tokens that the model cannot code.

    Raises:
        CodecConfigError: a wrong shape, or a number beyond its limit.
    """
    rows, cols = tokens.grid.rows, tokens.grid.cols
    shapes = {
        "i": (rows, cols, model.i_channels),
        "p": (rows, cols, model.p_channels),
        "i_sent": (rows, cols),
        "p_sent": (rows, cols),
        "motion": (rows, cols // MOTION_COLS, model.motion_channels),
        "camera": CAMERA_SHAPE,
    }
    for name, shape in shapes.items():
        if getattr(tokens, name).shape != shape:
            raise CodecConfigError(
                f"tokens {name} of shape {getattr(tokens, name).shape}: the model codes {shape}"
            )
    moves = MOTION_MAX if model.motion_channels else 0
    for name, limit in (
        ("i", TOKEN_MAX), ("p", TOKEN_MAX), ("motion", MOTION_MAX), ("camera", moves),
    ):  # fmt: skip
        largest = int(np.abs(getattr(tokens, name).astype(np.int32)).max(initial=0))
        if largest > limit:
            raise CodecConfigError(f"tokens {name}: magnitude {largest} is beyond {limit}")
