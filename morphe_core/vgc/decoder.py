"""The decoder: whatever units came in, a GoP of pictures out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from morphe_core.errors import BitstreamError, CodecConfigError
from morphe_core.models import Model
from morphe_core.threads import one_blas_thread
from morphe_core.vgc.bitstream import Kind, Unit, UnitHeader, read_unit
from morphe_core.vgc.concealment import fill_motion
from morphe_core.vgc.enhancement import enhance
from morphe_core.vgc.enlarging import shown_pictures
from morphe_core.vgc.geometry import Geometry, Packed
from morphe_core.vgc.packing import unpack_units
from morphe_core.vgc.quantiser import step_of
from morphe_core.vgc.smoothing import smooth_boundary
from morphe_core.vgc.state import Memory, conceal_i, decode_p, field_tensor
from morphe_core.vgc.tokens import GOP_FRAMES, Mask

#: Black in limited range, and no colour: what is shown before anything came.
_BLACK, _GREY = 16, 128


class Decoder:
    """Decodes the GoPs of one stream, in order.

    Args:
        model: the model that the stream was made with.
        width: luma width of the source.
        height: luma height of the source.
        smoothing: pictures blended at a GoP boundary (Eq. 2); 0 = none.
        gate: blend only where nothing moves and nothing is cut (False: the paper's plain form).
        switches_only: blend only where the scale changes.
    """

    def __init__(
        self, model: Model, *, width: int, height: int, smoothing: int = 0, gate: bool = True,
        switches_only: bool = False,
    ) -> None:  # fmt: skip
        if not 0 <= smoothing < GOP_FRAMES:
            raise CodecConfigError(f"smoothing {smoothing}: must be within 0 and {GOP_FRAMES - 1}")
        self.model = model
        self._width, self._height = width, height
        self._smoothing, self._gate, self._switches_only = smoothing, gate, switches_only
        self._memory: Memory | None = None
        self._tail: list[Packed] = []
        #: Units that were damaged, foreign or contradicted the others, since the start.
        self.refused_units = 0
        #: Token rows of the latest GoP of which a unit was missing, for `Encoder.report`; None when
        #: nothing of it came.
        self.missing_rows: Mask | None = None

    @one_blas_thread
    @torch.inference_mode()
    def decode(self, units: Sequence[bytes], *, frames: int = GOP_FRAMES) -> list[Packed]:
        """Decode the next GoP.

        Args:
            units: what came of it, in any order; damaged ones are left out.
            frames: pictures to give when no unit came (otherwise the units say).

        Returns:
            Packed yuv420p pictures of the source size. When nothing came, the last picture again,
            or black at the start.
        """
        usable = self._usable(units)
        self.missing_rows = None
        if not usable:
            return self._frozen(frames)
        header = usable[0].header
        geometry = Geometry.of(self._width, self._height, header.scale)
        switched = self._memory is not None and self._memory.scale != header.scale
        tokens = [unit for unit in usable if unit.header.kind is Kind.TOKENS]
        if not tokens:
            return self._frozen(header.frames)
        pictures = self._decode_tokens(tokens, geometry)[: header.frames]
        self.refused_units += enhance(pictures, usable[len(tokens) :])
        if self._smoothing and self._tail and (switched or not self._switches_only):
            pictures = smooth_boundary(
                self._tail, pictures, frames=min(self._smoothing, len(pictures)),
                width=self._width, height=self._height, gate=self._gate,
            )  # fmt: skip
        self._tail = pictures[-max(1, self._smoothing) :]
        return pictures

    def _usable(self, units: Sequence[bytes]) -> list[Unit]:
        """Whole units of this stream, tokens first; the first one's GoP decides what belongs."""
        whole: list[Unit] = []
        for data in units:
            try:
                whole.append(read_unit(data))
            except BitstreamError:
                self.refused_units += 1
        usable: list[Unit] = []
        for unit in sorted(whole, key=lambda unit: unit.header.kind):
            header = unit.header
            known = (header.width, header.height, header.backend)
            fits = known == (self._width, self._height, self.model.backend)
            if fits and (not usable or _same_gop(header, usable[0].header)):
                usable.append(unit)
            else:
                self.refused_units += 1
        return usable

    def _decode_tokens(self, units: list[Unit], geometry: Geometry) -> list[Packed]:
        received = unpack_units(self.model.entropy, units, geometry.grid)
        self.refused_units += received.damaged
        self.missing_rows = received.missing_rows
        tokens = received.tokens
        device = self.model.device
        tokenizer = self.model.network.tokenizer
        motion = fill_motion(tokens.motion, received.motion_known)
        field = field_tensor(motion, tokens.camera, device)
        before = None
        if self._memory and not (units[0].header.intra and tokens.i_sent.all()):
            before = self._memory.carried_on(geometry, field)
        i = conceal_i(tokenizer, tokens.i, tokens.i_sent, step_of(tokens.i_quality), before)
        predicted = tokenizer.predict(i, field)
        p = decode_p(tokenizer, tokens.p, tokens.p_sent, step_of(tokens.p_quality), predicted)
        self._memory = Memory.of(p, geometry.scale)
        return shown_pictures(self.model.network, i, p, geometry)

    def _frozen(self, frames: int) -> list[Packed]:
        """Nothing came: the last picture stays (or black, at the start)."""
        if self._tail:
            last = self._tail[-1]
        else:
            pixels = self._width * self._height
            last = np.full(pixels * 3 // 2, _GREY, np.uint8)
            last[:pixels] = _BLACK
            self._tail = [last]
        return [last.copy() for _ in range(frames)]


def _same_gop(header: UnitHeader, first: UnitHeader) -> bool:
    names: tuple[str, ...] = (
        "gop",
        "scale",
        "frames",
        "unit_count",
        "i_quality",
        "p_quality",
        "intra",
    )
    if header.kind is not first.kind:
        names = ("gop", "scale", "frames")
    return all(getattr(header, name) == getattr(first, name) for name in names)
