"""What a sized receiver holds of the groups that it has not decided on."""

from __future__ import annotations

from typing import Final

from testbed.errors import RemoteProtocolError
from testbed.transports.sized.plan import Structure
from testbed.transports.sized.wire import Descriptor

#: Groups from the next one on that are held; to hold a later one the receiver gives up the next.
#: As many one-frame groups as 17 s at 60 fps.
MAX_GROUPS_HELD: Final = 1024


class HeldGroup:
    """One group.

    Attributes:
        units, frames: as its packets say.
        key: decoding can start here.
        first_sequence: lowest packet number seen of it.
        last_sequence: highest.
        data: bytes of each whole unit; empty where nothing is kept.
    """

    __slots__ = ("data", "first_sequence", "frames", "key", "last_sequence", "units")

    def __init__(self, told: Descriptor, sequence: int) -> None:
        self.units, self.frames, self.key = told.units, told.frames, told.key
        self.first_sequence = self.last_sequence = sequence
        self.data: dict[int, bytes] = {}

    @property
    def whole(self) -> bool:
        """Every unit is there."""
        return len(self.data) == self.units

    def usable(self, optional: frozenset[int]) -> bool:
        """Every unit is there but some of those that may be missing."""
        return bool(self.data) and all(
            unit in self.data or unit in optional for unit in range(self.units)
        )


class HeldGroups:
    """Groups by number; memory is bounded whatever arrives.

    Args:
        structure: of the stream.
    """

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        self._groups: dict[int, HeldGroup] = {}
        #: The group that is decided on next.
        self.next = 0
        self._last_key = True  # the group before it was a key group

    def on_packet(self, told: Descriptor, sequence: int) -> None:
        """A packet of some group came.

        Raises:
            RemoteProtocolError: the descriptor contradicts the structure or earlier ones.
        """
        if told.frames > self._structure.most_frames(told.group):
            raise RemoteProtocolError(f"group {told.group} of {told.frames} frames")
        if told.group < self.next:
            return
        group = self._groups.get(told.group)
        if group is None:
            group = self._groups[told.group] = HeldGroup(told, sequence)
        if (told.units, told.frames, told.key) != (group.units, group.frames, group.key):
            raise RemoteProtocolError(f"group {told.group} has changed its shape")
        group.first_sequence = min(group.first_sequence, sequence)
        group.last_sequence = max(group.last_sequence, sequence)

    def on_unit(self, told: Descriptor, data: bytes) -> None:
        """A unit is whole."""
        group = self._groups.get(told.group)
        if group is not None and told.unit < group.units:
            group.data[told.unit] = data

    def get(self, number: int) -> HeldGroup | None:
        """What there is of a group."""
        return self._groups.get(number)

    def after_next(self) -> HeldGroup | None:
        """The first group behind the next of which anything came."""
        later = [number for number in self._groups if number > self.next]
        return self._groups[min(later)] if later else None

    def next_key(self) -> int | None:
        """The first whole key group behind the next."""
        found = [n for n, group in self._groups.items() if n > self.next and group.key]
        return min((n for n in found if self._groups[n].whole), default=None)

    def key_may_own(self, sequence: int) -> bool:
        """Whether a packet that did not come may be of a key group.

        One between two groups is of the end of the one or the beginning of the other.
        """
        groups = self._groups.values()
        before = [group for group in groups if group.first_sequence < sequence]
        after = [group for group in groups if group.last_sequence > sequence]
        left = max(before, key=lambda group: group.first_sequence, default=None)
        right = min(after, key=lambda group: group.last_sequence, default=None)
        left_key = self._last_key if left is None else left.key
        return left_key or (right is not None and right.key)

    def pop_next(self) -> HeldGroup | None:
        """Take the next group out and go on to the one after it."""
        group = self._groups.pop(self.next, None)
        self.next += 1
        if group is not None:
            self._last_key = group.key
        return group

    def __len__(self) -> int:
        return len(self._groups)
