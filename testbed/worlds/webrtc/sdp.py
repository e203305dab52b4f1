"""Session descriptions (RFC 8866) in which the relay stands for the other peer.

Each peer gathers one candidate. Before a description is handed on, the address in it becomes the
relay's on that side, so that neither peer learns where the other one is.
"""

from __future__ import annotations

import re
from typing import Final

from testbed.errors import RemoteProtocolError
from testbed.worlds.realtime.port import Address

#: RFC 8839 section 5.1: foundation, component, transport, priority, address, port, type.
_CANDIDATE: Final = re.compile(
    r"^(a=candidate:\S+ \d+ udp \d+) (\S+) (\d+)( typ host)", re.MULTILINE | re.IGNORECASE
)
_MEDIA: Final = re.compile(r"^(m=\w+) \d+ ", re.MULTILINE)
_CONNECTION: Final = re.compile(r"^c=IN IP[46] \S+", re.MULTILINE)
_MOST_PORT: Final = 65535


def candidate_of(description: str) -> Address:
    """Where the peer that wrote `description` is.

    Raises:
        RemoteProtocolError: it names no host candidate, or several.
    """
    found = {(host, int(port)) for _, host, port, _ in _CANDIDATE.findall(description)}
    if len(found) != 1:
        raise RemoteProtocolError(f"a description with {len(found)} candidates; must be 1")
    (address,) = found
    if not 0 < address[1] <= _MOST_PORT:
        raise RemoteProtocolError(f"a candidate with port {address[1]}; must be in 1..{_MOST_PORT}")
    return address


def readdressed(description: str, to: Address) -> str:
    """`description` as if the peer that wrote it were at `to`."""
    host, port = to
    text = _CANDIDATE.sub(rf"\g<1> {host} {port}\g<4>", description)
    text = _MEDIA.sub(rf"\g<1> {port} ", text)
    return _CONNECTION.sub(f"c=IN IP4 {host}", text)
