"""DiSCo's streams and the wait for a whole chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.errors import InputError
from testbed.protocol.endpoint import Datagram
from testbed.protocol.rtp import parse_rtp
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import FrameAbandoned, FrameDecoded, FrameEncoded
from testbed.transports.sized.disco import TEXT
from testbed.transports.sized.plan import PACKET_HEADER_BYTES
from testbed.transports.sized.wire import parse_descriptor
from tests.transports.sized.bench import MS, ONE_WAY_NS, capture_ns, drive, pair, planner


def slots(plan: Any, count: int, kbps: float = 40.0) -> list[Any]:
    found = [plan.captured(n, wire_kbps=kbps, force_key=False) for n in range(count)]
    return [slot for slot in found if slot is not None]


def total(found: list[Any]) -> int:
    return sum(unit.size_bytes for slot in found for unit in slot.units)


def number_of(datagram: Datagram) -> int:
    return parse_descriptor(parse_rtp(datagram.data).payload).unit


def test_a_chunk_is_a_caption_and_every_kept_frame() -> None:
    found = slots(planner("disco", 57, temporal=8), 57)
    assert [(slot.first, slot.frames) for slot in found] == [
        *((8 * n, 8) for n in range(7)),
        (56, 1),
    ]
    assert {slot.group_units for slot in found} == {9}  # 8 kept frames and a caption
    assert {slot.group_frames for slot in found} == {57}
    numbers = [unit.number for slot in found for unit in slot.units]
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 8, TEXT]
    assert found[-1].units[-1].size_bytes == 200


@pytest.mark.parametrize(("bpp", "kbps"), [(0.005, 39.3), (0.00045, 3.54)])
@pytest.mark.parametrize("temporal", [2, 4, 8])
def test_published_rate_points(bpp: float, kbps: float, temporal: int) -> None:
    """Figs. 2 and 5, and Fig. 11 (3.58 kbit/s, of a number of bits a pixel that is rounded)."""
    plan = planner("disco", 57, width=512, height=512, bpp=bpp, temporal=temporal)
    found = total(slots(plan, 57, kbps=9999)) * 8 * 30 / 57 / 1000
    assert found == pytest.approx(kbps, rel=0.01)
    assert plan.facts()["sizes"] == "published-rate-point"


def test_a_rate_below_the_caption_is_refused() -> None:
    with pytest.raises(InputError, match=r"bpp: 0\.00045 is 185 bytes .*320x180.*\(200\) take"):
        planner("disco", 60, width=320, height=180, bpp=0.00045)


@pytest.mark.parametrize("kbps", [30.0, 100.0])
def test_all_streams_and_their_headers_add_up_to_the_target(kbps: float) -> None:
    extra = {"auxiliary": "sketch", "auxiliary_bytes": 300}
    found = slots(planner("disco", 570, temporal=8, **extra), 570, kbps)
    units = [unit.size_bytes for slot in found for unit in slot.units]
    wire = sum(size + -(-size // 1193) * PACKET_HEADER_BYTES for size in units)
    assert wire * 8 / 19 / 1000 == pytest.approx(kbps, rel=0.02)


def test_every_frame_waits_for_its_whole_chunk() -> None:
    """Closed form: the first frame of 57 waits 56 captures, and all are shown in step with it."""
    sender, receiver = pair("disco", 114, kbps=5000, bpp=0.0005)
    events, _ = drive(sender, receiver, count=114)
    found = {e.index: e for e in events if isinstance(e, FrameDecoded)}
    assert len(found) == 114
    for index, event in found.items():
        expected_ns = 56 * 10**9 / 30 + ONE_WAY_NS
        assert event.render_ns - capture_ns(index) == pytest.approx(expected_ns, abs=12 * MS)
        assert event.outcome == "rendered"


def test_at_the_published_speed_nothing_is_in_time() -> None:
    sender, receiver = pair("disco", 114, kbps=400, encode_ns=97_890_000, decode_ns=396_200_000)
    events, _ = drive(sender, receiver, count=114, extra_ms=8500)
    coded = {e.index: e for e in events if isinstance(e, FrameEncoded)}
    assert coded[113].encode_end_ns == 114 * 97_890_000 + capture_ns(3)  # busy from frame 3 on
    shown = [e for e in events if isinstance(e, FrameDecoded)]
    assert len(shown) == 114
    assert {e.outcome for e in shown} == {"late"}
    first = shown[0]
    assert first.decode_end_ns - first.decodable_ns == 57 * 396_200_000


def test_a_chunk_without_its_caption_is_shown_for_what_it_is() -> None:
    sender, receiver = pair("disco", 171, kbps=400, retransmission=False)
    events, _ = drive(
        sender, receiver, count=171,
        lose=lambda d: d.kind == "media" and 57 <= d.frame < 114 and number_of(d) == TEXT,
    )  # fmt: skip
    outcomes = {e.index: e.outcome for e in events if isinstance(e, FrameDecoded)}
    assert {outcomes[n] for n in range(57, 114)} == {"concealed"}
    assert {outcomes[n] for n in [*range(57), *range(114, 171)]} == {"rendered"}
    assert receiver.facts()["groups"]["without-optional"] == 1


def test_a_chunk_without_a_kept_frame_is_lost_and_the_next_is_not() -> None:
    sender, receiver = pair("disco", 171, kbps=400, retransmission=False)
    events, _ = drive(sender, receiver, count=171, lose=lambda d: d.frame == 61)
    lost = {e.index: e.reason for e in events if isinstance(e, FrameAbandoned)}
    assert lost == dict.fromkeys(range(57, 114), "incomplete")
    assert sum(isinstance(e, FrameDecoded) for e in events) == 114


def test_a_file_has_a_row_for_each_stream(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(
        "frame,unit,bytes\n0,video,300\n4,video,90\n8,video,80\n0,text,150\n0,pose,40\n"
    )
    plan = planner("disco", 9, sizes_from=str(path), auxiliary="pose", chunk_frames=9)
    found = slots(plan, 9)
    assert [[u.size_bytes for u in slot.units] for slot in found] == [[300], [90], [80, 150, 40]]
    assert not plan.facts()["assumed"]
    with pytest.raises(InputError, match="row 6, column unit: must be one of video, text, sketch"):
        planner("disco", 9, sizes_from=str(path), auxiliary="sketch")
    with pytest.raises(InputError, match="no row for frame 9 and unit text"):
        planner("disco", 10, sizes_from=str(path), auxiliary="pose", chunk_frames=9)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"chunk_frames": 56}, "chunk_frames: must be one more than a multiple of 8 (got 56)"),
        ({"temporal": 3}, "temporal: must be one of 2, 4, 8 (got 3)"),
        ({"auxiliary": "depth"}, "auxiliary: must be one of \"\", sketch, pose (got 'depth')"),
        ({"auxiliary": "pose"}, "auxiliary_bytes: give a number with auxiliary sketch or pose"),
        ({"auxiliary_bytes": 5}, "auxiliary_bytes: give a number with auxiliary sketch or pose"),
        ({"spatial": True}, "spatial: must be one of 1, 2, 4 (got True)"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_options(TRANSPORTS.get("disco"), options)
    assert str(caught.value).startswith(f"transport disco: {line}")
