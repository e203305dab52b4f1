"""Drawing from a model: what its parameters say is what comes out."""

import dataclasses
import json

import numpy as np
import pytest

from testbed.errors import TraceError
from testbed.randomness import generator
from testbed.traces.models.model import Session, TraceModel, from_json, load, smoothed_up
from testbed.traces.resolved import content_hash
from testbed.traces.statistics import autocorrelation, outage_lengths, seconds_grid

SESSION = Session(
    weight=1.0,
    level=float(np.log(1000.0)),
    offsets=(0.0,),
    spreads=(0.3,),
    top=3.0,
    memory=0.8,
    slow=1.0,
    transitions=((0.0, 1.0), (1.0, 0.0)),
    dwell_location=(float(np.log(10.0)), float(np.log(50.0))),
    dwell_scale=(0.5, 0.5),
    dwell_max=(100, 500),
    dead=1.0,
)
MODEL = TraceModel("test", "a test", 1.0, 0.0, (SESSION,))


def drawn(model: TraceModel, seconds: int = 20_000) -> np.ndarray:
    return seconds_grid(model.draw(seconds, generator(1, "x")))


def test_the_same_state_gives_the_same_trace_and_another_another():
    traces = [MODEL.draw(300, generator(seed, "x")) for seed in (1, 1, 2)]
    hashes = [content_hash(trace) for trace in traces]
    assert hashes[0] == hashes[1] != hashes[2]


def test_outages_alternate_with_capacity_as_the_dwell_times_say():
    grid = drawn(MODEL)
    lengths = outage_lengths(grid)
    # Mean of a log-normal: exp(location + scale^2 / 2).
    down, up = 10 * np.exp(0.125), 50 * np.exp(0.125)
    assert lengths.mean() == pytest.approx(down, rel=0.1)
    assert lengths.size == pytest.approx(20_000 / (down + up), rel=0.1)
    assert np.all(grid[grid < 100] == 0)  # dead


def test_level_spread_and_memory_without_outages():
    session = dataclasses.replace(SESSION, transitions=((0.0, 1.0), (0.0, 1.0)))
    grid = drawn(dataclasses.replace(MODEL, sessions=(session,)))
    logs = np.log(grid)
    assert logs.mean() == pytest.approx(np.log(1000), abs=0.03)
    assert logs.std() == pytest.approx(0.3, rel=0.05)
    for lag in (1, 2, 5):
        assert autocorrelation(logs, lag) == pytest.approx(0.8**lag, abs=0.05)


def test_white_flicker_takes_its_share():
    session = dataclasses.replace(SESSION, transitions=((0.0, 1.0), (0.0, 1.0)), slow=0.5)
    logs = np.log(drawn(dataclasses.replace(MODEL, sessions=(session,))))
    assert logs.std() == pytest.approx(0.3, rel=0.05)
    assert autocorrelation(logs, 1) == pytest.approx(0.4, abs=0.05)


def test_faint_outages_stay_under_the_limit_and_capacity_above():
    session = dataclasses.replace(SESSION, dead=0.0, spreads=(3.0,))
    rates = dataclasses.replace(MODEL, sessions=(session,)).draw(5000, generator(1, "x")).rates_kbps
    assert np.all((rates < 100) == (outage_mask(rates)))
    assert float(rates[rates < 100].min()) >= 10
    assert float(rates.max()) <= 1000 * np.exp(3.0) + 0.001


def outage_mask(rates):
    return rates < 99.95  # faint ones end at 99.9, capacity begins at 100


def test_sessions_are_picked_by_weight_and_never_mixed():
    high = dataclasses.replace(
        SESSION, level=float(np.log(100_000)), weight=3.0, transitions=((0.0, 1.0), (0.0, 1.0))
    )
    low = dataclasses.replace(high, level=float(np.log(1000)), weight=1.0)
    model = dataclasses.replace(MODEL, sessions=(high, low))
    means = np.array([model.draw(60, generator(seed, "x")).mean_kbps for seed in range(400)])
    fast = means > 10_000
    assert fast.mean() == pytest.approx(0.75, abs=0.07)
    assert means[~fast].max() < 3000


def test_level_jitter():
    session = dataclasses.replace(SESSION, transitions=((0.0, 1.0), (0.0, 1.0)), spreads=(0.0,))
    model = dataclasses.replace(MODEL, sessions=(session,), level_jitter=0.4)
    logs = [np.log(model.draw(1, generator(seed, "x")).mean_kbps) for seed in range(500)]
    assert np.std(logs) == pytest.approx(0.4, rel=0.1)


def test_a_coarse_grid_starts_anywhere_in_a_step():
    model = dataclasses.replace(MODEL, step_s=2.0)
    first = [model.draw(60, generator(seed, "x")) for seed in range(200)]
    assert all(trace.period_us == 60_000_000 for trace in first)
    starts = np.array([trace.durations_us[0] for trace in first]) / 1e6
    assert starts.mean() == pytest.approx(1.0, abs=0.15)
    assert set(first[0].durations_us[1:-1].tolist()) == {2_000_000}


def test_never_a_trace_without_capacity():
    for seed in range(100):
        assert MODEL.draw(1, generator(seed, "x")).mean_kbps > 0
    stuck = dataclasses.replace(SESSION, transitions=((1.0, 0.0), (1.0, 0.0)), dwell_max=(100, 1))
    with pytest.raises(TraceError, match=r"nothing but outages"):
        dataclasses.replace(MODEL, sessions=(stuck,)).draw(5, generator(1, "x"))


def test_ramp_is_a_mean_over_what_is_up():
    values = np.array([0.0, 0.0, 9.0, 3.0, 3.0])
    up = np.array([True, True, False, True, True])
    smooth = smoothed_up(values, up, 1)
    assert smooth[[0, 1, 3, 4]].tolist() == [0.0, 0.0, 3.0, 3.0]
    assert np.isnan(smooth[2])
    assert smoothed_up(values, up, 2)[1] == 1.0  # (0 + 0 + 3) / 3, the outage left out


def test_parameter_file_round_trip():
    text = MODEL.to_json()
    assert from_json(text) == dataclasses.replace(MODEL, sessions=(from_json(text).sessions[0],))
    assert from_json(text).to_json() == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "not a trace model of format 1"),
        ({"sessions": []}, "needs sessions"),
        ({"step_s": 0}, "step_s > 0"),
        ({"name": 5}, "must be text"),
        ({"extra": 1}, "extra"),
        ({"sessions": [{"weight": 1}]}, "KeyError"),
        ({"sessions": 5}, "TypeError"),
    ],
)
def test_bad_parameter_files(change, message):
    document = json.loads(MODEL.to_json()) | change
    with pytest.raises(TraceError) as caught:
        from_json(json.dumps(document))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("transitions", [[0.5, 0.2], [1, 0]], "must be probabilities"),
        ("transitions", [[0, 1]], "unequal length"),
        ("memory", 1.0, "out of range"),
        ("dead", 2, "out of range"),
        ("level", float("nan"), "not finite"),
        ("level", "high", "ValueError"),
        ("spreads", [-1.0], "negative spread"),
        ("dwell_max", [0, 5], "negative spread or dwell"),
    ],
)
def test_bad_sessions(field, value, message):
    document = json.loads(MODEL.to_json())
    document["sessions"][0][field] = value
    with pytest.raises(TraceError) as caught:
        from_json(json.dumps(document))
    assert message in str(caught.value)


def test_load_by_name_and_by_path(tmp_path):
    (tmp_path / "mine.json").write_text(MODEL.to_json())
    assert load("mine.json", base=tmp_path).name == "test"
    assert load("rail", base=tmp_path).name == "rail"
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(TraceError, match=r"broken.json: not JSON"):
        load("broken.json", base=tmp_path)


PINNED = {
    "driving": "e5377aea1d09d4b1",
    "metro": "084929f6e4d6f581",
    "puffer": "47d70547f3ecb5e6",
    "rail": "505620f3ab533a17",
}


@pytest.mark.parametrize(("name", "expected"), PINNED.items())
def test_shipped_models_draw_the_same_bytes_everywhere(name, expected, tmp_path):
    """Pinned: results refer to these draws. Change them only with the model, and say so."""
    trace = load(name, base=tmp_path).draw(120, generator(0, "pinned"))
    assert content_hash(trace)[:16] == expected
