"""The comparison itself, and every shipped model against the half that it has not seen.

The bounds of the shared test are what the guide's tables show, with some room: they hold the
models to their present quality. They are no claim that a model equals the real thing; for rail the
held-out half has a kind of log (Long Island) that the fitted half lacks.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from testbed.errors import TraceError
from testbed.traces.models import validation
from testbed.traces.models.model import load
from testbed.traces.models.table import markdown
from testbed.traces.models.workflow import fit_files, validate_files

SHARED = Path(__file__).parents[4] / "shared" / "traces"

#: model: most KS of rates, W1 of log10(rate), KS of means, gap of ACF, KS of outage lengths, and
#: the range of the ratio of outages per hour.
BOUNDS = {
    "puffer": (0.09, 0.09, 0.14, 0.18, 0.09, (0.9, 1.6)),
    "rail": (0.18, 0.30, 0.37, 0.10, 0.38, (0.5, 1.2)),
    "driving": (0.10, 0.15, 0.20, 0.20, 0.08, (0.8, 1.3)),
    "metro": (0.14, 0.18, 0.24, 0.10, 0.11, (0.9, 1.6)),
}


def test_windows_keep_rests_of_a_hundred_seconds():
    parts = validation.windows([np.arange(750.0), np.arange(99.0), np.arange(650.0)])
    assert [part.size for part in parts] == [300, 300, 150, 300, 300]


def test_ks_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 200), np.round(rng.normal(0.3, 1, 150), 1)
    assert validation.ks(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert validation.ks(a, a) == 0.0


def test_summary_by_hand():
    part = np.full(200, 1000.0)
    part[50:60] = 0.0
    part[100:102] = 300.0
    summary = validation.summarise([part])
    assert summary.windows == 1
    assert summary.hours == pytest.approx(200 / 3600)
    assert summary.outages_per_hour == pytest.approx(18.0)
    assert summary.outage_mean_s == 10.0
    assert summary.outage_share == 0.05
    assert summary.below_400k == 0.06
    with pytest.raises(TraceError, match=r"nothing to compare"):
        validation.summarise([])


def test_equal_sides_have_no_distance_and_scaled_ones_a_known_one():
    rng = np.random.default_rng(0)
    side = [np.exp(rng.normal(7, 0.5, 300)) for _ in range(5)]
    same = validation.distance(side, side)
    assert (same.ks_rate, same.w1_rate, same.ks_mean, same.acf) == (0, 0, 0, 0)
    assert math.isnan(same.ks_outage)
    double = validation.distance([2 * part for part in side], side)
    assert double.w1_rate == pytest.approx(math.log10(2), abs=0.01)
    assert double.acf == pytest.approx(0, abs=1e-9)


def write_set(folder: Path, count: int = 6) -> None:
    model = load("metro", base=folder)
    for index in range(count):
        trace = model.draw(400, np.random.default_rng(index))
        rows = zip(trace.durations_us.tolist(), trace.rates_kbps.tolist(), strict=True)
        text = "duration_us,rate_kbps\n" + "".join(f"{d},{r}\n" for d, r in rows)
        (folder / f"set__{index}.csv").write_text(text)


def test_fit_then_validate_on_the_other_half(tmp_path):
    write_set(tmp_path)
    (tmp_path / "bad__0.csv").write_text("duration_s,rate_kbps\n400,100000\n")
    model = fit_files([str(tmp_path)], base=tmp_path, name="own", exclude=["bad__*"])
    again = fit_files([str(tmp_path)], base=tmp_path, name="own", exclude=["bad__*"])
    assert model.to_json() == again.to_json()
    assert model.provenance["files_fitted"] == model.provenance["files_held_out"] == 3
    assert len(model.fitted_names) == 3
    # The parameter file holds neither names nor samples.
    assert "set__" not in model.to_json()
    check = validate_files(model, [str(tmp_path)], base=tmp_path)
    assert (check.result.held_files, check.result.fit_files) == (3, 3)  # bad__ left out again
    table = markdown(check.result)
    assert table.startswith("| own | held out (3 files) | fitted to (3 files) | drawn |")
    assert len({line.count("|") for line in table.splitlines()}) == 1
    everything = fit_files([str(tmp_path)], base=tmp_path, name="own", use_all=True)
    with pytest.raises(TraceError, match=r"none held out"):
        validate_files(everything, [str(tmp_path)], base=tmp_path)
    with pytest.raises(TraceError, match=r"letters, digits and dashes"):
        fit_files([str(tmp_path)], base=tmp_path, name="a/b")


def test_json_of_a_validation_has_no_nan(tmp_path):
    write_set(tmp_path, 2)
    model = fit_files([str(tmp_path)], base=tmp_path, name="own")
    document = validate_files(model, [str(tmp_path)], base=tmp_path).result.as_dict()
    assert "nan" not in str(document).lower()


@pytest.mark.shared
@pytest.mark.parametrize("name", BOUNDS)
def test_a_shipped_model_against_what_it_has_not_seen(name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"no real traces in {SHARED}")
    check = validate_files(load(name, base=SHARED), [name], base=SHARED)
    assert check.result.held_files >= 4
    got = check.result.drawn_to_held
    ks_rate, w1_rate, ks_mean, acf, ks_outage, (fewest, most) = BOUNDS[name]
    assert got.ks_rate <= ks_rate
    assert got.w1_rate <= w1_rate
    assert got.ks_mean <= ks_mean
    assert got.acf <= acf
    assert got.ks_outage <= ks_outage
    assert fewest <= got.outages_ratio <= most
    # No model may be much further from the held-out half than the half that it was fitted to.
    real = check.result.fitted_to_held
    assert got.ks_rate <= real.ks_rate + 0.08
    assert got.w1_rate <= real.w1_rate + 0.08


@pytest.mark.shared
def test_the_shipped_rail_model_is_what_the_command_makes():
    if not (SHARED / "rail").is_dir():
        pytest.skip(f"no real traces in {SHARED}")
    shipped = load("rail", base=SHARED)
    made = fit_files(
        ["rail"],
        base=SHARED,
        name="rail",
        title=shipped.title,
        notes=shipped.notes,
        exclude=["norway3g-pensieve__*"],
    )
    assert made.fitted_names == shipped.fitted_names
    for one, two in zip(made.sessions, shipped.sessions, strict=True):
        assert one.level == pytest.approx(two.level, abs=1e-4)
        assert one.dwell_location == pytest.approx(two.dwell_location, abs=1e-2)
