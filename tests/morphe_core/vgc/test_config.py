from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphe_core.errors import CodecConfigError
from morphe_core.vgc.config import PROFILE_NAMES, PROFILES, EncoderConfig, profile


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("profile", "paper", "morphe, morphe-keep, morphe-paper"),
        ("packing", "columns", "interleaved, rows"),
        ("selection", "best", "similarity, random, energy"),
        ("scale", 4, "0 (by the budget), 1, 2, 3"),
        ("scale", -1, "0 (by the budget), 1, 2, 3"),
        ("unit_bytes", 63, "within 64 and 65000"),
        ("unit_bytes", 65001, "within 64 and 65000"),
        ("least_units", 0, "within 1 and 255"),
        ("least_units", 256, "within 1 and 255"),
        ("refresh_gops", 0, "within 1 and 1000"),
        ("fixed_quality", -2, "within -1 and 127"),
        ("fixed_quality", 128, "within -1 and 127"),
        ("drop_share", -0.01, "within 0 and 1"),
        ("drop_share", 1.01, "within 0 and 1"),
        ("drop_share", float("nan"), "within 0 and 1"),
        ("drop_scope", "i", "p, all"),
        ("residual", "wavelet", "none, pixel, transform"),
        ("residual_share", -0.1, "within 0 and 0.9"),
        ("residual_share", 0.91, "within 0 and 0.9"),
        ("residual_share", float("nan"), "within 0 and 0.9"),
        ("residual_pictures", 0, "within 1 and 9"),
        ("residual_pictures", 10, "within 1 and 9"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(CodecConfigError) as error:
        EncoderConfig(**{name: value})
    message = str(error.value)
    assert message.startswith(f"{name} ")
    assert str(value) in message
    assert message.endswith(allowed)
    assert "\n" not in message


@given(
    st.integers(0, 3), st.integers(64, 65000), st.integers(1, 255), st.integers(1, 1000),
    st.integers(-1, 127), st.floats(0, 0.9), st.integers(1, 9),
)  # fmt: skip
def test_every_value_within_its_range_is_taken(
    scale: int, unit_bytes: int, least_units: int, refresh_gops: int, quality: int, share: float,
    pictures: int,
) -> None:  # fmt: skip
    config = EncoderConfig(
        scale=scale, unit_bytes=unit_bytes, least_units=least_units,
        refresh_gops=refresh_gops, fixed_quality=quality, residual="transform",
        residual_share=share, residual_pictures=pictures,
    )  # fmt: skip
    assert config.scale == scale
    assert config.fixed_quality == quality


def test_profiles_carry_their_names() -> None:
    assert tuple(PROFILES) == PROFILE_NAMES
    assert [profile(name).profile for name in PROFILE_NAMES] == list(PROFILE_NAMES)
    assert profile("morphe") == EncoderConfig()


def test_the_papers_form_differs_in_these_settings_and_in_no_other() -> None:
    ours, papers = asdict(profile("morphe")), asdict(profile("morphe-paper"))
    differences = {name: papers[name] for name in ours if ours[name] != papers[name]}
    # The index is a choice within the range: the paper does not say how tokens are quantised.
    assert 0 <= differences.pop("fixed_quality") <= 127
    assert differences == {
        "profile": "morphe-paper",
        "motion": False,
        "lean": False,
        "packing": "rows",
        "selection": "similarity",
        "residual": "pixel",
        "rounding": 0.0,
    }


def test_keeping_is_a_profile_of_its_own() -> None:
    ours, keeping = asdict(profile("morphe")), asdict(profile("morphe-keep"))
    differences = {name: keeping[name] for name in ours if ours[name] != keeping[name]}
    assert differences == {"profile": "morphe-keep", "keep": True}


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(
        CodecConfigError, match=r"profile 'best': known are morphe, morphe-keep, morphe-paper$"
    ):
        profile("best")
