"""Promptus' arithmetic, and the wait for the next prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.errors import InputError
from testbed.protocol.endpoint import Datagram, Event
from testbed.protocol.rtp import parse_rtp
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import FrameAbandoned, FrameDecoded
from testbed.transports.sized.promptus import prompt_bytes
from tests.transports.sized.bench import MS, ONE_WAY_NS, capture_ns, drive, pair, planner


def slots(plan: Any, count: int, kbps: float = 300.0) -> list[Any]:
    found = [plan.captured(n, wire_kbps=kbps, force_key=False) for n in range(count)]
    return [slot for slot in found if slot is not None]


def latencies(events: list[Event]) -> dict[int, int]:
    return {
        e.index: e.render_ns - capture_ns(e.index) for e in events if isinstance(e, FrameDecoded)
    }


def test_sizes_are_the_published_arithmetic() -> None:
    # U 77x8 and V 8x1024, one byte each, and four float32: 8.8 kB a prompt.
    assert prompt_bytes(8) == 77 * 8 + 8 * 1024 + 4 * 4 == 8824
    found = slots(planner("promptus", 141, rank=8), 141)
    assert [slot.first + slot.frames - 1 for slot in found] == list(range(0, 141, 10))
    assert {slot.units[0].size_bytes for slot in found} == {8824}
    # The README's rounded 225 kbit/s has room for some container around the 212 of the prompts.
    assert found[1].target_kbps == pytest.approx(8824 * 8 * 3 / 1000)
    assert 200 < found[1].target_kbps < 225


@pytest.mark.parametrize(("kbps", "interval"), [(100.0, 10), (300.0, 10), (300.0, 30), (225.0, 10)])
def test_the_rank_is_the_highest_that_the_target_has_room_for(kbps: float, interval: int) -> None:
    plan = planner("promptus", 300, interval=interval)
    size = slots(plan, 300, kbps)[1].units[0].size_bytes

    def wire_kbps(one: int) -> float:
        return (one + -(-one // 1193) * 47) * 8 * 30 / interval / 1000

    rank = plan.facts()["rank"]
    assert size == prompt_bytes(rank)
    assert wire_kbps(size) <= kbps < wire_kbps(prompt_bytes(rank + 1))
    assert plan.facts()["sizes"] == "scaled-to-target"
    assert not plan.facts()["over_target"]


def test_the_rank_stays_when_the_target_moves() -> None:
    plan = planner("promptus", 100)
    sizes = {slot.units[0].size_bytes for slot in slots(plan, 50, 300)}
    later = [plan.captured(n, wire_kbps=900, force_key=False) for n in range(50, 100)]
    assert {slot.units[0].size_bytes for slot in later if slot} == sizes


def test_a_target_below_rank_1_is_exceeded_and_said() -> None:
    plan = planner("promptus", 20, interval=1)
    assert slots(plan, 20, 50)[0].units[0].size_bytes == prompt_bytes(1)
    assert plan.facts()["over_target"]


@pytest.mark.parametrize("interval", [1, 5, 10])
def test_every_frame_waits_for_the_next_prompt(interval: int) -> None:
    """Closed form: the frame after a prompt waits (interval - 1) captures for the next prompt, all
    frames are shown in step, so this is the latency of each; the path's delay comes on top."""
    count = 6 * interval + 1
    sender, receiver = pair("promptus", count, kbps=20_000, rank=1, interval=interval)
    events, _ = drive(sender, receiver, count=count)
    found = latencies(events)
    assert sorted(found) == list(range(count))
    wait_ns = (interval - 1) * 10**9 / 30
    for index in range(1, count):
        assert found[index] == pytest.approx(wait_ns + ONE_WAY_NS, abs=2 * MS)
    assert found[0] == pytest.approx(ONE_WAY_NS, abs=2 * MS)


def test_decoding_a_whole_interval_comes_on_top() -> None:
    sender, receiver = pair("promptus", 31, kbps=20_000, rank=1, decode_ns=6 * MS)
    events, _ = drive(sender, receiver, count=31)
    expected_ns = 9 * 10**9 / 30 + ONE_WAY_NS + 10 * 6 * MS
    assert latencies(events)[11] == pytest.approx(expected_ns, abs=2 * MS)


def test_without_a_prompt_both_its_intervals_are_lost_but_the_next_key_frame_is_not() -> None:
    sender, receiver = pair("promptus", 51, kbps=20_000, rank=1, retransmission=False)
    events, _ = drive(sender, receiver, count=51, lose=lambda d: d.frame == 11)  # prompt of 20
    lost = {e.index: e.reason for e in events if isinstance(e, FrameAbandoned)}
    assert {n: lost[n] for n in range(11, 21)} == dict.fromkeys(range(11, 21), "nothing-arrived")
    assert {n: lost[n] for n in range(21, 30)} == dict.fromkeys(range(21, 30), "reference-lost")
    assert set(lost) == set(range(11, 30))
    assert sorted(latencies(events)) == [*range(11), *range(30, 51)]


def test_the_last_packets_of_a_prompt_are_asked_for_long_before_the_next_prompt() -> None:
    sender, receiver = pair("promptus", 51, kbps=20_000, rank=8)
    lost: list[Datagram] = []

    def lose(datagram: Datagram) -> bool:
        last = datagram.kind == "media" and parse_rtp(datagram.data).marker
        if last and datagram.frame == 11 and not lost:
            lost.append(datagram)
            return True
        return False

    events, sent = drive(sender, receiver, count=51, lose=lose)
    assert [d.frame for d in sent if d.kind == "retransmission"] == [11]
    found = latencies(events)
    assert sorted(found) == list(range(51))
    # A report, the tolerance for reordering, a round trip: 45 ms, not the 333 to the next prompt.
    assert found[11] == pytest.approx(found[1] + 45 * MS, abs=8 * MS)


def test_the_clip_ends_with_a_prompt_of_its_last_frame() -> None:
    sender, receiver = pair("promptus", 25, kbps=20_000, rank=1)
    events, _ = drive(sender, receiver, count=25)
    found = latencies(events)
    assert sorted(found) == list(range(25))
    assert found[24] == pytest.approx(ONE_WAY_NS + 9 * 10**9 / 30, abs=100 * MS)


def test_a_file_needs_a_row_for_each_prompt(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("frame,bytes\n0,11312\n10,11312\n14,9000\n")
    plan = planner("promptus", 15, sizes_from=str(path))
    assert [slot.units[0].size_bytes for slot in slots(plan, 15)] == [11312, 11312, 9000]
    assert plan.facts()["sizes"] == "from-file"
    with pytest.raises(InputError, match="no row for frame 15"):
        planner("promptus", 16, sizes_from=str(path))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"rank": 78}, "rank: must be in 0..77 (got 78)"),
        ({"interval": 0}, "interval: must be in 1..255 (got 0)"),
        ({"rank": 8, "sizes_from": "p.csv"}, "rank: sizes_from already says the sizes"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_options(TRANSPORTS.get("promptus"), options)
    assert str(caught.value) == f"transport promptus: {line}"
