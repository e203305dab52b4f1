from __future__ import annotations

from collections.abc import Callable
from typing import Any

import handmade
import numpy as np
import pandas as pd
import pytest

from testbed.analysis.metrics.columns import (
    frame_columns,
    link_columns,
    packet_columns,
    session,
)
from testbed.errors import BrokenLogError

MS = handmade.MS


def spoil(table: pd.DataFrame, row: int, column: str, value: Any) -> pd.DataFrame:
    spoilt = table.copy()
    spoilt[column] = spoilt[column].astype(object)
    spoilt.loc[row, column] = value
    return spoilt


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (1, "render_ns", 50 * MS, "render_ns 50000000 before decode_end_ns"),
        (1, "decodable_ns", 110 * MS, "decodable_ns 110000000 before first_arrival_ns"),
        (1, "first_arrival_ns", 101 * MS, "first_arrival_ns 101000000 before first_sent_ns"),
        (1, "encode_end_ns", 90 * MS, "encode_end_ns 90000000 before encode_start_ns"),
        (1, "last_sent_ns", 90 * MS, "last_sent_ns 90000000 before first_sent_ns"),
        (1, "outcome", "shown", "unknown outcome 'shown'; known: rendered"),
        (1, "outcome", "undecodable", "frame 1 is undecodable but has a render_ns"),
        (1, "render_ns", None, "frame 1 is rendered but has no render_ns"),
        (1, "capture_ns", 0, "frame 1 was not captured after frame 0"),
        (1, "capture_ns", None, "row 1 has no capture_ns"),
        (1, "frame", 5, "must count 0, 1, 2"),
        (1, "media_bytes", -1, "row 1 has media_bytes -1"),
        (1, "packets_lost", 2, "packets_lost 2, more than all 1"),
        (1, "render_ns", "soon", "render_ns must hold numbers"),
    ],
)
def test_contradicting_frames_are_refused(row: int, column: str, value: Any, message: str) -> None:
    table = handmade.frames([60, 70, 80])
    frame_columns(table)
    with pytest.raises(BrokenLogError, match=r"^frames: ") as caught:
        frame_columns(spoil(table, row, column, value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_null_between_hides_no_contradiction() -> None:
    table = spoil(handmade.frames([60, 70]), 0, "decode_end_ns", None)
    table = spoil(table, 0, "decodable_ns", None)
    table = spoil(table, 0, "first_arrival_ns", None)
    frame_columns(table)
    with pytest.raises(BrokenLogError, match="render_ns"):
        frame_columns(spoil(table, 0, "render_ns", -1))


def test_frames_rendered_out_of_order_are_refused() -> None:
    with pytest.raises(BrokenLogError, match="frame 1 was rendered before an earlier frame"):
        frame_columns(handmade.frames([300, 60]))


def test_concealment_may_come_before_the_packets() -> None:
    table = handmade.frames([60, 70], outcomes=["rendered", "concealed"])
    table = spoil(table, 1, "first_arrival_ns", 900 * MS)
    assert frame_columns(table).shown.tolist() == [True, True]
    with pytest.raises(BrokenLogError, match="decodable_ns"):
        frame_columns(spoil(table, 1, "outcome", "rendered"))


@pytest.mark.parametrize("column", ["render_ns", "outcome", "header_bytes", "target_kbps"])
def test_missing_columns_are_named(column: str) -> None:
    with pytest.raises(BrokenLogError, match=f"frames: lacks column {column}"):
        frame_columns(handmade.frames([60]).drop(columns=column))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("arrival_ns", 1 * MS, "arrival_ns 1000000 before link_out_ns"),
        ("link_in_ns", 1 * MS, "link_in_ns 1000000 before sent_ns"),
        ("drop", "loss", "row 1 was dropped (loss) and yet arrived"),
        ("drop", "eaten", "unknown drop 'eaten'"),
        ("direction", "left", "unknown direction 'left'"),
        ("size_bytes", 31, "row 1 has size_bytes 31; must be >= 32"),
        ("sent_ns", None, "row 1 has no sent_ns"),
    ],
)
def test_contradicting_packets_are_refused(column: str, value: Any, message: str) -> None:
    table = handmade.one_packet_a_frame(3)
    packet_columns(table)
    with pytest.raises(BrokenLogError, match=r"^packets: ") as caught:
        packet_columns(spoil(table, 1, column, value))
    assert message in str(caught.value)


def test_packets_before_the_link_when_nothing_else_is_known() -> None:
    table = spoil(handmade.one_packet_a_frame(2), 1, "link_in_ns", None)
    table = spoil(table, 1, "link_out_ns", None)
    with pytest.raises(BrokenLogError, match="arrival_ns 1 before sent_ns"):
        packet_columns(spoil(table, 1, "arrival_ns", 1))


def test_bins_must_go_forward() -> None:
    table = handmade.link([1, 1, 1], [0, 0, 0])
    with pytest.raises(BrokenLogError, match="time_ns must increase"):
        link_columns(spoil(table, 2, "time_ns", 0))
    with pytest.raises(BrokenLogError, match="capacity_bytes -4"):
        link_columns(spoil(table, 1, "capacity_bytes", -4))


def test_times_survive_as_whole_nanoseconds() -> None:
    # An hour and one nanosecond, beside a null that makes pandas turn the column into floats.
    table = handmade.frames([60, None])
    table["capture_ns"] = [3_600_000_000_001, 3_600_000_000_002]
    table = table.assign(
        **{c: [np.nan, np.nan] for c in table.columns if c.endswith("_ns") and c != "capture_ns"},
        outcome="not_sent",
    )
    found = frame_columns(table).capture_ns
    assert found.astype(np.int64).tolist() == [3_600_000_000_001, 3_600_000_000_002]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["cell"].pop("fps"), "'fps'"),
        (lambda m: m.pop("warmup_s"), "'warmup_s'"),
        (lambda m: m["cell"].update(fps=0), "must be > 0"),
        (lambda m: m["cell"].update(duration_s=9), "2 rows where 9 s at 10 fps make 90"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    facts = handmade.manifest(2)
    session(facts, handmade.frames([60, 60]))
    change(facts)
    with pytest.raises(BrokenLogError) as caught:
        session(facts, handmade.frames([60, 60]))
    assert message in str(caught.value)


def test_an_empty_frame_table_is_refused() -> None:
    with pytest.raises(BrokenLogError, match="the table is empty"):
        session(handmade.manifest(1), handmade.frames([]))
