"""JSON objects and one-line reasons as they travel in control messages.

One value has one text: keys are sorted by code point, nothing is spaced, characters are UTF-8. The
parser takes that text and no other, so what was signed is what was meant (no key twice, no infinite
number, no lone surrogate). A reason is a single printable line, since it ends up on a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from testbed.errors import InputError, RemoteProtocolError

#: A JSON object; the session does not look inside.
JsonObject: TypeAlias = dict[str, Any]

#: Longest reason, UTF-8 bytes: two or three lines of a terminal.
MAX_REASON_BYTES: Final = 200
#: What stands where a reason was left out.
NO_REASON: Final = "no reason given"


def _canonical(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(
        dict(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def pack_object(value: Mapping[str, Any], *, limit_bytes: int, of: str) -> bytes:
    """The one text of a JSON object.

    Args:
        value: the object; keys are strings.
        limit_bytes: the most that the message has room for.
        of: what it is, for the error.

    Raises:
        InputError: JSON cannot hold it, or the message cannot.
    """
    try:
        body = _canonical(value)
        # Numbers as keys become strings, and two keys may become one: only a way back counts.
        parse_object(body)
    except (TypeError, ValueError, RecursionError, RemoteProtocolError) as error:
        raise InputError(f"{of}: not a JSON object ({error})") from None
    if len(body) > limit_bytes:
        raise InputError(f"{of}: {len(body)} bytes of JSON, at most {limit_bytes} fit a message")
    return body


def parse_object(body: bytes) -> JsonObject:
    """The JSON object in a message.

    Raises:
        RemoteProtocolError: it is none, or not in its one text.
    """
    try:
        value = json.loads(body.decode())
        canonical = isinstance(value, dict) and _canonical(value) == body
    except (ValueError, RecursionError):
        canonical = False
    if not canonical:
        raise RemoteProtocolError("not a JSON object in canonical form")
    assert isinstance(value, dict)
    return value


def one_line(reason: str) -> str:
    """A reason that fits a message: one printable line, cut to `MAX_REASON_BYTES`."""
    words = " ".join(reason.split())
    printable = "".join(char if char.isprintable() else "?" for char in words)
    line = printable.encode()[:MAX_REASON_BYTES].decode(errors="ignore").rstrip()
    return line or NO_REASON


def parse_line(body: bytes) -> str:
    """The reason in a message.

    Raises:
        RemoteProtocolError: it is not one printable line.
    """
    try:
        line = body.decode()
    except ValueError:
        raise RemoteProtocolError("a reason that is not UTF-8") from None
    if not line or len(body) > MAX_REASON_BYTES or not line.isprintable():
        raise RemoteProtocolError("a reason that is not one printable line")
    return line
