from __future__ import annotations

import json
from typing import Any

import handmade
import pytest
from synthetic_runs import Cell, manifest, tables

from testbed.analysis.metrics import DEFINITIONS, METRICS_VERSION, definition, summarise
from testbed.errors import BrokenLogError, UnknownNameError


def summary(**changes: Any) -> dict[str, Any]:
    parts = {
        "frames": handmade.frames([60] * 10),
        "packets": handmade.one_packet_a_frame(10),
        "control": handmade.control([100 * i for i in range(1, 11)], [11.2] * 10),
        "link": handmade.link([1000] * 10, [144] * 10),
    }
    return summarise(**(parts | changes), manifest=handmade.manifest(10))


def test_a_summary_holds_exactly_the_defined_metrics_in_order() -> None:
    assert list(summary()) == ["metrics_version", *DEFINITIONS]
    assert summary()["metrics_version"] == METRICS_VERSION


def test_a_summary_is_json_without_nan() -> None:
    assert json.loads(json.dumps(summary(), allow_nan=False)) == summary()


def test_a_clean_session_by_hand() -> None:
    found = summary()
    expected = {
        "frames": 10,
        "frame_delay_ms_p50": 52,
        "latency_ms_p99": 60,
        "rendered_fps": 10,
        "utilisation": 0.144,
        "capacity_kbps": 80,
        "wire_kbps": 11.2,
        "wire_over_target": 1,
        "media_share": 100 / 140,
        "goodput_share": 100 / 140,
        "tracking_error": 0,
        "overshoot_share": 0,
        "realised_loss": 0,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["vmaf_mean"] is None


def test_a_broken_table_stops_the_summary() -> None:
    with pytest.raises(BrokenLogError):
        summary(frames=handmade.frames([60] * 9 + [-10]))
    with pytest.raises(BrokenLogError, match="control: lacks column"):
        summary(control=handmade.control([], []).drop(columns="target_kbps"))


def test_every_metric_is_explained() -> None:
    for metric in DEFINITIONS.values():
        assert metric.title
        assert len(metric.definition) > 10
        assert metric.unit in ("", "ms", "fps", "share", "kbit/s", "dB")


def test_titles_with_units_tell_metrics_apart() -> None:
    seen = [(metric.title, metric.unit) for metric in DEFINITIONS.values()]
    assert len(seen) == len(set(seen))


def test_unknown_metrics_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown metric 'delay'; known: frames"):
        definition("delay")


@pytest.mark.parametrize("transport", ["h264", "morphe", "h265-fec"])
def test_whole_synthetic_sessions_are_consistent(transport: str) -> None:
    cell = Cell(loss_rate=0.2)
    found = summarise(**tables(cell, transport, 1), manifest=manifest(cell, transport, 1))
    assert found["frames"] == 120
    # Bernoulli(0.2) over at least 300 packets: within five standard deviations.
    assert found["realised_loss"] == pytest.approx(0.2, abs=5 * (0.16 / 300) ** 0.5)
    assert 0 < found["goodput_share"] <= found["media_share"] < 1
    assert found["latency_ms_p50"] > found["frame_delay_ms_p50"] > 50
