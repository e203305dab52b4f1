from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError, RemoteProtocolError
from testbed.protocol.session.text import (
    MAX_REASON_BYTES,
    NO_REASON,
    one_line,
    pack_object,
    parse_line,
    parse_object,
)

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
objects = st.dictionaries(texts, values, max_size=6)


@given(objects)
def test_an_object_comes_back_and_any_reader_can_read_it(value: dict[str, Any]) -> None:
    body = pack_object(value, limit_bytes=10**6, of="it")
    assert parse_object(body) == value
    assert json.loads(body) == value


@given(objects)
def test_the_order_of_keys_makes_no_difference(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert pack_object(turned, limit_bytes=10**6, of="it") == pack_object(
        value, limit_bytes=10**6, of="it"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"7",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b"{} ",
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 1100,
        b'{"a":' + b"[" * 500 + b"]" * 500 + b"}x",
    ],
)
def test_other_texts_are_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="JSON"):
        parse_object(body)


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"a": float("nan")},
        {"a": {1, 2}},
        {"a": "\ud800"},
        {1: "one", "1": "two"},
        {1: "a", "b": 2},
        endless(),
        {"a": 10**5000},
    ],
)
def test_what_json_cannot_hold_is_the_callers_mistake(value: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="description: not a JSON object") as caught:
        pack_object(value, limit_bytes=10**6, of="description")
    assert "\n" not in str(caught.value)


def test_a_long_object_is_refused_with_both_lengths() -> None:
    assert len(pack_object({"a": "x" * 92}, limit_bytes=100, of="description")) == 100
    with pytest.raises(InputError, match="description: 101 bytes of JSON, at most 100"):
        pack_object({"a": "x" * 93}, limit_bytes=100, of="description")


@given(st.text())
def test_any_reason_becomes_one_line_that_the_peer_takes(reason: str) -> None:
    line = one_line(reason)
    assert parse_line(line.encode()) == line
    assert len(line.encode()) <= MAX_REASON_BYTES
    assert one_line(line) == line


def test_reasons_by_hand() -> None:
    assert one_line(" two\nlines\tand\x1b[31m red ") == "two lines and?[31m red"
    assert one_line(" \n") == NO_REASON
    assert one_line("é" * 150) == "é" * 100


@pytest.mark.parametrize("body", [b"", b"a\nb", b"\x1b[2J", b"\xff", b"x" * 201])
def test_other_reasons_are_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="reason"):
        parse_line(body)
