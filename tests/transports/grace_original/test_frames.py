"""Frames of a codec of four calls as units, and over a lossy wire; no checkout, no compiler."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest

from testbed.codec.units import join_units
from testbed.media.clips import Clip
from testbed.media.types import ReceivedFrame
from testbed.protocol.congestion import FixedRate
from testbed.protocol.endpoint import Datagram, Event
from testbed.protocol.rtp import parse_rtp
from testbed.transports.base import FrameAbandoned, FrameDecoded, ReceiverContext, SenderContext
from testbed.transports.grace_original.codec import PCode, Rgb
from testbed.transports.grace_original.frames import STRUCTURE, GracePlanner, decode_frames
from testbed.transports.grace_original.options import GraceOriginalOptions
from testbed.transports.sized.receiver import SizedReceiver
from testbed.transports.sized.sender import SizedSender
from testbed.transports.sized.wire import parse_descriptor
from tests.transports.sized.bench import DEADLINE_NS, FPS, MS, drive

WIDTH, HEIGHT = 256, 128


class Blocks:
    """An `OriginalCodec`: differences of block means, 16x16, in 64 levels."""

    def encode_i(self, picture: Rgb) -> bytes:
        return np.rint(picture[:, ::4, ::4] * 255).astype(np.uint8).tobytes()

    def decode_i(self, data: bytes, *, height: int, width: int) -> Rgb:
        small = np.frombuffer(data, np.uint8).reshape(3, height // 4, width // 4)
        return np.kron(small.astype(np.float32) / 255, np.ones((4, 4), np.float32))

    def encode_p(self, picture: Rgb, reference: Rgb) -> PCode:
        rows, columns = HEIGHT // 16, WIDTH // 16
        gap = (picture - reference).reshape(3, rows, 16, columns, 16).mean(axis=(2, 4))
        residual = np.rint(gap * 64).astype(np.int16)
        return PCode(np.zeros((2, rows, columns), np.int16), residual, 2500.0)

    def decode_p(self, code: PCode, reference: Rgb) -> Rgb:
        grown = np.kron(code.residual.astype(np.float32) / 64, np.ones((16, 16), np.float32))
        return np.clip(reference + grown, 0, 1)


class Fading:
    """A clip that grows brighter from left to right and from frame to frame."""

    def __init__(self, count: int) -> None:
        self.frame_count, self.width, self.height, self.fps = count, WIDTH, HEIGHT, Fraction(30)

    def frame(self, index: int) -> Any:
        row = (40 + 3 * index + np.arange(WIDTH) // 4).astype(np.uint8)
        luma = np.tile(row, HEIGHT)
        return np.concatenate([luma, np.full(WIDTH * HEIGHT // 2, 128, np.uint8)])


def planner(count: int) -> GracePlanner:
    return GracePlanner(cast("Clip", Fading(count)), Blocks(), payload_bytes=1200, model="4096")


def pair(count: int) -> tuple[SizedSender, SizedReceiver]:
    options = GraceOriginalOptions(checkout="somewhere")
    sender = SizedSender(
        SenderContext(
            FPS, planner(count), FixedRate(kbps=20_000), lambda _: 0, DEADLINE_NS, options
        ),
        codec="grace-original",
        key_interval_ms=50,
    )
    context = ReceiverContext(FPS, lambda _scale=0: 0, DEADLINE_NS, options)
    return sender, SizedReceiver(context, STRUCTURE, key_interval_ms=50)


def shown(receiver: SizedReceiver, count: int) -> dict[int, float]:
    """Mean absolute error of luma of each frame that is decoded."""
    decoded = decode_frames(Blocks(), receiver.received_frames(count), width=WIDTH, height=HEIGHT)
    area, clip = WIDTH * HEIGHT, Fading(count)
    return {
        d.index: float(np.abs(d.picture[:area] - clip.frame(d.index)[:area].astype(int)).mean())
        for d in decoded
    }


def outcomes(events: list[Event]) -> dict[int, str]:
    return {e.index: e.outcome for e in events if isinstance(e, FrameDecoded)}


def unit_of(datagram: Datagram) -> int:
    return parse_descriptor(parse_rtp(datagram.data).payload).unit


def test_an_intra_frame_is_one_unit_and_others_a_patch_and_packets() -> None:
    plan = planner(4)
    slots = [plan.captured(n, wire_kbps=1, force_key=n == 3) for n in range(4)]
    assert [slot.key for slot in slots if slot] == [True, False, False, True]
    # 2500 bytes by the codec's own estimate make three packets, beside the patch.
    assert [slot.group_units for slot in slots if slot] == [1, 4, 4, 1]
    facts = plan.facts()
    assert facts["latents_estimated_bytes"] == 5000
    assert facts["latents_coded_bytes"] > 0


def test_over_a_clean_wire_the_decoder_has_what_the_encoder_has() -> None:
    sender, receiver = pair(12)
    events, _ = drive(sender, receiver, count=12)
    assert outcomes(events) == dict.fromkeys(range(12), "rendered")
    errors = shown(receiver, 12)
    assert len(errors) == 12
    assert max(errors.values()) < 5


@pytest.mark.parametrize("unit", [0, 1, 3])
def test_a_lost_unit_of_another_frame_is_not_asked_for_and_the_rest_is_shown(unit: int) -> None:
    sender, receiver = pair(12)
    events, sent = drive(
        sender, receiver, count=12,
        lose=lambda d: d.kind == "media" and d.frame == 5 and unit_of(d) == unit,
    )  # fmt: skip
    assert not [d for d in sent if d.kind == "retransmission"]
    found = outcomes(events)
    assert found[5] == "concealed"
    assert {found[n] for n in range(12) if n != 5} == {"rendered"}
    decoded = {e.index: e.decodable_ns for e in events if isinstance(e, FrameDecoded)}
    assert decoded[5] - decoded[4] < (34 + 34 + 6) * MS  # as soon as the next frame shows the loss
    assert len(shown(receiver, 12)) == 12


def test_of_an_intra_frame_a_lost_packet_is_asked_for() -> None:
    sender, receiver = pair(12)
    lost: list[Datagram] = []

    def lose(datagram: Datagram) -> bool:
        if datagram.frame == 0 and datagram.kind == "media" and not lost:
            lost.append(datagram)
            return True
        return False

    events, sent = drive(sender, receiver, count=12, lose=lose)
    assert [d.frame for d in sent if d.kind == "retransmission"] == [0]
    assert outcomes(events) == dict.fromkeys(range(12), "rendered")


def test_a_frame_of_which_nothing_comes_asks_for_an_intra_frame() -> None:
    sender, receiver = pair(20)
    events, _ = drive(sender, receiver, count=20, lose=lambda d: d.frame == 5)
    lost = {e.index: e.reason for e in events if isinstance(e, FrameAbandoned)}
    assert lost[5] == "nothing-arrived"
    again = max(lost) + 1
    assert again < 12
    found = shown(receiver, 20)
    assert sorted(found) == [*range(5), *range(again, 20)]


def test_missing_elements_are_zeros_so_a_still_place_stays_as_it_was() -> None:
    plan = planner(2)
    first, second = (plan.captured(n, wire_kbps=1, force_key=False) for n in range(2))
    assert first is not None
    assert second is not None
    nothing = join_units([b"", b"", b"", second.units[3].data])
    whole = join_units(unit.data for unit in second.units)
    intra = ReceivedFrame(0, key=True, data=join_units([first.units[0].data]), complete=True)
    pictures = {}
    for name, data in (("part", nothing), ("all", whole)):
        frames = [intra, ReceivedFrame(1, key=False, data=data, complete=True)]
        pictures[name] = list(decode_frames(Blocks(), frames, width=WIDTH, height=HEIGHT))
    assert [d.damaged for d in pictures["part"]] == [False, True]
    before, part = (pictures["part"][n].picture.astype(int) for n in (0, 1))
    full = pictures["all"][1].picture.astype(int)
    area = WIDTH * HEIGHT
    moved = np.abs(part - before)[:area] > 1
    assert 0.1 < moved.mean() < np.mean(np.abs(full - before)[:area] > 1)


def test_damaged_units_leave_the_picture_as_it_is() -> None:
    plan = planner(1)
    first = plan.captured(0, wire_kbps=1, force_key=False)
    assert first is not None
    frames = [
        ReceivedFrame(0, key=False, data=join_units([b"\1", b"\2"]), complete=True),
        ReceivedFrame(1, key=True, data=join_units([b"\1\2\3"]), complete=True),
        ReceivedFrame(2, key=True, data=join_units([first.units[0].data]), complete=True),
        ReceivedFrame(3, key=False, data=join_units([b"\0\7\0\7xx", b""]), complete=True),
        ReceivedFrame(4, key=False, data=join_units([b"", b"\1\1\1\1abc"]), complete=True),
        ReceivedFrame(5, key=False, data=b"", complete=False),
    ]
    decoded = list(decode_frames(Blocks(), frames, width=WIDTH, height=HEIGHT))
    assert [d.index for d in decoded] == [2]
