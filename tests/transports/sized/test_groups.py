from __future__ import annotations

import pytest

from testbed.errors import RemoteProtocolError
from testbed.transports.sized.groups import HeldGroups
from testbed.transports.sized.plan import Reference, Structure
from testbed.transports.sized.wire import Descriptor


def held(*packets: tuple[Descriptor, int]) -> HeldGroups:
    groups = HeldGroups(Structure(10, Reference.NONE, lead_frames=1, optional=frozenset({0})))
    for told, sequence in packets:
        groups.on_packet(told, sequence)
    return groups


def test_groups_count_frames_from_the_leading_one_on() -> None:
    structure = Structure(10, Reference.NEIGHBOUR, lead_frames=1)
    assert [structure.first(n) for n in range(4)] == [0, 1, 11, 21]
    assert [structure.most_frames(n) for n in range(2)] == [1, 10]
    plain = Structure(57, Reference.NONE)
    assert [plain.first(n) for n in range(3)] == [0, 57, 114]


@pytest.mark.parametrize(
    "told",
    [
        Descriptor(0, 0, 1, 2),  # the leading group has one frame
        Descriptor(1, 0, 1, 11),  # others ten
        Descriptor(2, 1, 4, 10, key=True),  # the group had three units
        Descriptor(2, 1, 3, 9, key=True),
        Descriptor(2, 1, 3, 10, key=False),
    ],
)
def test_a_shape_that_cannot_be_or_has_changed_is_refused(told: Descriptor) -> None:
    groups = held((Descriptor(2, 0, 3, 10, key=True), 5))
    with pytest.raises(RemoteProtocolError):
        groups.on_packet(told, 6)


def test_a_group_is_usable_without_what_is_optional_but_not_without_all() -> None:
    groups = held((Descriptor(0, 0, 2, 1), 0))
    group = groups.get(0)
    assert group is not None
    optional = frozenset({0})
    assert not group.usable(optional)
    groups.on_unit(Descriptor(0, 1, 2, 1), b"")
    assert group.usable(optional)
    assert not group.usable(frozenset())
    assert not group.whole
    groups.on_unit(Descriptor(0, 0, 2, 1), b"")
    assert group.whole
    alone = held((Descriptor(0, 0, 1, 1), 0)).get(0)
    assert alone is not None
    assert not alone.usable(optional)


def test_packets_of_groups_that_are_done_with_are_left_alone() -> None:
    groups = held((Descriptor(0, 0, 1, 1), 0))
    assert groups.pop_next() is not None
    groups.on_packet(Descriptor(0, 0, 1, 1), 0)
    groups.on_unit(Descriptor(0, 0, 1, 1), b"")
    assert groups.get(0) is None
    assert groups.pop_next() is None
    assert groups.next == 2


def test_a_missing_packet_is_of_a_key_group_or_beside_one() -> None:
    groups = HeldGroups(Structure(1, Reference.CHAIN))
    assert groups.key_may_own(0)  # the stream begins with a key group
    groups.on_packet(Descriptor(0, 0, 1, 1, key=True), 1)
    groups.pop_next()
    assert groups.key_may_own(2)  # its end, perhaps
    groups.on_packet(Descriptor(1, 0, 2, 1), 4)
    groups.pop_next()
    groups.on_packet(Descriptor(2, 0, 2, 1), 8)
    assert not groups.key_may_own(6)
    groups.on_packet(Descriptor(3, 0, 1, 1, key=True), 12)
    groups.on_packet(Descriptor(3, 0, 1, 1, key=True), 16)
    assert groups.key_may_own(14)
    assert groups.key_may_own(10)
    assert not groups.key_may_own(7)
