"""Algorithm 1 as a table, hysteresis and dwell, and anchors that are measured."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.errors import CodecConfigError
from morphe_core.nasc.rate_control import (
    ANCHOR_QUALITIES,
    ANCHOR_RATIO,
    BITS_SLOPE,
    TRANSITIONS,
    Anchors,
    Mode,
    ModeControl,
    Zone,
    first_mode,
    ratio_of,
)

ANCHORS = Anchors(1000, 2000, 8000)
MODES = list(Mode)


def at(mode: Mode, gops: int = 10, *, hysteresis: float = 0.1, dwell_gops: int = 3) -> ModeControl:
    """A control that has changed to a mode and sent some GoPs in it."""
    control = ModeControl(hysteresis=hysteresis, dwell_gops=dwell_gops)
    control.record(Mode.ALL_2X if mode.scale != 2 else Mode.ALL_3X)
    for _ in range(gops):
        control.record(mode)
    return control


def test_every_mode_has_a_transition_in_every_zone() -> None:
    assert set(TRANSITIONS) == set(itertools.product(Mode, Zone))


@pytest.mark.parametrize(
    ("budget", "after"),
    [  # Algorithm 1, lines 1 to 13, from each mode; up one scale at a time, down at once
        (500, [Mode.SELECT_3X] * 4),
        (1500, [Mode.ALL_3X] * 4),
        (4000, [Mode.ALL_2X] * 4),
        (20000, [Mode.ALL_2X, Mode.ALL_2X, Mode.ALL_1X, Mode.ALL_1X]),
    ],
)
def test_far_from_anchors_the_budget_decides(budget: int, after: list[Mode]) -> None:
    assert [at(mode).choose(budget, ANCHORS) for mode in MODES] == after


@pytest.mark.parametrize("hysteresis", [0.0, 0.05, 0.3])
@pytest.mark.parametrize(
    ("below", "above", "anchor"),
    [
        (Mode.SELECT_3X, Mode.ALL_3X, 1000),
        (Mode.ALL_3X, Mode.ALL_2X, 2000),
        (Mode.ALL_2X, Mode.ALL_1X, 8000),
    ],
)
def test_an_anchor_must_be_passed_by_the_margin(
    below: Mode, above: Mode, anchor: int, hysteresis: float
) -> None:
    margin = 1 + hysteresis
    for factor, up, down in (
        (0.999 / margin, below, below),
        (1.001 / margin, below, above),
        (0.999 * margin, below, above),
        (1.001 * margin, above, above),
    ):
        if not hysteresis and up is not down:
            continue
        assert at(below, hysteresis=hysteresis).choose(anchor * factor, ANCHORS) is up
        assert at(above, hysteresis=hysteresis).choose(anchor * factor, ANCHORS) is down


@pytest.mark.parametrize("dwell_gops", [0, 1, 3, 7])
def test_a_scale_stays_for_its_dwell(dwell_gops: int) -> None:
    for gops in range(1, 10):
        up = at(Mode.ALL_3X, gops, dwell_gops=dwell_gops).choose(4000, ANCHORS)
        down = at(Mode.ALL_1X, gops, dwell_gops=dwell_gops).choose(4000, ANCHORS)
        waits = gops < dwell_gops
        assert up is (Mode.ALL_3X if waits else Mode.ALL_2X)
        assert down is (Mode.ALL_1X if waits else Mode.ALL_2X)


def test_leaving_tokens_out_is_no_change_of_scale_and_does_not_wait() -> None:
    assert at(Mode.ALL_3X, 1).choose(500, ANCHORS) is Mode.SELECT_3X
    assert at(Mode.SELECT_3X, 1).choose(1500, ANCHORS) is Mode.ALL_3X


def test_a_fall_beyond_the_next_scale_does_not_wait() -> None:
    assert at(Mode.ALL_1X, 1).choose(1500, ANCHORS) is Mode.ALL_3X
    assert at(Mode.ALL_1X, 1).choose(500, ANCHORS) is Mode.SELECT_3X
    assert at(Mode.ALL_2X, 1).choose(500, ANCHORS) is Mode.SELECT_3X
    assert at(Mode.ALL_2X, 1).choose(1500, ANCHORS) is Mode.ALL_2X  # that one does


def test_switches_are_changes_of_scale() -> None:
    control = ModeControl()
    sent = [Mode.ALL_3X, Mode.SELECT_3X, Mode.ALL_2X, Mode.ALL_2X, Mode.ALL_3X, Mode.ALL_1X]
    counts = []
    for mode in sent:
        control.record(mode)
        counts.append(control.switches)
    assert counts == [0, 0, 1, 1, 2, 3]
    assert control.mode is Mode.ALL_1X


def test_choosing_keeps_nothing() -> None:
    control = at(Mode.ALL_3X)
    assert control.choose(4000, ANCHORS) is Mode.ALL_2X
    assert control.mode is Mode.ALL_3X
    assert control.switches == 1


def test_the_first_scale_was_a_guess_and_may_be_left_at_once() -> None:
    control = ModeControl(dwell_gops=5)
    control.record(Mode.ALL_3X)
    assert control.choose(4000, ANCHORS) is Mode.ALL_2X


@given(
    jitter=st.lists(st.floats(0.93, 1.07), min_size=30, max_size=30), start=st.sampled_from(MODES),
    anchor=st.sampled_from([1000, 2000, 8000]),
)  # fmt: skip
def test_jitter_within_the_band_makes_no_oscillation(
    jitter: list[float], start: Mode, anchor: int
) -> None:
    """A budget about an anchor: after it has arrived, a control stays where it is."""
    control, seen = at(start), []
    for factor in jitter:
        control.record(control.choose(anchor * factor, ANCHORS))
        seen.append(control.mode)
    assert len(set(seen[8:])) == 1, seen


@given(jitter=st.lists(st.floats(0.8, 1.25), min_size=60, max_size=60))
def test_without_hysteresis_there_are_never_fewer_switches(jitter: list[float]) -> None:
    counts = []
    for hysteresis, dwell_gops in ((0.1, 3), (0.0, 0)):
        control = at(Mode.ALL_3X, hysteresis=hysteresis, dwell_gops=dwell_gops)
        for factor in jitter:
            control.record(control.choose(2000 * factor, ANCHORS))
        counts.append(control.switches)
    assert counts[0] <= counts[1]


@given(
    scale=st.sampled_from([1, 2, 3]), whole=st.floats(100, 1e5), quality=st.integers(4, 127),
)  # fmt: skip
def test_a_stream_at_an_anchors_quality_is_at_that_anchor(
    scale: int, whole: float, quality: int
) -> None:
    anchors = Anchors.of_quality(scale, whole, quality)
    assert anchors.r3x < anchors.r2x < anchors.r1x
    for value, wanted in zip(
        (anchors.r3x, anchors.r2x, anchors.r1x), ANCHOR_QUALITIES[scale], strict=True
    ):
        assert math.log2(value / whole) == pytest.approx(BITS_SLOPE * (wanted - quality) / 16)


@given(budget=st.floats(300, 1e5), quality=st.integers(4, 120), start=st.sampled_from(MODES))
def test_content_that_stays_as_it_is_comes_to_rest(
    budget: float, quality: int, start: Mode
) -> None:
    """At the same bytes a finer scale has fewer indices, as the table of anchors says."""
    offsets = {3: 0, 2: 21, 1: 56}
    control, seen = at(start), []
    for _ in range(20):
        assert control.mode is not None
        scale = control.mode.scale
        here = quality - offsets[scale]
        control.record(control.choose(budget, Anchors.of_quality(scale, budget, here)))
        seen.append(control.mode)
    assert len(set(seen[10:])) == 1, seen


def test_tokens_of_a_given_quality_are_their_own_anchor() -> None:
    assert Anchors.of_tokens(3, 500) == Anchors(500, 500 * ANCHOR_RATIO, math.inf)
    assert Anchors.of_tokens(2, 900, 1.8) == Anchors(500, 900, math.inf)


def test_the_ratio_is_measured_at_a_switch_and_kept_within_reason() -> None:
    assert ratio_of(3, 500, 900) == pytest.approx(1.8)
    assert ratio_of(2, 900, 500) == pytest.approx(1.8)
    assert ratio_of(3, 500, 5) == 1.4
    assert ratio_of(3, 5, 500) == 3.0


@given(st.lists(st.floats(1e-5, 10), min_size=2))
def test_more_bits_never_mean_a_coarser_start(rates: list[float]) -> None:
    scales = [first_mode(rate).scale for rate in sorted(rates)]
    assert scales == sorted(scales, reverse=True)


def test_the_first_mode_knows_all_scales() -> None:
    assert [first_mode(rate).scale for rate in (0.0001, 0.02, 0.5)] == [3, 2, 1]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"hysteresis": -0.1}, "hysteresis"),
        ({"hysteresis": math.nan}, "hysteresis"),
        ({"dwell_gops": -1}, "dwell_gops"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, float], named: str) -> None:
    with pytest.raises(CodecConfigError, match=named):
        ModeControl(**settings)  # type: ignore[arg-type]


def test_without_a_gop_before_nothing_is_chosen() -> None:
    with pytest.raises(CodecConfigError, match="no GoP before"):
        ModeControl().choose(1000, ANCHORS)
