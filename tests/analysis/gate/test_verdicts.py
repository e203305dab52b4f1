from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from gate_records import make_record, make_side, seeds

from testbed.analysis.gate.limits import Limit
from testbed.analysis.gate.matching import match
from testbed.analysis.gate.records import Record
from testbed.analysis.gate.verdicts import Comparison, compare, compare_series

FPS = {"rendered_fps": Limit(1.0)}


def judge(
    old: Sequence[Record], new: Sequence[Record], limits: dict[str, Limit] = FPS
) -> list[Comparison]:
    found, _ = compare(match(make_side(old), make_side(new, "new")).cells, limits)
    return found


def one(old: list[float | None], new: list[float | None], **limits: Limit) -> Comparison:
    (name,) = limits or FPS
    (found,) = judge(seeds(name, old), seeds(name, new), limits or FPS)
    return found


def test_equal_runs_are_the_same_exactly() -> None:
    found = one([30.0, 29.0, 28.5], [30.0, 29.0, 28.5])
    assert (found.verdict, found.change, found.p) == ("same", 0.0, None)


def test_a_small_change_is_within_the_limit_however_certain() -> None:
    found = one([30.0, 29.0, 28.0, 27.0, 26.0], [29.5, 28.51, 27.49, 26.5, 25.52])
    assert found.verdict == "ok"
    assert found.p is not None
    assert found.p < 0.01
    assert one([30.0], [29.0]).verdict == "ok"  # exactly the limit


def test_a_large_change_that_seeds_agree_on_is_a_regression() -> None:
    found = one([30.0, 29.0, 28.0, 29.5, 28.5], [25.0, 24.1, 22.9, 24.5, 23.5])
    assert found.verdict == "regression"
    assert (found.before, found.after, found.runs) == (29.0, 24.0, 5)
    assert found.change == -5
    assert found.low is not None
    assert found.high is not None
    assert found.low < -5 < found.high < 0
    assert found.excess == pytest.approx(5)
    assert (found.test, found.remark) == ("paired t", "")


def test_a_large_change_that_may_be_chance_is_unclear() -> None:
    found = one([30.0, 20.0, 25.0, 28.0, 22.0], [20.0, 24.0, 22.0, 26.0, 21.0])
    assert found.verdict == "unclear"
    assert found.p is not None
    assert found.p > 0.05


def test_a_change_that_hits_some_seeds_much_harder_is_seen_by_permutation() -> None:
    from scipy import stats

    old, new = [30.0, 30.0, 29.9, 30.0, 29.9], [29.8, 29.0, 5.0, 29.7, 28.0]
    found = one([*old], [*new])
    assert stats.ttest_rel(new, old, alternative="less").pvalue > 0.1
    # All new values below all old ones: 1 of C(10, 5) = 252 ways, doubled for two tries.
    assert (found.verdict, found.test) == ("regression", "permutation")
    assert found.p == pytest.approx(2 / 252)


@pytest.mark.parametrize(("new", "verdict"), [(28.0, "regression"), (29.5, "ok"), (32.0, "better")])
def test_one_seed_is_judged_by_the_limit_and_says_so(new: float, verdict: str) -> None:
    cells = match(make_side(seeds("rendered_fps", [30.0])), make_side(seeds("rendered_fps", [new])))
    (found,), notes = compare(cells.cells, FPS)
    assert (found.verdict, found.p, found.low, found.test) == (verdict, None, None, "none")
    assert found.remark == ("limit alone" if verdict == "regression" else "")
    assert notes == [
        "1 seed a cell: limits alone decide, which is no statistical statement; from 5 on tests do"
    ]


def test_few_seeds_are_judged_by_the_limit_and_have_an_interval() -> None:
    found = one([30.0, 20.0, 25.0], [20.0, 24.0, 22.0])
    assert (found.verdict, found.p, found.remark) == ("regression", None, "limit alone")
    assert found.low is not None
    assert found.high is not None
    assert found.low < -3 < found.high


def test_seeds_that_all_move_alike_are_judged_by_the_limit() -> None:
    old = [30.0, 29.0, 28.0, 27.0, 26.0]
    found = one([*old], [value - 3 for value in old])
    assert (found.verdict, found.p, found.low) == ("regression", None, None)
    assert found.remark == "limit alone"


def test_the_better_direction_is_the_metrics_own() -> None:
    old, less = [100.0, 120.0, 110.0], [50.0, 71.0, 59.0]
    limit = Limit(10)
    assert one([*old], [*less], frame_delay_ms_p95=limit).verdict == "better"
    assert one([*less], [*old], frame_delay_ms_p95=limit).verdict == "regression"
    assert one([*less], [*old], psnr_mean=limit).verdict == "better"
    # What has no better direction may move neither way.
    for a, b in ((old, less), (less, old)):
        found = one([*a], [*b], wire_kbps=limit)
        assert found.verdict == "regression"
        assert found.remark == "limit alone; must not move either way"


def test_a_share_of_the_baseline_as_limit() -> None:
    assert one([200.0], [219.0], latency_ms_p50=Limit(0, 0.1)).verdict == "ok"
    assert one([200.0], [221.0], latency_ms_p50=Limit(0, 0.1)).verdict == "regression"


def test_no_limit_at_all() -> None:
    found = one([0.0], [0.001], queue_drop_share=Limit())
    assert (found.verdict, found.excess) == ("regression", float("inf"))


def test_other_seeds_are_compared_by_welch() -> None:
    from scipy import stats

    before, after = [30.0, 29.0, 28.0, 29.5, 28.5, 29.2], [20.0, 22.5, 29.0, 25.0, 21.0]
    old = [make_record(s, rendered_fps=v) for s, v in enumerate(before)]
    new = [make_record(s, rendered_fps=v) for s, v in enumerate(after, start=50)]
    (found,) = judge(old, new)
    welch = stats.ttest_ind(after, before, equal_var=False, alternative="less").pvalue
    ranked = stats.permutation_test(
        (after, before), lambda a, b: np.mean(a) - np.mean(b), vectorized=False,
        n_resamples=np.inf, alternative="less",
    ).pvalue  # fmt: skip
    assert (found.runs, found.verdict) == (5, "regression")
    assert found.p == pytest.approx(2 * min(welch, ranked))
    assert found.test == ("Welch t" if welch < ranked else "permutation")


def test_what_is_beyond_chance_alone_is_not_among_many() -> None:
    # One cell that stands out by its own p, and 19 cells of noise with fair chances to do so.
    rng = np.random.default_rng(4)
    cells = [{"loss": f"bernoulli {n} %"} for n in range(20)]
    old = [make_record(s, cell=c, rendered_fps=30.0) for c in cells for s in range(5)]
    noise = rng.normal(0, 1, (20, 5))
    noise[7] = [-1.95, -1.1, -1.65, -0.6, -0.25]
    new = [
        make_record(s, cell=c, rendered_fps=30 + noise[n, s])
        for n, c in enumerate(cells)
        for s in range(5)
    ]
    among = judge(old, new)[7]
    alone = judge(old[35:40], new[35:40])[0]
    assert (alone.verdict, among.verdict) == ("regression", "unclear")
    assert alone.change == among.change


def test_a_lost_value_is_a_regression() -> None:
    found = one([100.0, 110.0], [101.0, None], frame_delay_ms_p50=Limit(50))
    assert (found.verdict, found.remark) == ("regression", "no value in 1 of 2 runs")
    found = one([100.0], [None], frame_delay_ms_p50=Limit(50))
    assert (found.verdict, found.after, found.change) == ("regression", None, None)


def test_a_value_is_lost_even_where_the_baseline_has_gaps() -> None:
    limit = Limit(50)
    found = one([100.0, None, 110.0], [None, None, None], frame_delay_ms_p50=limit)
    assert (found.verdict, found.before, found.after) == ("regression", 105.0, None)
    assert found.remark == "no value in 2 of 2 runs"
    assert one([100.0, None], [100.0, 120.0], frame_delay_ms_p50=limit).verdict == "same"
    assert one([100.0, None], [100.0, None], frame_delay_ms_p50=limit).verdict == "same"


def test_a_value_is_lost_without_seeds_in_common() -> None:
    limits = {"frame_delay_ms_p50": Limit(50)}

    def lost(old: list[float | None], new: list[float | None]) -> list[str]:
        runs = [make_record(s, frame_delay_ms_p50=v) for s, v in enumerate(new, start=50)]
        found = judge(seeds("frame_delay_ms_p50", old), runs, limits)
        return [comparison.remark for comparison in found]

    assert lost([100.0, 100.0], [100.0, None]) == ["no value in 1 of 2 runs"]
    assert lost([100.0, None], [None, None]) == ["no value in 2 of 2 runs"]
    assert lost([100.0, None], [100.0, None]) == [""]  # as often as before


def test_values_that_were_never_there_are_not_compared() -> None:
    assert judge(seeds("utilisation", [None]), seeds("utilisation", [0.5]),
                 {"utilisation": Limit(0.1)}) == []  # fmt: skip


def test_quality_that_was_not_measured_is_a_note() -> None:
    cells = match(
        make_side(seeds("psnr_mean", [30.0])), make_side(seeds("psnr_mean", [None]))
    ).cells
    found, notes = compare(cells, {"psnr_mean": Limit(1), "ssim_db": Limit(1)})
    assert (found, notes) == ([], ["psnr_mean was not measured now, not compared"])


def test_random_runs_of_one_distribution_seldom_raise_an_alarm() -> None:
    # Five metrics that go together, four cells, skewed noise: nothing has changed.
    rng = np.random.default_rng(11)
    names = ("rendered_fps", "harmonic_fps", "utilisation", "goodput_share", "psnr_mean")
    alarms = 0
    for _ in range(200):
        sides = [
            [
                make_record(
                    s,
                    cell={"loss": f"bernoulli {c} %"},
                    **{name: (c + 1) * float(-base + 0.3 * rng.normal()) for name in names},
                )
                for c in range(4)
                for s, base in enumerate(rng.exponential(1, 5))
            ]
            for _ in range(2)
        ]
        old, new = sides
        found = judge(old, new, dict.fromkeys(names, Limit()))
        alarms += any(comparison.verdict == "regression" for comparison in found)
    assert alarms / 200 < 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_series_are_held_run_by_run() -> None:
    flat = [100.0] * 10
    late = [100.0] * 5 + [20.0] * 2 + [100.0] * 3
    old = [make_record(s, series={"target_kbps": flat}) for s in (1, 2, 3)]
    new = [
        make_record(1, series={"target_kbps": flat}),
        make_record(2, series={"target_kbps": late}),
        make_record(3, series={"target_kbps": [101.0, *flat[1:]]}),
    ]
    cells = match(make_side(old), make_side(new)).cells
    found, notes = compare_series(cells, {"series.target_kbps": Limit(10), **FPS}, 500)
    assert notes == []
    assert [one.verdict for one in found] == ["same", "regression", "ok"]
    assert found[1].cell == "h264, seed 2"
    assert found[1].remark == "2 of 10 steps outside, most at 2.5 s"
    assert (found[1].before, found[1].after, found[1].excess) == (100.0, 20.0, 8.0)


def test_series_need_a_seed_in_common() -> None:
    old, new = make_record(1, series={"target_kbps": [1.0]}), make_record(2)
    cells = match(make_side([old]), make_side([new])).cells
    found, notes = compare_series(cells, {"series.target_kbps": Limit(10)}, 500)
    assert (found, notes) == ([], ["h264: no seed in common, series not compared"])
