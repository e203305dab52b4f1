"""Options: bad values end in one line that says what is allowed."""

from __future__ import annotations

import pytest

from testbed.errors import InputError
from testbed.transports import TRANSPORTS, parse_options


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("packet_bytes", 10, "64..1400"),
        ("patch_side", 20, "multiple of 16"),
        ("max_tries", 2.5, "whole number"),
        ("resync", 1, "true or false"),
        ("catch_up", True, "must be a number"),
        ("weights", "", "a name or a path"),
        ("nonsense", 1, "known: packet_bytes"),
    ],
)
def test_bad_options_are_refused(name: str, value: object, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_options(TRANSPORTS.get("grace-style"), {name: value})
    assert name in str(caught.value)


def test_weights_that_are_not_there_are_named() -> None:
    transport = TRANSPORTS.get("grace-style")
    options = parse_options(transport, {"weights": "elsewhere"})
    with pytest.raises(InputError, match="'elsewhere': no such file"):
        transport.made_with(options)
