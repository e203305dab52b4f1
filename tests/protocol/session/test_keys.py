from __future__ import annotations

import pytest

from testbed.errors import InputError
from testbed.protocol.session.keys import (
    MAX_OKM_BYTES,
    check_psk,
    handshake_keys,
    hkdf_expand,
    hkdf_extract,
    parse_psk,
    session_keys,
)

# RFC 5869 appendix A.1 to A.3: secret, salt, info, pseudo-random key, output.
VECTORS = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "0b" * 22,
        "",
        "",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("secret", "salt", "info", "key", "output"), VECTORS)
def test_hkdf_gives_the_vectors_of_rfc_5869(
    secret: str, salt: str, info: str, key: str, output: str
) -> None:
    made = hkdf_extract(bytes.fromhex(salt), bytes.fromhex(secret))
    assert made.hex() == key
    assert hkdf_expand(made, bytes.fromhex(info), len(output) // 2).hex() == output


@pytest.mark.parametrize("size_bytes", [0, MAX_OKM_BYTES + 1])
def test_hkdf_has_an_end(size_bytes: int) -> None:
    with pytest.raises(ValueError, match="8160"):
        hkdf_expand(bytes(32), b"", size_bytes)
    assert len(hkdf_expand(bytes(32), b"", MAX_OKM_BYTES)) == MAX_OKM_BYTES


def test_no_two_stages_directions_or_sessions_share_a_key() -> None:
    psk = bytes(16)
    hands = handshake_keys(psk)
    keys = [hands.hello, hands.challenge]
    for first, second, session_id in [
        (b"a" * 16, b"b" * 16, b"1" * 8),
        (b"b" * 16, b"a" * 16, b"1" * 8),
        (b"a" * 16, b"c" * 16, b"1" * 8),
        (b"a" * 16, b"b" * 16, b"2" * 8),
    ]:
        made = session_keys(
            psk, initiator_nonce=first, responder_nonce=second, session_id=session_id
        )
        keys += [made.to_responder, made.to_initiator]
    assert len(set(keys)) == 10
    assert {len(key) for key in keys} == {32}
    assert handshake_keys(psk) == hands
    assert handshake_keys(bytes(15) + b"\1") != hands


def test_keys_stay_out_of_logs() -> None:
    hands = handshake_keys(bytes(16))
    assert hands.hello.hex() not in repr(hands)
    assert repr(hands.hello) not in repr(hands)


def test_a_short_key_is_refused_with_the_least_length() -> None:
    with pytest.raises(InputError, match="15 bytes, at least 16 are needed"):
        check_psk(bytes(15))
    assert check_psk(bytes(16)) == bytes(16)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"00112233445566778899AABBccddeeff\n", bytes.fromhex("00112233445566778899aabbccddeeff")),
        (b"  not only hex, but long enough\r\n", b"not only hex, but long enough"),
        (b"\xff" * 15 + b"\n", b"\xff" * 15 + b"\n"),
        (bytes(20), bytes(20)),
    ],
)
def test_a_key_is_hex_text_or_binary(content: bytes, key: bytes) -> None:
    assert parse_psk(content, origin="key file") == key


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "key file: pre-shared key: 0 bytes, at least 16"),
        (b"0123456789abcdef0123", "key file: pre-shared key: 10 bytes, at least 16"),
        (b"0123456789abcdef0123456789abcdef0", "key file: an odd number of hex digits"),
        (b"too short\n", "key file: pre-shared key: 9 bytes"),
    ],
)
def test_a_bad_key_is_one_clear_line(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_psk(content, origin="key file")
