"""DCVC-RT's plan, and its stream over a lossy wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.errors import InputError
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.sized.plan import PACKET_HEADER_BYTES, Meter, media_bytes
from tests.transports.sized.bench import planner


def sizes(plan: Any, count: int, kbps: float = 300.0) -> list[int]:
    slots = [plan.captured(n, wire_kbps=kbps, force_key=False) for n in range(count)]
    return [slot.units[0].size_bytes for slot in slots]


@pytest.mark.parametrize("wire", [48.0, 500.0, 1247.0, 1248.0, 3000.7, 100_000.0])
def test_the_largest_unit_that_fits_with_its_headers(wire: float) -> None:
    room = 1200 - 7

    def on_wire(size: int) -> int:
        return size + -(-size // room) * PACKET_HEADER_BYTES

    size = media_bytes(wire, payload_bytes=1200)
    assert on_wire(size) <= wire
    assert on_wire(size + 1) > wire


@pytest.mark.parametrize("kbps", [40.0, 300.0, 2500.0])
def test_frames_and_their_headers_add_up_to_the_target(kbps: float) -> None:
    found = sizes(planner("dcvc-rt", 300), 300, kbps)
    wire = sum(size + -(-size // 1193) * PACKET_HEADER_BYTES for size in found)
    assert wire * 8 / 10 / 1000 == pytest.approx(kbps, rel=0.01)


def test_without_headers_the_sizes_alone_do() -> None:
    found = sizes(planner("dcvc-rt", 300, count_headers=False), 300)
    assert sum(found) * 8 / 10 / 1000 == pytest.approx(300, rel=0.001)


def test_a_large_intra_frame_is_paid_for_by_those_behind_it() -> None:
    found = sizes(planner("dcvc-rt", 60, intra_ratio=6, intra_period_frames=30), 60)
    assert found[0] / max(found[1:30]) == pytest.approx(6, rel=0.1)
    assert found[30] > 5 * found[29]
    assert found[1] == pytest.approx(found[29] / 2, abs=50)  # half, until it is paid
    wire = sum(size + -(-size // 1193) * PACKET_HEADER_BYTES for size in found)
    assert wire * 8 / 2 / 1000 == pytest.approx(300, rel=0.02)


def test_bits_per_pixel_make_sizes_whatever_the_target() -> None:
    # 0.005 bit a pixel (DiSCo, Fig. 5) at 512x512 and 30 fps: 39.3 kbit/s.
    plan = planner("dcvc-rt", 30, width=512, height=512, bpp=0.005)
    found = sizes(plan, 30, kbps=5000)
    assert set(found) == {164}
    assert sum(found) * 8 / 1000 == pytest.approx(0.005 * 512 * 512 * 30 / 1000, rel=0.01)
    assert plan.facts()["sizes"] == "given-bpp"


def test_a_file_says_the_sizes(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("frame,bytes\n0,4000\n1,100\n2,120\n")
    plan = planner("dcvc-rt", 3, sizes_from=str(path))
    assert sizes(plan, 3) == [4000, 100, 120]
    assert plan.facts()["sizes"] == "from-file"
    forced = planner("dcvc-rt", 3, sizes_from=str(path))
    assert forced.captured(0, wire_kbps=1, force_key=False).key
    assert forced.captured(1, wire_kbps=1, force_key=True).units[0].size_bytes == 4000
    with pytest.raises(InputError, match=r"mine\.csv: column frame: no row for frame 3"):
        planner("dcvc-rt", 4, sizes_from=str(path))
    made = TRANSPORTS.get("dcvc-rt")
    digest = made.made_with(parse_options(made, {"sizes_from": str(path)}))
    path.write_text("frame,bytes\n0,4000\n1,100\n2,121\n")
    assert made.made_with(parse_options(made, {"sizes_from": str(path)})) != digest


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"intra_ratio": 0.5}, "intra_ratio: must be in 1..50 (got 0.5)"),
        ({"bpp": -1}, "bpp: must be in 0..10 (got -1)"),
        ({"bpp": 0.1, "sizes_from": "x.csv"}, "bpp: sizes_from already says the sizes"),
        ({"key_requests": 1}, "key_requests: must be true or false (got 1)"),
        ({"max_tries": 2.5}, "max_tries: must be a whole number (got 2.5)"),
        ({"payload_bytes": 100}, "payload_bytes: must be in 200..1460 (got 100)"),
        ({"sizes_from": 3}, "sizes_from: must be a path (got 3)"),
        ({"retransmission": "no"}, "retransmission: must be true or false (got 'no')"),
        ({"rank": 8}, "unknown option 'rank'; known: sizes_from, retransmission"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_options(TRANSPORTS.get("dcvc-rt"), options)
    assert str(caught.value).startswith(f"transport dcvc-rt: {line}")


def test_a_debt_is_never_more_than_half_a_share_at_once() -> None:
    meter = Meter(fps=30, payload_bytes=1200, count_headers=False)
    first = meter.take(1, wire_kbps=240, weight=10)
    assert first == 10_000
    later = [meter.take(1, wire_kbps=240) for _ in range(20)]
    assert later[:17] == [500] * 17
    assert later[18:] == [1000, 1000]
