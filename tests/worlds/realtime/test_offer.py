"""What a sender tells a receiver: back and forth, and whatever somebody else might say."""

from __future__ import annotations

import contextlib
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import session

from testbed.errors import InputError
from testbed.protocol.session import MAX_DESCRIPTION_BYTES
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.offer import FORMAT, Offer

GOOD: dict[str, Any] = {
    "format": FORMAT, "transport": "h264", "options": {}, "clip": "test:testsrc2",
    "size": [160, 96], "fps": [30000, 1001], "frames": 45, "compute": "zero",
    "deadline_ms": 400,
}  # fmt: skip


def over_the_wire(description: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(description))


@pytest.mark.parametrize("transport", ["h264", "h265", "h266", "morphe"])
@pytest.mark.parametrize("fps", [15.0, 29.97, 60.0])
def test_an_offer_survives_the_wire(transport: str, fps: float) -> None:
    make = EndFactory(session(transport=transport, fps=fps, duration_s=1.0), base=Path.cwd())
    offer = Offer.of(make)
    text = json.dumps(offer.as_json())
    assert len(text) < MAX_DESCRIPTION_BYTES
    found = Offer.parse(json.loads(text))
    assert found == offer
    assert found.end_ns == make.end_ns
    for index in (0, 1, make.clip.frame_count - 1):
        assert found.capture_ns(index) == make.capture_ns(index)
    assert type(found.receiver()) is type(make.receiver())


def test_a_receiver_made_from_an_offer_keeps_nothing() -> None:
    assert Offer.parse(GOOD).fps == Fraction(30000, 1001)
    endpoint = Offer.parse(GOOD).receiver()
    assert endpoint.next_timer() is not None or endpoint.events() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format is 2; this side reads 1"),
        ({"format": None}, "format is None"),
        ({"fps": [0, 1]}, "fps must be"),
        ({"fps": [241, 1]}, "fps is 241; at most 240"),
        ({"fps": [30]}, "fps must be"),
        ({"fps": [True, 1]}, "fps must be"),
        ({"fps": "30"}, "fps must be"),
        ({"size": [160]}, "size must be an integer from 2 to 8192 and"),
        ({"size": [160, 1e9]}, "size must be"),
        ({"frames": 0}, "frames must be an integer from 1"),
        ({"frames": 10**12}, "frames must be"),
        ({"frames": "many"}, "frames must be"),
        ({"deadline_ms": 0}, "deadline_ms must be a number"),
        ({"deadline_ms": float("nan")}, "deadline_ms must be"),
        ({"deadline_ms": float("inf")}, "deadline_ms must be"),
        ({"deadline_ms": True}, "deadline_ms must be"),
        ({"options": []}, "options must be an object"),
        ({"clip": 7}, "clip must be a text"),
        ({"compute": None}, "compute must be a text"),
        ({"transport": {}}, "transport must be a text"),
    ],
)
def test_an_impossible_offer_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Offer.parse({**GOOD, **changes})
    assert "\n" not in str(caught.value)
    (name,) = changes
    with pytest.raises(InputError, match=name):
        Offer.parse({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transport": "carrier-pigeon"}, "unknown transport 'carrier-pigeon'; known: "),
        ({"compute": "measured"}, "compute measured needs the clip, which this side does not have"),
        ({"compute": "abacus"}, "abacus"),
        ({"options": {"wings": 2}}, "wings"),
        ({"options": {"retransmission": "perhaps"}}, "retransmission"),
    ],
)
def test_what_no_receiver_can_be_made_for_is_one_line(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Offer.parse({**GOOD, **changes}).receiver()
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4)
    ),
    max_leaves=8,
)


def answer(description: dict[str, Any]) -> None:
    """A receiver, or a refusal, and never anything else."""
    with contextlib.suppress(InputError):
        Offer.parse(description).receiver()


@given(st.dictionaries(st.sampled_from([*GOOD, "more"]), JSON))
def test_any_object_is_an_offer_or_refused(description: dict[str, Any]) -> None:
    answer(description)
    answer({**GOOD, **description})


OPTION_NAMES = sorted(
    {
        field
        for name in ("h264", "h265", "h266", "morphe")
        for field in EndFactory(
            session(transport=name, duration_s=0.2), base=Path.cwd()
        ).transport.options_type.__dataclass_fields__
    }
)


@given(
    transport=st.sampled_from(["h264", "h265", "h266", "morphe"]),
    options=st.dictionaries(st.sampled_from(OPTION_NAMES), JSON, max_size=4),
    deadline_ms=st.floats(1e-6, 60_000),
    fps=st.tuples(st.integers(1, 24_000_000), st.integers(1, 100_000)),
)
def test_any_options_make_a_receiver_or_are_refused(
    transport: str, options: dict[str, Any], deadline_ms: float, fps: tuple[int, int]
) -> None:
    changes = {
        "transport": transport, "options": options, "deadline_ms": deadline_ms, "fps": list(fps),
    }  # fmt: skip
    answer({**GOOD, **changes})
