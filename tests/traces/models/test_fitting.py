"""The estimator finds the parameters of what a known model has drawn."""

import dataclasses

import numpy as np
import pytest

from testbed.errors import TraceError
from testbed.randomness import generator
from testbed.traces.models.corpus import Recording
from testbed.traces.models.fitting import dwell_fit, fit
from testbed.traces.models.model import Session, TraceModel
from testbed.traces.statistics import seconds_grid

TRUTH = Session(
    weight=1.0,
    level=float(np.log(2000.0)),
    offsets=(-0.8, 0.0, 0.8),
    spreads=(0.2, 0.2, 0.2),
    top=3.0,
    memory=0.7,
    slow=1.0,
    transitions=(
        (0.0, 1.0, 0.0, 0.0),
        (0.3, 0.0, 0.7, 0.0),
        (0.0, 0.5, 0.0, 0.5),
        (0.0, 0.1, 0.9, 0.0),
    ),
    dwell_location=(2.0, 3.2, 3.2, 3.2),
    dwell_scale=(0.8, 0.4, 0.4, 0.4),
    dwell_max=(200, 200, 200, 200),
    dead=0.6,
)
MODEL = TraceModel("truth", "truth", 1.0, 0.0, (TRUTH,))


def recordings(count: int, seconds: int = 3600) -> list[Recording]:
    return [
        Recording(f"x__{k}", "x", (seconds_grid(MODEL.draw(seconds, generator(k, "truth"))),))
        for k in range(count)
    ]


@pytest.mark.parametrize(("location", "scale"), [(0.0, 0.5), (1.0, 1.2), (3.0, 0.7)])
def test_dwell_fit_recovers_a_rounded_log_normal(location, scale):
    rng = np.random.default_rng(3)
    lengths = np.maximum(np.rint(np.exp(rng.normal(location, scale, 3000))), 1).astype(np.int64)
    m, s = dwell_fit(lengths, lengths[:0])
    assert m == pytest.approx(location, abs=0.08)
    assert s == pytest.approx(scale, abs=0.08)


def test_dwell_fit_leans_on_the_pool_when_it_has_little():
    pool = np.full(1000, 100, dtype=np.int64)
    own = np.array([5], dtype=np.int64)
    assert dwell_fit(own[:0], pool)[0] == pytest.approx(np.log(100), abs=0.1)
    assert np.log(5) < dwell_fit(own, pool)[0] < np.log(100)
    assert dwell_fit(np.full(500, 5), pool)[0] == pytest.approx(np.log(5), abs=0.1)
    assert dwell_fit(own[:0], own[:0]) == (0.0, 0.1)


def test_a_session_comes_back():
    model = fit(recordings(1), name="again", title="again", step_s=1.0)
    (session,) = model.sessions
    drawn = seconds_grid(MODEL.draw(3600, generator(0, "truth")))
    assert session.level == pytest.approx(float(np.log(drawn[drawn >= 100]).mean()))
    assert session.offsets == pytest.approx((-0.7, 0.0, 0.7), abs=0.25)
    assert session.dwell_location[0] == pytest.approx(2.0, abs=0.4)
    assert session.dwell_scale[0] == pytest.approx(0.8, abs=0.3)
    assert session.dead == pytest.approx(0.6, abs=0.08)
    # Outages follow the lowest regime only.
    to_outage = [row[0] for row in session.transitions]
    assert to_outage[1] > 0.15
    assert to_outage[1] > 5 * max(to_outage[2], to_outage[3])


def test_every_recording_is_a_session_and_order_does_not_matter():
    items = recordings(3, 600)
    model = fit(items, name="m", title="m", step_s=1.0)
    assert len(model.sessions) == 3
    back = fit(items[::-1], name="m", title="m", step_s=1.0)
    for one, two in zip(model.sessions, reversed(back.sessions), strict=True):
        assert one.dwell_location == pytest.approx(two.dwell_location, abs=1e-3)
        assert dataclasses.replace(one, dwell_location=(), dwell_scale=()) == (
            dataclasses.replace(two, dwell_location=(), dwell_scale=())
        )


@pytest.mark.parametrize(
    "grid",
    [
        np.full(120, 500.0),  # constant: no spread, no memory
        np.concatenate([np.full(60, 500.0), np.zeros(60)]),  # one jump
        np.tile([50.0, 500.0], 60),  # never two seconds alike
    ],
)
def test_odd_recordings_give_a_model_that_draws(grid):
    model = fit([Recording("x", "", (grid,))], name="odd", title="odd", step_s=1.0)
    trace = model.draw(300, generator(0, "odd"))
    assert np.isfinite(trace.rates_kbps).all()
    assert 20 < trace.mean_kbps < 5000


def test_nothing_to_fit_to():
    with pytest.raises(TraceError, match=r"nothing to fit"):
        fit([], name="m", title="m", step_s=1.0)
