"""The way to the GRACE-style codec: a live encoder with a cache, and the decoder.

What the encoder gives depends on all budgets and loss reports before, so a picture is filed under a
chain of hashes of them, as the other encoders do (docs/decisions/0004-encode-cache.md). Sessions
share what they have in common: all until the first report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from morphe_core.errors import MorpheError
from testbed.codec.core import (
    core_versions,
    hash_of_sources,
    hash_of_weights,
    needing_the_extra,
    one_thread,
)
from testbed.codec.units import pack_gop, split_units, unpack_gop
from testbed.errors import InputError, ToolFailedError
from testbed.media.cache import EncodeCache
from testbed.media.clips import Clip
from testbed.media.decoding import DECODERS, DecodedFrame
from testbed.media.types import EncodedGop, ReceivedFrame

if TYPE_CHECKING:
    from grace_style.config import EncoderConfig
    from grace_style.decoder import Decoder
    from grace_style.encoder import Encoder
    from grace_style.models import Model

#: Changes when the same input gives other bytes because of the code in this file.
PICTURES_VERSION: Final = 1
DEFAULT_WEIGHTS: Final = "grace-seen"
CODEC: Final = "grace-style"
#: Pictures that are decoded to time the decoder, behind one that warms it up.
CALIBRATION_PICTURES: Final = 12

Report = tuple[int, tuple[bool, ...]]
"""Picture, and which of its packets were decoded."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What one picture was made from, besides the clip."""

    wire_bytes: int
    reports: tuple[Report, ...]
    intra: bool

    def key_after(self, key: bytes) -> bytes:
        """The key of the picture whose predecessor has `key`."""
        text = json.dumps([self.wire_bytes, self.reports, self.intra])
        return hashlib.blake2b(key + text.encode(), digest_size=20).digest()


class LivePictures:
    """A live encoder over a clip; call `encode` with 0, 1, 2, ... in order.

    Args:
        clip: what to encode.
        config: how; see `grace_style.encoder.EncoderConfig`.
        weights: a shipped model or a file.
        header_bytes: in front of every packet; budgets count them.
        cache: where pictures are kept; None: nowhere.

    Raises:
        InputError: no such weights.
    """

    def __init__(
        self, clip: Clip, config: Mapping[str, int], *, weights: str, header_bytes: int,
        cache: EncodeCache | None,
    ) -> None:  # fmt: skip
        self._clip, self._weights, self._cache = clip, weights, cache
        self._config = _config(config)
        self._header_bytes = header_bytes
        self._sha256 = weights_sha256(weights)
        identity = json.dumps(
            [
                PICTURES_VERSION, CODEC, clip.pictures_sha256, clip.width, clip.height,
                asdict(self._config), header_bytes, self._sha256, codec_versions(),
            ],
            sort_keys=True,
        )  # fmt: skip
        self._keys = [hashlib.blake2b(identity.encode(), digest_size=20).digest()]
        self._steps: list[_Step] = []
        self._packets: list[int] = []  # of each picture
        self._reports: dict[int, tuple[bool, ...]] = {}  # since the last picture
        self._known: dict[int, tuple[bool, ...]] = {}  # all so far
        self._encoder: Encoder | None = None
        self._encoded = 0

    def encode(self, index: int, *, wire_bytes: int, intra: bool = False) -> EncodedGop:
        """Encode source frame `index` into packets of together about `wire_bytes` on the wire.

        Args:
            index: the next one.
            wire_bytes: with the headers of all packets.
            intra: begin anew with an intra picture.

        Raises:
            InputError: the codec cannot code the clip.
            ToolFailedError: the cache holds other bytes for the same input.
        """
        assert index == len(self._steps)
        step = _Step(wire_bytes, tuple(sorted(self._reports.items())), intra)
        self._reports = {}
        self._steps.append(step)
        self._keys.append(step.key_after(self._keys[-1]))
        cache, key = self._cache, self._keys[-1]
        known = cache.get(key) if cache is not None else None
        packed, encode_ns = known or self._make(index)
        coded = unpack_gop(packed, index=index, encode_ns=encode_ns)
        self._packets.append(len(coded.units) if coded.mode == "p" else 0)
        return coded

    def report(self, frame: int, arrived: Sequence[bool]) -> bool:
        """Learn with which packets the receiver decoded a picture; True: that is news.

        Args:
            frame: the picture.
            arrived: for each packet of it; empty: it was skipped.
        """
        told = tuple(arrived)
        if not told and 0 <= frame < len(self._packets):
            told = (False,) * self._packets[frame]
        if not told or not 0 <= frame < len(self._packets) or len(told) != self._packets[frame]:
            return False
        if self._known.get(frame) == told:
            return False
        self._known[frame] = self._reports[frame] = told
        return True

    def facts(self) -> dict[str, Any]:
        """What the manifest says (JSON values)."""
        return {
            "weights": self._weights,
            "weights_sha256": self._sha256,
            **codec_versions(),
            "config": asdict(self._config),
        }

    def _make(self, index: int) -> tuple[bytes, int]:
        """Encode up to `index`; a fresh encoder first goes over what has been."""
        if self._encoder is None:
            self._encoder = self._open()
        made = (b"", 0)
        while self._encoded <= index:
            made = self._encode(self._encoder, self._encoded)
            self._encoded += 1
        return made

    def _open(self) -> Encoder:
        model = load(self._weights)
        from grace_style.encoder import Encoder

        clip = self._clip
        try:
            return Encoder(model, width=clip.width, height=clip.height, config=self._config)
        except MorpheError as error:
            raise InputError(f"clip {clip.spec.source!r}: {error}") from None

    def _encode(self, encoder: Encoder, index: int) -> tuple[bytes, int]:
        step = self._steps[index]
        for frame, arrived in step.reports:
            encoder.report(frame, arrived)
        with one_thread():
            began = perf_counter_ns()
            coded = encoder.encode(
                self._clip.frame(index), wire_bytes=step.wire_bytes,
                header_bytes=self._header_bytes, key=step.intra,
            )  # fmt: skip
            encode_ns = perf_counter_ns() - began
        mode = "key" if coded.key else "p"
        packed = pack_gop(EncodedGop(index, 1, 1, coded.packets, (), encode_ns, mode))
        if self._cache is None:
            return packed, encode_ns
        (filed,) = self._cache.put_many([(self._keys[index + 1], (packed, encode_ns))])
        if filed[0] != packed:
            raise ToolFailedError(
                "the GRACE-style codec gave other bytes than the encode cache holds for the same "
                "input; remove them with: testbed clips cache --clear"
            )
        return filed


@DECODERS.register(CODEC)
def decode_pictures(
    received: Iterable[ReceivedFrame],
    *,
    width: int,
    height: int,
    conceal: bool,  # noqa: ARG001 - the codec always decodes what is there
    weights: str = DEFAULT_WEIGHTS,
) -> Iterator[DecodedFrame]:
    """Pictures of which something came; see `testbed.media.decoding.decode`.

    Args:
        received: the packets of a picture, as `testbed.codec.units` joins them.
        width: luma width.
        height: luma height.
        conceal: of no meaning here.
        weights: a shipped model or a file.

    Raises:
        InputError: no such weights, or the codec is not installed.
    """
    decoder: Decoder | None = None
    for frame in received:
        if not frame.data:
            continue
        if decoder is None:
            model = load(weights)
            from grace_style.decoder import Decoder

            decoder = Decoder(model, width=width, height=height)
        with one_thread():
            picture = decoder.decode(split_units(frame.data), frame=frame.index)
        if picture is not None:
            yield DecodedFrame(frame.index, picture, damaged=not frame.complete)


def time_decoder(clip: Clip, *, kbps: float, weights: str = DEFAULT_WEIGHTS) -> int:
    """Mean ns that decoding a picture takes on this machine, on one thread."""
    wire_bytes = round(kbps * 1000 / 8 / float(clip.fps))
    encoder = LivePictures(clip, {}, weights=weights, header_bytes=0, cache=EncodeCache.default())
    count = min(CALIBRATION_PICTURES, clip.frame_count)
    coded = [encoder.encode(index, wire_bytes=wire_bytes) for index in range(count)]
    from grace_style.decoder import Decoder

    decoder = Decoder(load(weights), width=clip.width, height=clip.height)
    with one_thread():
        decoder.decode(coded[0].units, frame=0)
        timed = coded[1:] or coded
        began = perf_counter_ns()
        for picture in timed:
            decoder.decode(picture.units, frame=picture.index)
        return (perf_counter_ns() - began) // len(timed)


def weights_sha256(weights: str = DEFAULT_WEIGHTS) -> str:
    """Hash of a weights file, without loading it or PyTorch.

    Raises:
        InputError: no such model or file.
    """
    return hash_of_weights("grace_style", weights, what="GRACE-style weights")


def codec_versions() -> dict[str, str]:
    """What codes besides the weights: hash of the sources, versions of what they stand on."""
    return {
        **core_versions(coding=True), "grace_style": hash_of_sources("grace_style"),
        "av": version("av"),
    }  # fmt: skip


def load(weights: str) -> Model:
    """Load a model.

    Raises:
        ToolMissingError: PyTorch or another package of the codec is not installed.
        InputError: no such weights, or they are damaged.
    """
    with needing_the_extra("the GRACE-style codec"):
        from grace_style.models import load_model
    try:
        return load_model(weights)
    except MorpheError as error:
        raise InputError(str(error)) from None


def _config(changes: Mapping[str, int]) -> EncoderConfig:
    with needing_the_extra("the GRACE-style codec"):
        from grace_style.config import EncoderConfig
    try:
        return EncoderConfig(**changes)
    except MorpheError as error:
        raise InputError(str(error)) from None
