"""Options of the Morphe transport."""

from dataclasses import replace
from typing import Any

import pytest

from testbed.errors import InputError
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.morphe.options import MorpheOptions

TRANSPORT = TRANSPORTS.get("morphe")


def test_by_default_the_profile_decides() -> None:
    options = parse_options(TRANSPORT, {})
    assert options.settings().changes == {}
    assert options.settings().config().unit_bytes == 1200


def test_what_is_given_reaches_the_codec() -> None:
    options = parse_options(
        TRANSPORT,
        {
            "profile": "morphe-paper", "scale": 3, "unit_bytes": 300, "least_units": 2,
            "selection": "random", "residual": "transform", "residual_share": 0.1,
        },
    )  # fmt: skip
    config = options.settings().config()
    assert (config.profile, config.scale, config.packing) == ("morphe-paper", 3, "rows")
    assert (config.unit_bytes, config.least_units, config.selection) == (300, 2, "random")
    assert (config.residual, config.residual_share) == ("transform", 0.1)


def test_a_free_quality_takes_the_place_of_the_profiles() -> None:
    fixed = parse_options(TRANSPORT, {"profile": "morphe-paper"}).settings().config()
    free = parse_options(TRANSPORT, {"profile": "morphe-paper", "free_quality": True})
    assert fixed.fixed_quality >= 0
    assert free.settings().config() == replace(fixed, fixed_quality=-1)


def test_the_threshold_is_the_profiles_unless_it_is_given() -> None:
    found = [
        parse_options(TRANSPORT, given).ask_above
        for given in (
            {}, {"profile": "morphe-keep"}, {"profile": "morphe-paper"},
            {"profile": "morphe-paper", "retransmit_threshold": 0}, {"retransmit_threshold": 1},
        )
    ]  # fmt: skip
    assert found == [0.75, 0.75, 0.5, 0, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profile": "best"}, "profile: must be one of morphe, morphe-keep, morphe-paper"),
        ({"scale": 4}, "scale: must be in 0..3"),
        ({"scale": True}, "scale: must be a whole number"),
        ({"smoothing": 1.5}, "smoothing: must be a whole number"),
        ({"packing": "columns"}, "packing: must be one of interleaved, rows"),
        ({"unit_bytes": 63}, "unit_bytes: must be in 64..1400"),
        ({"least_units": 0}, "least_units: must be in 1..255"),
        ({"residual_share": 0.95}, "residual_share: must be in 0..0.9"),
        ({"residual": "all"}, "residual: must be one of none, pixel, transform"),
        ({"payload_bytes": 1461}, "payload_bytes: must be in 200..1460"),
        ({"retransmit_threshold": 1.2}, "retransmit_threshold: must be in 0..1"),
        ({"probe_fill": "fec"}, "probe_fill: must be one of media, redundancy, padding"),
        ({"retransmission": 1}, "retransmission: must be true or false"),
        ({"free_quality": 1}, "free_quality: must be true or false"),
        ({"encoder": "fast"}, "encoder: must be one of auto, live, ladder"),
        ({"reorder_ms": "5"}, "reorder_ms: must be a number"),
        ({"catch_up": 0.5}, "catch_up: must be in 1..100"),
        ({"weights": ""}, "weights: must be a name or a file"),
        ({"preset": "fast"}, "unknown option 'preset'; known: profile, scale"),
    ],
)
def test_bad_options_end_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_options(TRANSPORT, given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there_end_in_one_line() -> None:
    options = parse_options(TRANSPORT, {"weights": "/nowhere/w"})
    with pytest.raises(InputError, match="weights '/nowhere/w': no such file"):
        TRANSPORT.made_with(options)


def test_encodes_depend_on_weights_core_and_library() -> None:
    made_with = TRANSPORT.made_with(MorpheOptions())
    assert set(made_with) == {"weights", "core", "torch"}
    assert len(made_with["weights"]) == 64
