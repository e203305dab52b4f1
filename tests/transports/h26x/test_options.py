from typing import Any

import pytest

from testbed.errors import InputError
from testbed.transports import TRANSPORTS, parse_options

H264 = TRANSPORTS.get("h264")


def test_defaults_and_overrides() -> None:
    options = parse_options(H264, {"conceal": True, "max_tries": 1})
    assert options.conceal is True
    assert options.max_tries == 1
    assert options.retransmission is True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour": 1}, "unknown option 'colour'; known: preset, "),
        ({"max_tries": 0}, r"max_tries: must be in 1..10 \(got 0\)"),
        ({"max_tries": "many"}, "max_tries: must be a whole number"),
        ({"conceal": 1}, "conceal: must be true or false"),
        ({"preset": 3}, "preset: must be a name"),
        ({"payload_bytes": 9000}, "payload_bytes: must be in 200..1460"),
        ({"payload_bytes": 600.5}, r"payload_bytes: must be a whole number \(got 600.5\)"),
        ({"fec_share": 0.5}, "fec_share: goes with fec, which is none"),
        ({"pacing_factor": True}, "pacing_factor: must be a number"),
    ],
)
def test_bad_options_are_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_options(H264, given)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("transport h264: ")


def test_slices_are_for_h264_only() -> None:
    assert parse_options(H264, {"slices": 4}).slices == 4
    with pytest.raises(InputError, match=r"transport h265: slices: must be in 1..1 \(got 4\)"):
        parse_options(TRANSPORTS.get("h265"), {"slices": 4})


@pytest.mark.parametrize(
    ("codec", "preset"), [("h264", "slower"), ("h265", "placebo"), ("h266", "fast")]
)
def test_a_preset_is_one_of_the_encoders(codec: str, preset: str) -> None:
    assert parse_options(TRANSPORTS.get(codec), {"preset": preset}).preset == preset


@pytest.mark.parametrize(("codec", "known"), [("h265", "ultrafast, "), ("h266", "faster, fast, ")])
def test_a_preset_of_another_encoder_is_refused(codec: str, known: str) -> None:
    preset = "veryfast" if codec == "h266" else "quick"
    message = rf"transport {codec}: preset: must be one of {known}.* \(got '{preset}'\)"
    with pytest.raises(InputError, match=message):
        parse_options(TRANSPORTS.get(codec), {"preset": preset})
