from __future__ import annotations

from typing import Any

import handmade
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.metrics.columns import (
    Session,
    frame_columns,
    link_columns,
    packet_columns,
)
from testbed.analysis.metrics.wire import (
    byte_shares,
    losses,
    mode_switches,
    queue_delay_ms_p95,
    rates,
    tracking,
    utilisation,
    window_rates,
)
from testbed.errors import BrokenLogError


def session(duration_s: float = 1.0, warmup_s: float = 0.0, fps: float = 10.0) -> Session:
    return Session(fps=fps, duration_s=duration_s, deadline_ms=400.0, warmup_s=warmup_s)


def test_utilisation_leaves_out_warmup_and_what_comes_after_the_media() -> None:
    link = link_columns(handmade.link([1000] * 12, [0] * 5 + [800] * 5 + [1000] * 2))
    share, capacity = utilisation(link, session(1.0, warmup_s=0.5))
    assert share == pytest.approx(0.8)
    assert capacity == pytest.approx(5000 * 8 / 1e3 / 0.5)
    assert utilisation(link, session(1.0))[0] == pytest.approx(0.4)


@pytest.mark.parametrize("delivered", [0, 500])
def test_utilisation_without_capacity_is_undefined(delivered: int) -> None:
    link = link_columns(handmade.link([0] * 10, [delivered] * 10))
    assert utilisation(link, session()) == (None, None)


def test_more_delivered_than_offered_is_a_broken_log() -> None:
    link = link_columns(handmade.link([1000] * 10, [1400] * 10))
    with pytest.raises(BrokenLogError, match="14000 bytes delivered where only 10000"):
        utilisation(link, session())


def test_uplink_bins_do_not_count() -> None:
    table = handmade.link([1000] * 10, [500] * 10)
    up = table.copy()
    up["direction"] = "up"
    up["capacity_bytes"] = 7
    import pandas as pd

    share, _ = utilisation(link_columns(pd.concat([table, up])), session())
    assert share == pytest.approx(0.5)


def shares(rows: list[dict[str, Any]], latencies: list[float | None], **kw: Any) -> dict[str, Any]:
    frames = frame_columns(handmade.frames(latencies))
    found = byte_shares(frames, packet_columns(handmade.packets(rows)), session(**kw))
    return {name: value for name, value in found.items() if value}


def test_byte_shares_by_hand() -> None:
    # Two media packets of 140 bytes (40 of them header), one FEC of 120, one repeat of 140, 60 of
    # padding, 100 of a kind of somebody else's: 700 bytes. Frame 1 is never shown.
    rows = [
        handmade.packet(0, 5),
        handmade.packet(1, 105, drop="loss"),
        handmade.packet(0, 6, 120, kind="fec"),
        handmade.packet(1, 200, 140, kind="retransmission", drop="loss"),
        handmade.packet(None, 300, 60, kind="padding"),
        handmade.packet(None, 310, 100, kind="probe"),
    ]
    assert shares(rows, [60, None]) == pytest.approx(
        {
            "media_share": 200 / 700,
            "header_share": 80 / 700,
            "fec_share": 120 / 700,
            "retransmission_share": 140 / 700,
            "padding_share": 60 / 700,
            "other_share": 100 / 700,
            "goodput_share": 100 / 700,
        }
    )


def test_byte_shares_follow_the_frame_over_the_warmup() -> None:
    # Frame 0 belongs to the warm-up although its repeat is sent after it.
    rows = [
        handmade.packet(0, 5),
        handmade.packet(1, 105),
        handmade.packet(0, 150, 140, kind="retransmission"),
    ]
    found = shares(rows, [60, 60], duration_s=0.2, warmup_s=0.1)
    assert found == pytest.approx(
        {"media_share": 100 / 140, "header_share": 40 / 140, "goodput_share": 100 / 140}
    )


def test_nothing_sent_has_no_shares() -> None:
    frames = frame_columns(
        handmade.frames([None], header_bytes=[0], packets_sent=[0], packets_lost=[0])
    )
    found = byte_shares(frames, packet_columns(handmade.packets([])), session(0.1))
    assert set(found.values()) == {None}


def test_more_header_than_packet_is_a_broken_log() -> None:
    with pytest.raises(BrokenLogError, match="frame 0 has header_bytes 40"):
        shares([handmade.packet(1, 105)], [60, 60])


def test_packets_of_unknown_frames_are_a_broken_log() -> None:
    with pytest.raises(BrokenLogError, match="frame 9 where the clip has 2"):
        shares([handmade.packet(9, 5)], [60, 60])


def test_losses_by_hand() -> None:
    rows = [
        handmade.packet(0, 5),
        handmade.packet(0, 6, drop="queue", link_out_ns=None),
        handmade.packet(0, 7, drop="loss"),
        handmade.packet(0, 8),
        handmade.packet(0, 9),
        handmade.packet(0, 9, drop="loss", direction="up"),
    ]
    assert losses(packet_columns(handmade.packets(rows))) == pytest.approx(
        {"realised_loss": 1 / 4, "queue_drop_share": 1 / 5}
    )
    assert losses(packet_columns(handmade.packets([]))) == {
        "realised_loss": None,
        "queue_drop_share": None,
    }


def test_wire_rate_and_target_over_the_same_time() -> None:
    packets = packet_columns(handmade.one_packet_a_frame(10))
    table = handmade.control([100 * (i + 1) for i in range(10)], [99.0] * 5 + [14.0] * 5)
    found = rates(packets, table, session(1.0, warmup_s=0.5))
    # 5 packets of 140 IP bytes in 0.5 s; rows at 600 .. 1000 ms speak of that time.
    assert found == pytest.approx({"wire_kbps": 11.2, "target_kbps": 14.0, "wire_over_target": 0.8})


def test_rates_of_a_run_shorter_than_its_warmup_are_undefined() -> None:
    found = rates(
        packet_columns(handmade.one_packet_a_frame(3)),
        handmade.control([100], [9.0]),
        session(0.3, 1.0),
    )
    assert set(found.values()) == {None}


def test_rates_without_any_target() -> None:
    packets = packet_columns(handmade.one_packet_a_frame(10))
    found = rates(packets, handmade.control([100], [None]), session())
    assert found["target_kbps"] is None
    assert found["wire_over_target"] is None


def test_tracking_by_hand() -> None:
    # 1 s windows of ten frames: 8, 10 and 6 kbit/s against 8: errors 0, 1/4, 1/4.
    frames = frame_columns(
        handmade.frames([60] * 30, media_bytes=[100] * 10 + [125] * 10 + [75] * 10)
    )
    found = tracking(frames, session(3.0))
    assert found["tracking_error"] == pytest.approx(1 / 6)
    assert found["overshoot_share"] == pytest.approx(1 / 3)


def test_tracking_takes_whole_windows_only() -> None:
    frames = frame_columns(handmade.frames([60] * 15, media_bytes=[100] * 10 + [9999] * 5))
    encoded, target = window_rates(frames, session(1.5))
    np.testing.assert_allclose(encoded, [8.0])
    np.testing.assert_allclose(target, [8.0])
    assert tracking(frame_columns(handmade.frames([60] * 5)), session(0.5)) == {
        "tracking_error": None,
        "overshoot_share": None,
    }


def test_frames_without_a_target_do_not_move_the_mean_target() -> None:
    frames = frame_columns(handmade.frames([60] * 10, target_kbps=[np.nan] * 5 + [16.0] * 5))
    _, target = window_rates(frames, session(1.0))
    assert target == pytest.approx([16.0])


def test_a_target_of_zero_is_a_broken_log() -> None:
    frames = frame_columns(handmade.frames([60] * 10, target_kbps=[0.0] * 10))
    with pytest.raises(BrokenLogError, match="frame 0 has target_kbps"):
        tracking(frames, session(1.0))


KINDS = ("media", "fec", "retransmission", "padding", "elsewhere")


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(100, 1400), st.integers(0, 9)), max_size=40
    )
)
def test_byte_shares_sum_to_one(extra: list[tuple[str, int, int]]) -> None:
    rows = [handmade.packet(index, index * 100 + 5) for index in range(10)]
    rows += [handmade.packet(f, f * 100 + 6, size, kind=kind) for kind, size, f in extra]
    frames = frame_columns(handmade.frames([60] * 10))
    found = byte_shares(frames, packet_columns(handmade.packets(rows)), session())
    parts = {k: v for k, v in found.items() if k != "goodput_share" and v is not None}
    assert sum(parts.values()) == pytest.approx(1)
    assert all(0 <= value <= 1 for value in parts.values())
    goodput, media = found["goodput_share"], found["media_share"]
    assert goodput is not None
    assert media is not None
    assert goodput <= media + 1e-12


def test_mode_switches_are_changes_after_the_warmup() -> None:
    modes = ["3x", "2x", "2x", "3x", "3x-select", "3x-select", "", "3x-select", "", "3x"]
    frames = frame_columns(handmade.frames([60] * 10, mode=modes))
    assert mode_switches(frames, session()) == 4
    # From frame 2 on: into 3x, 3x-select, and back to 3x; a frame without a mode changes nothing.
    assert mode_switches(frames, session(warmup_s=0.2)) == 3
    assert mode_switches(frames, session(warmup_s=0.9)) == 0


def test_a_scheme_of_one_mode_never_switches_and_one_without_has_no_count() -> None:
    assert mode_switches(frame_columns(handmade.frames([60] * 4)), session()) == 0
    nameless = frame_columns(handmade.frames([60] * 4, mode=[""] * 4))
    assert mode_switches(nameless, session()) is None


def test_queueing_delay_is_that_of_packets_which_left_the_bottleneck() -> None:
    ms = handmade.MS
    waits = range(1, 102)  # 1..101 ms: the 95th percentile is 96 ms
    rows = [
        handmade.packet(0, 5 * at, link_in_ns=5 * at * ms, link_out_ns=(5 * at + wait) * ms,
                        arrival_ns=(5 * at + wait + 50) * ms)
        for at, wait in enumerate(waits)
    ]  # fmt: skip
    dropped = handmade.packet(0, 1, link_out_ns=None, drop="queue")
    back = handmade.packet(0, 1, direction="up", link_out_ns=900 * ms, arrival_ns=950 * ms)
    packets = packet_columns(handmade.packets([*rows, dropped, back]))
    assert queue_delay_ms_p95(packets, session()) == pytest.approx(96)
    # From 500 ms on only the last is left; and none is after the end.
    assert queue_delay_ms_p95(packets, session(warmup_s=0.5)) == pytest.approx(101)
    assert queue_delay_ms_p95(packets, session(warmup_s=0.6)) is None
