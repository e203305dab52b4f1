"""Keys of a session: from one pre-shared key, a fresh key for each direction.

HKDF with SHA-256 (RFC 5869) turns the pre-shared key (PSK) into four keys:

- `hello` and `challenge` come from the PSK alone. They protect the two messages that carry the
  nonces, and nothing else.
- `to_responder` and `to_initiator` come from the PSK, both nonces and the session's id. They are
  new for every session, so nothing recorded in one session means anything in another.

No two directions and no two stages share a key, so a message that is sent back to its origin
never verifies.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from testbed.errors import InputError

#: Shortest pre-shared key: 128 bits, as long as the tag. Whoever records a handshake can try keys
#: at leisure, so it has to be random and not a password.
MIN_PSK_BYTES: Final = 16
#: Bytes of every derived key and of a SHA-256 hash.
KEY_BYTES: Final = 32
#: The most that RFC 5869 section 2.3 gives out: 255 hashes.
MAX_OKM_BYTES: Final = 255 * KEY_BYTES

_HASH: Final = "sha256"
# What a key is for, as RFC 5869's `info`. The version of the protocol is part of it.
_LABEL: Final = b"morphe-testbed session 1 "
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """A pseudo-random key of 32 bytes from a secret (RFC 5869 section 2.2)."""
    return hmac.digest(salt or bytes(KEY_BYTES), secret, _HASH)


def hkdf_expand(key: bytes, info: bytes, size_bytes: int) -> bytes:
    """As many bytes as wanted from a pseudo-random key (RFC 5869 section 2.3).

    Args:
        key: from `hkdf_extract`.
        info: what the bytes are for.
        size_bytes: 1 to `MAX_OKM_BYTES`.
    """
    if not 1 <= size_bytes <= MAX_OKM_BYTES:
        raise ValueError(f"HKDF gives 1 to {MAX_OKM_BYTES} bytes, not {size_bytes}")
    block = b""
    out = b""
    for number in range(1, -(-size_bytes // KEY_BYTES) + 1):
        block = hmac.digest(key, block + info + bytes((number,)), _HASH)
        out += block
    return out[:size_bytes]


@dataclass(frozen=True, slots=True, repr=False)
class HandshakeKeys:
    """Keys of the two messages that carry the nonces; without a repr, to stay out of logs."""

    hello: bytes
    challenge: bytes


@dataclass(frozen=True, slots=True, repr=False)
class SessionKeys:
    """Keys of everything later, one a direction; without a repr, to stay out of logs."""

    to_responder: bytes
    to_initiator: bytes


def handshake_keys(psk: bytes) -> HandshakeKeys:
    """The keys of HELLO and CHALLENGE."""
    secret = hkdf_extract(b"", check_psk(psk))
    return HandshakeKeys(
        hello=hkdf_expand(secret, _LABEL + b"hello", KEY_BYTES),
        challenge=hkdf_expand(secret, _LABEL + b"challenge", KEY_BYTES),
    )


def session_keys(
    psk: bytes, *, initiator_nonce: bytes, responder_nonce: bytes, session_id: bytes
) -> SessionKeys:
    """The keys of a session. All three byte strings have a fixed length, so no two inputs meet."""
    secret = hkdf_extract(initiator_nonce + responder_nonce, check_psk(psk))
    return SessionKeys(
        to_responder=hkdf_expand(secret, _LABEL + b"to responder" + session_id, KEY_BYTES),
        to_initiator=hkdf_expand(secret, _LABEL + b"to initiator" + session_id, KEY_BYTES),
    )


def check_psk(psk: bytes) -> bytes:
    """The key as it is, if it is long enough.

    Raises:
        InputError: it is shorter than `MIN_PSK_BYTES`.
    """
    if len(psk) < MIN_PSK_BYTES:
        raise InputError(
            f"pre-shared key: {len(psk)} bytes, at least {MIN_PSK_BYTES} are needed "
            f"({2 * MIN_PSK_BYTES} hex digits)"
        )
    return psk


def parse_psk(content: bytes, *, origin: str) -> bytes:
    """The key in a file's or an environment variable's content.

    Text of nothing but hex digits is hex. Any other printable ASCII text is the key itself, without
    white space around it, so that an editor's final newline does no harm. Everything else is a
    binary key, taken whole.

    Args:
        content: what was read.
        origin: file or variable, for the error.

    Raises:
        InputError: an odd number of hex digits, or a key that is too short.
    """
    key = content
    text = content.decode("ascii", errors="replace").strip()
    if text.isascii() and text.isprintable():
        key = text.encode()
        if text and set(text) <= _HEX_DIGITS:
            if len(text) % 2:
                raise InputError(f"{origin}: an odd number of hex digits ({len(text)})")
            key = bytes.fromhex(text)
    try:
        return check_psk(key)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None
