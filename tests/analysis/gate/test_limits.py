from __future__ import annotations

import pytest

from testbed.analysis.gate.limits import DEFAULTS, OTHERS, QUALITY, Limit, limits
from testbed.analysis.gate.series import UNITS
from testbed.analysis.metrics import DEFINITIONS
from testbed.errors import InputError, UnknownNameError


def test_the_defaults_name_real_metrics_and_all_series() -> None:
    plain = [name for name in DEFAULTS if not name.startswith("series.")]
    assert set(plain) <= set(DEFINITIONS)
    assert set(QUALITY) <= set(DEFINITIONS)
    assert set(DEFAULTS) - set(plain) == {f"series.{name}" for name in UNITS}
    assert limits() == DEFAULTS


def test_the_larger_of_the_two_parts_counts() -> None:
    limit = Limit(absolute=10, relative=0.1)
    assert limit.allowed(50) == 10
    assert limit.allowed(300) == 30
    assert limit.allowed(-300) == 30


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5", Limit(5, 0)),
        ("5%", Limit(0, 0.05)),
        ("0.5,2.5%", Limit(0.5, 0.025)),
        ("2.5%, 0.5", Limit(0.5, 0.025)),
        ("0", Limit(0, 0)),
    ],
)
def test_tolerances(value: str, expected: Limit) -> None:
    found = limits(tolerances=[f"rendered_fps={value}"])
    assert found["rendered_fps"] == expected
    assert found.keys() == DEFAULTS.keys()


def test_named_metrics_only_with_a_limit_for_any() -> None:
    assert limits(["padding_share", "rendered_fps"]) == {
        "padding_share": OTHERS,
        "rendered_fps": DEFAULTS["rendered_fps"],
    }
    assert "padding_share" in limits(tolerances=["padding_share=0.1"])


@pytest.mark.parametrize("value", ["", "x", "-1", "nan", "inf", "1,2", "1%,2%", "1,2%,3", "-1%"])
def test_a_wrong_tolerance_is_one_line(value: str) -> None:
    with pytest.raises(InputError, match=r"--tolerance rendered_fps=.*must be a number >= 0"):
        limits(tolerances=[f"rendered_fps={value}"])


def test_wrong_names_list_the_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match=r"--metric: unknown metric 'fps'; known: .*series\."
    ):
        limits(["fps"])
    with pytest.raises(UnknownNameError, match="--tolerance: unknown metric 'fps'"):
        limits(tolerances=["fps=3"])
    with pytest.raises(InputError, match="must be NAME=VALUE"):
        limits(tolerances=["rendered_fps"])
    with pytest.raises(InputError, match="psnr_mean is not among --metric"):
        limits(["rendered_fps"], ["psnr_mean=1"])
