from __future__ import annotations

import handmade
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.metrics.columns import frame_columns
from testbed.analysis.metrics.picture import MAX_DB, quality_metrics, ssim_db
from testbed.errors import BrokenLogError


def test_ssim_is_averaged_before_it_becomes_decibels() -> None:
    # Mean of 0.99 and 0.90 is 0.945: 12.6 dB. The mean of their decibels would be 15 dB.
    frames = frame_columns(handmade.frames([60, 60], ssim=[0.99, 0.90]))
    found = quality_metrics(frames)
    assert found["ssim_mean"] == pytest.approx(0.945)
    assert found["ssim_db"] == pytest.approx(-10 * np.log10(0.055))


@pytest.mark.parametrize(("ssim", "db"), [(0.0, 0.0), (0.9, 10.0), (0.99, 20.0), (1.0, MAX_DB)])
def test_closed_forms_of_ssim_in_decibels(ssim: float, db: float) -> None:
    assert ssim_db(ssim) == pytest.approx(db)


def test_vmaf_mean_and_tail_and_capped_psnr() -> None:
    frames = frame_columns(
        handmade.frames([60] * 5, vmaf=[10, 20, 30, 40, 50], psnr=[30, 40, np.inf, 50, 60])
    )
    found = quality_metrics(frames)
    assert found["vmaf_mean"] == 30
    assert found["vmaf_p5"] == pytest.approx(12)
    assert found["psnr_mean"] == pytest.approx((30 + 40 + 60 + 50 + 60) / 5)


def test_slots_without_a_measurement_do_not_count() -> None:
    frames = frame_columns(handmade.frames([60] * 3, vmaf=[10, np.nan, 30]))
    assert quality_metrics(frames)["vmaf_mean"] == 20


def test_no_quality_columns_give_undefined_metrics() -> None:
    assert set(quality_metrics(frame_columns(handmade.frames([60]))).values()) == {None}


@pytest.mark.parametrize(("name", "value"), [("vmaf", 101.0), ("vmaf", -1.0), ("ssim", 1.5)])
def test_values_out_of_range_are_a_broken_log(name: str, value: float) -> None:
    with pytest.raises(BrokenLogError, match=f"{name} is"):
        quality_metrics(frame_columns(handmade.frames([60], **{name: [value]})))


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_decibels_rise_with_ssim(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert ssim_db(low) <= ssim_db(high) <= MAX_DB
