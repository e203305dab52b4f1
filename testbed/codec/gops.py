"""Encoders of groups of pictures over a clip, for live sessions: with a cache, and as a ladder.

`LiveGops` is the codec's own encoder. What comes out of it depends on all budgets and reports
before, so a GoP is filed under a chain of hashes, as the H.26x encoders file their frames (see
docs/decisions/0004-encode-cache.md): a sweep over losses at a fixed rate encodes a clip once.

`LadderGops` is for sessions whose target changes all the time and whose pictures nobody looks at:
the GoPs of a ladder of constant budgets, eight to an octave. Such a session takes from each rung
what it needs, and the next one finds it in the cache. What it sends has the sizes, units and
headers of the codec, but a rung's encoder knows nothing of the other rungs: it is stream switching,
and the pictures would drift where rungs change. So it refuses sessions with pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from morphe_core.errors import MorpheError
from testbed.codec.core import (
    GOP_FRAMES,
    Core,
    Settings,
    core_versions,
    load_core,
    one_thread,
    weights_sha256,
)
from testbed.codec.units import pack_gop, renumbered, unpack_gop
from testbed.errors import InputError, LocalProtocolError, ToolFailedError
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.media.types import EncodedGop

if TYPE_CHECKING:
    from morphe_core.vgc.codec import Encoder

#: Changes when the same input gives other bytes because of the code in this file.
GOPS_VERSION: Final = 2
#: Rungs of the ladder: budgets of a full GoP of LEAST_RUNG_BYTES * 2**(k / RUNGS_AN_OCTAVE).
LEAST_RUNG_BYTES: Final = 400
RUNGS_AN_OCTAVE: Final = 8
#: A rung's encoder starts afresh after so many GoPs, so that a session that comes to a rung late
#: need not encode all that was before.
SEGMENT_GOPS: Final = 8

Report = tuple[int, tuple[bool, ...] | None]
"""GoP, and for each of its token rows whether it is missing; None: nothing of it came."""
Reports = tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """What one GoP of a run of GoPs was made from."""

    frames: int
    budget_bytes: int
    reports: Reports = ()

    def key_after(self, key: bytes) -> bytes:
        """The key of the GoP whose predecessor has `key`."""
        text = json.dumps([self.frames, self.budget_bytes, self.reports])
        return hashlib.blake2b(key + text.encode(), digest_size=20).digest()


class GopSource:
    """A clip and how to encode it; loads the codec when something must really be encoded.

    Args:
        clip: what to encode.
        settings: profile, scale and changes.
        cache: where GoPs are kept; None: nowhere.
        weights: as for `testbed.codec.core.load_core`.
    """

    def __init__(
        self, clip: Clip, settings: Settings, cache: EncodeCache | None, *, weights: str = "small"
    ) -> None:
        self.clip, self.settings, self.cache, self.weights = clip, settings, cache, weights
        self.config = settings.config()
        self.weights_sha256 = weights_sha256(weights)
        self._core: Core | None = None

    def identity(self, kind: str) -> bytes:
        """First key of a run of GoPs: all that determines it but budgets and reports."""
        parts = [GOPS_VERSION, kind, self.clip.pictures_sha256, asdict(self.config)]
        made_with = [self.weights_sha256, core_versions(coding=True)]
        text = json.dumps([*parts, *made_with], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=20).digest()

    def encoder(self) -> Encoder:
        """A fresh encoder.

        Raises:
            InputError: the codec cannot code the clip, or the weights are damaged.
            ToolMissingError: the codec core is not installed.
        """
        clip = self.clip
        try:
            if self._core is None:
                self._core = load_core(self.weights)
            return self._core.encoder(
                width=clip.width, height=clip.height, fps=clip.fps, settings=self.settings
            )
        except MorpheError as error:
            raise InputError(f"clip {clip.spec.source!r}: {error}") from None

    def frames_of(self, index: int) -> int:
        """Pictures of GoP `index`; 0 beyond the end of the clip."""
        return max(0, min(GOP_FRAMES, self.clip.frame_count - index * GOP_FRAMES))

    def facts(self) -> dict[str, Any]:
        """What the manifest says (JSON values)."""
        return {
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            **core_versions(),
            "config": asdict(self.config),
        }


class GopRun:
    """GoPs from `first` on out of one encoder: from the cache while it has them, else encoded.

    Args:
        source: clip and settings.
        key: what determines the run's start.
        first: index of its first GoP.
    """

    def __init__(self, source: GopSource, key: bytes, first: int = 0) -> None:
        self._source, self._first = source, first
        self._keys = [key]
        self._steps: list[_Step] = []
        self._seen: dict[int, bytes] = {}  # what was given out, packed
        self._encoder: Encoder | None = None
        self._encoded = 0

    @property
    def next_index(self) -> int:
        """GoP that the next step is for."""
        return self._first + len(self._steps)

    def extend(self, budget_bytes: int, reports: Reports = ()) -> None:
        """The next GoP is to be made like this."""
        step = _Step(self._source.frames_of(self.next_index), budget_bytes, reports)
        self._steps.append(step)
        self._keys.append(step.key_after(self._keys[-1]))

    def gop(self, index: int) -> EncodedGop:
        """A GoP that `extend` has told of."""
        number = index - self._first
        cache, key = self._source.cache, self._keys[number + 1]
        known = cache.get(key) if cache is not None else None
        packed, encode_ns = known or self._make(number)
        self._seen[number] = packed
        return unpack_gop(packed, index=index, encode_ns=encode_ns)

    def _make(self, number: int) -> tuple[bytes, int]:
        """Encode up to `number`; a fresh encoder first goes over what has been."""
        if self._encoder is None or self._encoded > number:
            self._encoder, self._encoded = self._source.encoder(), 0
        made = (b"", 0)
        while self._encoded <= number:
            made = self._encode(self._encoder, self._encoded)
            seen = self._seen.get(self._encoded)
            if seen is not None and seen != made[0]:
                raise ToolFailedError(
                    "the codec gave other bytes than the encode cache holds for the same input; "
                    "remove them with: testbed clips cache --clear"
                )
            self._encoded += 1
        return made

    def _encode(self, encoder: Encoder, number: int) -> tuple[bytes, int]:
        step, index = self._steps[number], self._first + number
        clip, start = self._source.clip, index * GOP_FRAMES
        pictures = [clip.frame(start + n) for n in range(step.frames)]
        for gop, missing in step.reports:
            encoder.report(gop, None if missing is None else np.array(missing, np.bool_))
        with one_thread():
            began = perf_counter_ns()
            made = encoder.encode(pictures, budget_bytes=step.budget_bytes)
            encode_ns = perf_counter_ns() - began
        units = made.units if not self._first else renumbered(made.units, index)
        packed = pack_gop(
            EncodedGop(
                index, made.frames, made.scale, units, made.budgeted, encode_ns, made.mode.value
            )
        )
        if self._source.cache is None:
            return packed, encode_ns
        (filed,) = self._source.cache.put_many([(self._keys[number + 1], (packed, encode_ns))])
        if filed[0] != packed:
            raise ToolFailedError(
                "the codec gave other bytes than another process for the same input; "
                "remove them with: testbed clips cache --clear"
            )
        return filed


class LiveGops:
    """The codec's encoder, live: a `testbed.media.types.GopEncoder`."""

    kind = "live"
    gop_frames = GOP_FRAMES

    def __init__(self, source: GopSource) -> None:
        self._source = source
        self._run = GopRun(source, source.identity(self.kind))
        self._reports: list[Report] = []

    @property
    def frame_count(self) -> int:
        """Of the clip."""
        return self._source.clip.frame_count

    @property
    def wants_reports(self) -> bool:
        """Only a profile that leaves out what the receiver should have has use for them."""
        return self._source.config.keep

    def encode(self, index: int, *, budget_bytes: int) -> EncodedGop:
        """See `GopEncoder`.

        Raises:
            LocalProtocolError: not the next GoP, or no budget.
            ToolFailedError: the cache holds other bytes than the codec makes.
        """
        _check(self._source, index, self._run.next_index, budget_bytes)
        self._run.extend(budget_bytes, tuple(self._reports))
        self._reports.clear()
        return self._run.gop(index)

    def report(self, gop: int, missing: Sequence[bool] | None) -> None:
        """See `GopEncoder`."""
        if self.wants_reports:
            self._reports.append((gop, None if missing is None else tuple(missing)))

    def facts(self) -> Mapping[str, Any]:
        """See `GopEncoder`."""
        return {"kind": self.kind, **self._source.facts()}


class LadderGops:
    """GoPs of constant-budget encodes, picked by the budget; see the module's text."""

    kind = "ladder"
    gop_frames = GOP_FRAMES
    wants_reports = False

    def __init__(self, source: GopSource) -> None:
        self._source = source
        self._identity = source.identity(self.kind)
        self._next = 0
        self._runs: dict[int, GopRun] = {}  # of the segment under way, by rung

    @property
    def frame_count(self) -> int:
        """Of the clip."""
        return self._source.clip.frame_count

    def encode(self, index: int, *, budget_bytes: int) -> EncodedGop:
        """The GoP of the highest rung that is not above the budget.

        Raises:
            LocalProtocolError: not the next GoP, or no budget.
        """
        _check(self._source, index, self._next, budget_bytes)
        if index % SEGMENT_GOPS == 0:
            self._runs.clear()
        rung = rung_of(budget_bytes * GOP_FRAMES / self._source.frames_of(index))
        run = self._runs.get(rung)
        if run is None:
            start = index - index % SEGMENT_GOPS
            key = hashlib.blake2b(self._identity + f"{rung} {start}".encode(), digest_size=20)
            run = self._runs[rung] = GopRun(self._source, key.digest(), start)
        while run.next_index <= index:
            share = self._source.frames_of(run.next_index) / GOP_FRAMES
            run.extend(max(1, round(rung_bytes(rung) * share)))
        self._next += 1
        return run.gop(index)

    def report(self, gop: int, missing: Sequence[bool] | None) -> None:
        """Encoded beforehand: nothing changes."""

    def facts(self) -> Mapping[str, Any]:
        """See `GopEncoder`."""
        return {
            "kind": self.kind,
            "note": "constant-rate encodes, switched between: sizes are real, pictures are not",
            **self._source.facts(),
        }


def rung_bytes(rung: int) -> int:
    """Budget of a full GoP on a rung, from 0 up."""
    return round(LEAST_RUNG_BYTES * float(2 ** (rung / RUNGS_AN_OCTAVE)))


def rung_of(budget_bytes: float) -> int:
    """The highest rung whose budget is not above `budget_bytes`; at least 0."""
    rung = 0
    while rung_bytes(rung + 1) <= budget_bytes:
        rung += 1
    return rung


def _check(source: GopSource, index: int, expected: int, budget_bytes: int) -> None:
    if index != expected or not source.frames_of(index):
        raise LocalProtocolError(
            f"GoP {index} encoded out of order or beyond the clip; next is {expected}"
        )
    if budget_bytes < 1:
        raise LocalProtocolError(f"budget_bytes {budget_bytes}: must be at least 1")
