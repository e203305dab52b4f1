import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP

from testbed.capture.datagram import RECEIVER, SENDER, Framing, ones_complement_sum
from testbed.errors import LocalProtocolError


def rfc1071_sum(data: bytes) -> int:
    """The sum word by word, with end-around carry, as RFC 1071 section 4.1 has it."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=1500))
def test_the_sum_is_that_of_rfc_1071(data: bytes) -> None:
    assert ones_complement_sum(data) == rfc1071_sum(data) % 0xFFFF


def test_the_example_of_rfc_1071() -> None:
    assert ones_complement_sum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2


@given(st.binary(max_size=1472))
def test_scapy_computes_the_same_packet(payload: bytes) -> None:
    ours = Framing(SENDER, RECEIVER).packet(payload)
    theirs = IP(src=SENDER.address, dst=RECEIVER.address, id=0, flags="DF", ttl=64) / UDP(
        sport=SENDER.port, dport=RECEIVER.port
    )
    assert ours == bytes(theirs / payload)


def test_a_checksum_of_zero_goes_out_as_ffff() -> None:
    framing = Framing(SENDER, RECEIVER)
    checksum = int.from_bytes(framing.packet(b"\0\0")[26:28], "big")
    # Adding the checksum itself as data makes the sum 0xFFFF and so the checksum 0.
    packet = framing.packet(checksum.to_bytes(2, "big"))
    assert packet[26:28] == b"\xff\xff"
    pseudo = packet[12:20] + bytes([0, 17]) + packet[24:26]
    assert rfc1071_sum(pseudo + packet[20:]) == 0xFFFF


def test_the_kernel_would_send_nothing_larger() -> None:
    framing = Framing(SENDER, RECEIVER)
    assert len(framing.packet(bytes(65_507))) == 65_535
    with pytest.raises(LocalProtocolError, match="65508 bytes do not fit"):
        framing.packet(bytes(65_508))


def test_addresses_are_those_of_documentation() -> None:
    for end, network in ((SENDER, "192.0.2."), (RECEIVER, "198.51.100.")):
        assert end.address.startswith(network)
        assert socket.inet_aton(end.address)
