"""Sabre and AlphaRTC, the two JSON formats."""

import json

import numpy as np
import pytest

from testbed.errors import TraceError
from testbed.network.trace import RateTrace
from testbed.traces.formats import read_file, write_text


def sabre(*samples: tuple[float, float]) -> str:
    return json.dumps(
        [{"duration_ms": d, "bandwidth_kbps": r, "latency_ms": 100} for d, r in samples]
    )


def test_sabre_plays_in_order(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(sabre((1001, 1116), (0, 9), (1019.5, 0)))
    name, series = read_file(path)
    assert name == "sabre"
    # A sample of no length is nothing; latency is a setting of Sabre's and left out.
    assert series[0].trace.durations_us.tolist() == [1_001_000, 1_019_500]
    assert series[0].trace.rates_kbps.tolist() == [1116.0, 0.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "at least one sample"),
        ("{}", "JSON list"),
        ("[1]", "sample 1 is not an object"),
        ('[{"duration_ms": 1}]', "sample 1 has no bandwidth_kbps"),
        ('[{"duration_ms": "1", "bandwidth_kbps": 1}]', "duration_ms is '1'; must be a number"),
        ('[{"duration_ms": true, "bandwidth_kbps": 1}]', "must be a number"),
        ('[{"duration_ms": 1, "bandwidth_kbps": -1}]', "must be finite and >= 0"),
        ('[{"duration_ms": 1, "bandwidth_kbps": NaN}]', "must be finite and >= 0"),
        ('[{"duration_ms": 1e300, "bandwidth_kbps": 1}]', "100 days"),
        ('[{"duration_ms": 1, "bandwidth_kbps": 1e300}]', "1000 Gbps"),
        ('[\n{"duration_ms": 1', "line 2: not JSON"),
        ("[" * 100_000, "not usable JSON"),
        (sabre((1000, 0)), "no capacity"),
    ],
)
def test_sabre_refuses(tmp_path, content, message):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(TraceError) as caught:
        read_file(path, format_name="sabre")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def alphartc(**directions: list[dict[str, float]]) -> str:
    return json.dumps(
        {"type": "video"} | {name: {"trace_pattern": p} for name, p in directions.items()}
    )


def test_alphartc_zero_capacity_is_an_outage(tmp_path):
    path = tmp_path / "5G.json"
    path.write_text(
        alphartc(uplink=[{"capacity": 0, "duration": 200}, {"capacity": 6320, "duration": 199}])
    )
    name, series = read_file(path)
    assert name == "alphartc"
    assert series[0].trace.rates_kbps.tolist() == [0.0, 6320.0]
    assert series[0].trace.durations_us.tolist() == [200_000, 199_000]
    assert series[0].notes == ()


def test_alphartc_with_both_directions(tmp_path):
    path = tmp_path / "both.json"
    up = [{"capacity": 300, "duration": 1000, "loss": 2, "rtt": 50, "jitter": 0}]
    down = [{"capacity": 900, "duration": 1000}]
    path.write_text(alphartc(uplink=up, downlink=down))
    series = read_file(path)[1]
    assert [part.segment for part in series] == ["uplink", "downlink"]
    assert "loss, rtt of the file left out" in series[0].notes[0]
    only = read_file(path, options={"direction": "downlink"})[1]
    assert [part.trace.mean_kbps for part in only] == [900.0]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ('{"trace_pattern": 1}', {}, "no trace_pattern under uplink or downlink"),
        (alphartc(uplink=[{"capacity": 1}]), {}, "uplink.trace_pattern[0] has no duration"),
        ('{"uplink": {"trace_pattern": 5}}', {}, "uplink.trace_pattern is not a list"),
        ('{"uplink": {"trace_pattern": [5]}}', {}, "trace_pattern[0] is not an object"),
        (alphartc(uplink=[]), {"direction": "sideways"}, "not one of uplink, downlink"),
        ("[]", {}, "JSON object"),
    ],
)
def test_alphartc_refuses(tmp_path, content, options, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(TraceError) as caught:
        read_file(path, format_name="alphartc", options=options)
    assert message in str(caught.value)


def test_alphartc_round_trip_keeps_every_digit(tmp_path):
    trace = RateTrace(np.array([200_000, 1_234_567, 1]), np.array([0.0, 1 / 3, 6320.0]))
    path = tmp_path / "x.json"
    path.write_text(write_text(trace, "alphartc"))
    back = read_file(path)[1][0].trace
    assert back.durations_us.tolist() == trace.durations_us.tolist()
    assert back.rates_kbps.tolist() == trace.rates_kbps.tolist()
