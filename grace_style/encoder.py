"""The encoder: pictures in, packets out, its reference kept as the receiver has it.

GRACE's resynchronisation (NSDI 2024, section 4.2): the encoder goes on as if all had arrived. When
a report says what the receiver decoded a picture with, the encoder decodes that picture and all
since once more, with just the elements that arrived, and codes the next one against the outcome.
Nothing is sent again for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from grace_style.choosing import Chooser, Chosen
from grace_style.config import HISTORY, EncoderConfig
from grace_style.errors import CodecConfigError
from grace_style.flow import FlowEstimator
from grace_style.geometry import Geometry
from grace_style.header import HEADER_BYTES, MOST_PACKETS, pieces_of
from grace_style.intra import (
    LEAST_QP,
    MOST_QP,
    decode_still,
    encode_still,
    join_start,
    parameter_sets,
)
from grace_style.models import Model
from grace_style.network import Reference
from grace_style.packets import PictureElements
from grace_style.quality import COARSEST_STEP, INDICES_PER_OCTAVE, QUALITIES, step_of
from grace_style.state import Packed, Patch, Reconstructor, State, patch_place
from morphe_core.vgc.pictures import Picture, to_patches, unpack

#: An intra patch may take this share of a picture's bytes; it is coded more coarsely until it does.
PATCH_SHARE: Final = 0.2
#: And this share of the largest packet, for it travels in one, with elements.
PATCH_OF_PACKET: Final = 0.5
COARSER_QPS: Final = 6
#: Bytes that a packet's range coder takes beyond what the tables say.
CODER_BYTES: Final = 2
#: The residual's trunk was told a step so many indices from the one chosen: run it once more.
FAR_QUALITIES: Final = 6
#: H.265's quantiser step is 2 ** ((qp - 4) / 6).
QP_OFFSET: Final = 4


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """What the encoder makes of a picture.

    Attributes:
        key: an intra picture; all of its packets are needed.
        packets: payloads.
        quality: of the residual; the quantiser of an intra picture.
    """

    key: bool
    packets: tuple[bytes, ...]
    quality: int


@dataclass(slots=True)
class _Past:
    """A picture that was coded, and what is known of its fate.

    Attributes:
        before: state that it was coded on, as the receiver had it as far as is known.
        coded: its elements.
        packets: how many it was cut into.
        patch, patch_in: its intra patch, and the packet with it.
        arrived: which packets the receiver decoded it with; None: taken to be all.
    """

    before: State
    coded: PictureElements
    packets: int
    patch: Patch | None
    patch_in: int
    arrived: tuple[bool, ...] | None = None


class Encoder:
    """Encodes the pictures of one stream, in order.

    Args:
        model: network and tables.
        width, height: of the pictures.
        config: how.
    """

    def __init__(
        self, model: Model, *, width: int, height: int, config: EncoderConfig | None = None
    ) -> None:
        self._config = config or EncoderConfig()
        self._geometry = Geometry(width, height)
        if self._config.patch_side > min(self._geometry.padded):
            raise CodecConfigError("patch_side: larger than the picture")
        self._reconstructor = Reconstructor(model, self._geometry)
        self._network = model.network
        self._chooser = Chooser(model, self._geometry.cells)
        self._estimator = FlowEstimator()
        self._past: OrderedDict[int, _Past] = OrderedDict()
        self._state: State | None = None
        self._source: Packed | None = None  # the picture before, as captured
        self._quality = QUALITIES // 2
        self._dirty: int | None = None  # first picture that was decoded otherwise than supposed
        self._next = 0

    @property
    def reference(self) -> Packed | None:
        """The picture that the next one refers to, as it is thought to be at the receiver."""
        return None if self._state is None else self._reconstructor.shown(self._state)

    # -- pictures --------------------------------------------------------------------------------

    def encode(
        self, picture: Packed, *, wire_bytes: int, header_bytes: int, key: bool = False
    ) -> CodedPicture:
        """Encode the next picture.

        Args:
            picture: packed yuv420p, flat.
            wire_bytes: for all packets together; kept, unless the coarsest quality needs more.
            header_bytes: in front of every packet, counted in `wire_bytes`.
            key: begin anew with an intra picture, as the first one does in any case.
        """
        frame = self._next
        self._next += 1
        if key or self._state is None:
            coded = self._encode_key(picture, frame, wire_bytes, header_bytes)
        else:
            self._catch_up()
            packets = self._packets(wire_bytes, header_bytes)
            coded = self._encode_next(picture, frame, wire_bytes - packets * header_bytes, packets)
        self._source = picture
        return coded

    def _encode_key(
        self, picture: Packed, frame: int, wire_bytes: int, header_bytes: int
    ) -> CodedPicture:
        size = self._geometry
        share = self._config.most_bytes / (self._config.most_bytes + header_bytes + HEADER_BYTES)
        sets = parameter_sets(size.width, size.height)
        side = self._config.patch_side
        patch_sets = parameter_sets(side, side) if side else b""
        most = MOST_PACKETS * (self._config.most_bytes - HEADER_BYTES)
        budget_bytes = min(wire_bytes * share, most - len(join_start(b"", sets, patch_sets)))
        low, high = LEAST_QP, MOST_QP
        stills: dict[int, bytes] = {}
        while low < high:  # the finest quantiser within the budget
            middle = (low + high) // 2
            stills[middle] = encode_still(picture, size.width, size.height, middle)
            if len(stills[middle]) <= budget_bytes:
                high = middle
            else:
                low = middle + 1
        still = stills.get(low) or encode_still(picture, size.width, size.height, low)
        whole = join_start(still, sets, patch_sets)
        self._state = self._reconstructor.begin(decode_still(still, sets, size.width, size.height))
        self._past.clear()
        self._dirty = None
        self._quality = _quality_of_qp(low)
        packets = pieces_of(whole, frame=frame, most_bytes=self._config.most_bytes)
        return CodedPicture(True, tuple(packets), low)

    def _encode_next(
        self, picture: Packed, frame: int, budget_bytes: int, packets: int
    ) -> CodedPicture:
        assert self._state is not None
        state = self._state
        most = min(PATCH_SHARE * budget_bytes, PATCH_OF_PACKET * self._config.most_bytes)
        patch, patch_bytes = self._patch(picture, frame, most)
        reference = self._reconstructor.reference(state)
        room = 8 * (budget_bytes - len(patch_bytes) - packets * (HEADER_BYTES + CODER_BYTES))
        motion = self._motion(picture, reference, room, packets)
        every = np.ones_like(motion.values)
        prediction, flow = self._reconstructor.prediction(
            motion.values, every, reference, motion.quality
        )
        prediction = self._reconstructor.with_patch(prediction, patch)
        room -= ceil(motion.bits)
        residual = self._residual(picture, prediction, room, packets)
        elements = PictureElements(motion.values, residual.values, motion.quality, residual.quality)
        made = self._cut(elements, frame, packets, patch_bytes)
        packets = len(made)
        self._past[frame] = _Past(state, elements, packets, patch, frame % packets)
        while len(self._past) > HISTORY:
            self._past.popitem(last=False)
        here = np.ones_like(residual.values)
        self._state = self._reconstructor.finish(
            residual.values, here, prediction, flow, residual.quality
        )
        self._quality = residual.quality
        return CodedPicture(False, tuple(made), residual.quality)

    def _cut(
        self, elements: PictureElements, frame: int, packets: int, patch: bytes
    ) -> list[bytes]:
        """Packets of a picture; more of them than were meant where one would be too large."""
        most_bytes = self._config.most_bytes
        while True:
            made = self._reconstructor.layout.pack(
                elements, frame=frame, packets=packets, patch=patch, patch_in=frame % packets
            )
            longest = max(map(len, made))
            if longest <= most_bytes or packets == MOST_PACKETS:
                return made
            packets = min(MOST_PACKETS, ceil(packets * longest / most_bytes))

    def _packets(self, wire_bytes: int, header_bytes: int) -> int:
        config = self._config
        wanted = max(
            config.least_packets,
            round(wire_bytes / (config.packet_bytes + header_bytes)),
            ceil(wire_bytes / (config.most_bytes + header_bytes)),
        )
        return min(wanted, MOST_PACKETS)

    def _patch(self, picture: Packed, frame: int, most_bytes: float) -> tuple[Patch | None, bytes]:
        """The intra patch that is this picture's turn, decoded and as bytes, if it fits."""
        side = self._config.patch_side
        if not side:
            return None, b""
        x, y = patch_place(frame, self._geometry, side)
        height, width = self._geometry.padded
        whole = Geometry(width, height)
        planes = whole.planes(self._geometry.pad(picture))
        samples = np.concatenate(
            [
                plane[y >> shift : (y + side) >> shift, x >> shift : (x + side) >> shift].reshape(
                    -1
                )
                for plane, shift in zip(planes, (0, 1, 1), strict=True)
            ]
        )
        qp = _qp_of_quality(self._quality)
        data = encode_still(samples, side, side, qp)
        while len(data) > most_bytes and qp < MOST_QP:
            qp = min(qp + COARSER_QPS, MOST_QP)
            data = encode_still(samples, side, side, qp)
        if len(data) > most_bytes:
            return None, b""
        decoded = decode_still(data, parameter_sets(side, side), side, side)
        return Patch(x, y, side, decoded), bytes([side // 16]) + data

    @torch.no_grad()
    def _motion(self, picture: Packed, reference: Reference, room: int, packets: int) -> Chosen:
        """Motion elements, with the step of the picture before; coarser where bits are few."""
        assert self._source is not None
        step = torch.full((1, 1, 1, 1), step_of(self._quality))
        flow = self._flow(picture, self._source)
        here = self._tensor(picture)
        values = self._network.analyse_motion(flow, here, reference, step)[0].numpy()
        return self._chooser.motion(values, self._quality, room=room, packets=packets)

    def _flow(self, picture: Packed, before: Packed) -> torch.Tensor:
        """Backward flow averaged over patches, (1, 2, H/8, W/8)."""
        height, width = self._geometry.padded
        whole = Geometry(width, height)
        here, there = (whole.planes(self._geometry.pad(one))[0] for one in (picture, before))
        return torch.from_numpy(self._estimator(here, there))[None]

    def _residual(
        self, picture: Packed, prediction: torch.Tensor, room: int, packets: int
    ) -> Chosen:
        patches = to_patches(self._tensor(picture))
        told = self._quality
        values = self._analysed(patches, prediction, told)
        chosen = self._chooser.residual(values, room=room, packets=packets)
        if abs(chosen.quality - told) > FAR_QUALITIES:
            values = self._analysed(patches, prediction, chosen.quality)
            chosen = self._chooser.residual(values, room=room, packets=packets)
        return chosen

    @torch.no_grad()
    def _analysed(
        self, patches: torch.Tensor, prediction: torch.Tensor, quality: int
    ) -> npt.NDArray[np.float32]:
        step = torch.full((1, 1, 1, 1), step_of(quality))
        values: npt.NDArray[np.float32] = self._network.analyse_residual(patches, prediction, step)[
            0
        ].numpy()
        return values

    def _tensor(self, picture: Packed) -> Picture:
        height, width = self._geometry.padded
        return unpack(torch.from_numpy(self._geometry.pad(picture))[None], height, width)

    # -- reports ---------------------------------------------------------------------------------

    def report(self, frame: int, arrived: Sequence[bool]) -> None:
        """Learn with which packets the receiver decoded a picture; none at all: it was skipped.

        Reports of pictures that are too old, or never were, are ignored.
        """
        past = self._past.get(frame)
        if past is None or len(arrived) != past.packets:
            return
        known = past.arrived or (True,) * past.packets
        if known == tuple(arrived):
            return
        past.arrived = tuple(arrived)
        if self._dirty is None or frame < self._dirty:
            self._dirty = frame

    def _catch_up(self) -> None:
        """Decode again what the receiver decoded otherwise than was supposed."""
        if self._dirty is None:
            return
        state: State | None = None
        for frame, past in self._past.items():
            if frame < self._dirty:
                continue
            if state is not None:
                past.before = state
            state = self._again(past)
        self._dirty = None
        if state is not None:
            self._state = state

    def _again(self, past: _Past) -> State:
        """What the receiver made of a picture."""
        arrived = past.arrived or (True,) * past.packets
        if not any(arrived):
            return past.before
        coded = past.coded
        layout = self._reconstructor.layout
        motion_here, residual_here = layout.here(past.packets, arrived)
        reference = self._reconstructor.reference(past.before)
        prediction, flow = self._reconstructor.prediction(
            coded.motion * motion_here, motion_here, reference, coded.motion_quality
        )
        if arrived[past.patch_in]:
            prediction = self._reconstructor.with_patch(prediction, past.patch)
        return self._reconstructor.finish(
            coded.residual * residual_here, residual_here, prediction, flow,
            coded.residual_quality,
        )  # fmt: skip


def _quality_of_qp(qp: int) -> int:
    step = 2.0 ** ((qp - QP_OFFSET) / 6)
    return min(max(round(INDICES_PER_OCTAVE * log2(COARSEST_STEP / step)), 0), QUALITIES - 1)


def _qp_of_quality(quality: int) -> int:
    return min(max(round(QP_OFFSET + 6 * log2(step_of(quality))), LEAST_QP), MOST_QP)
