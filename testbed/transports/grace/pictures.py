"""What has come of the pictures that the receiver has not decided on yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from grace_style.header import Header
from testbed.errors import RemoteProtocolError

NEVER: Final = 1 << 62


@dataclass(slots=True)
class Picture:
    """What came of a picture.

    Attributes:
        key: it is an intra picture.
        count: packets that it has.
        first: extended sequence number of its first one.
        came_ns: when the first of what came did.
        units: payloads by their number.
    """

    key: bool
    count: int
    first: int
    came_ns: int
    units: dict[int, bytes] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Nothing is missing."""
        return len(self.units) == self.count

    def missing(self) -> list[int]:
        """Sequence numbers of what has not come."""
        return [self.first + n for n in range(self.count) if n not in self.units]


class Pictures:
    """The pictures from the next one on, by number.

    Attributes:
        next: the picture that is decided on next.
    """

    def __init__(self) -> None:
        self.next = 0
        self._held: dict[int, Picture] = {}
        # The first packet of picture `_known` has number `_known_first`.
        self._known, self._known_first = 0, 0

    def get(self, index: int) -> Picture | None:
        """A picture of which something came."""
        return self._held.get(index)

    def file(self, index: int, sequence: int, header: Header, payload: bytes, now_ns: int) -> None:
        """A packet came.

        Raises:
            RemoteProtocolError: it contradicts another one of the same picture.
        """
        first = sequence - header.number
        picture = self._held.get(index)
        if picture is None:
            picture = Picture(header.is_piece, header.count, first, now_ns)
            self._held[index] = picture
        if (picture.key, picture.count, picture.first) != (header.is_piece, header.count, first):
            raise RemoteProtocolError(f"packets of picture {index} contradict each other")
        picture.units[header.number] = payload

    def shown_after_ns(self, index: int) -> int:
        """When a picture after `index` first showed; `NEVER`: none has."""
        return min((one.came_ns for n, one in self._held.items() if n > index), default=NEVER)

    def first_after(self, index: int) -> int | None:
        """The first picture after `index` of which something came."""
        return min((n for n in self._held if n > index), default=None)

    def keys(self) -> list[int]:
        """Intra pictures of which something came, in order."""
        return sorted(n for n, one in self._held.items() if one.key)

    def lost(self) -> list[int]:
        """Numbers of the packets that are missing from the next picture, of which nothing came, on.

        Where several pictures in a row are missing, only the packets of all together are known:
        each is taken to have as many as the others.
        """
        later = self.first_after(self.next)
        if later is None:
            return []
        end = self._held[later].first
        packets, pictures = end - self._known_first, later - self._known
        begin = self._known_first + packets * (self.next - self._known) // pictures
        return list(range(begin, end))

    def go_on(self, index: int) -> None:
        """The next one is `index`; nothing before it matters any more."""
        last = self._held.get(index - 1)
        for number in [n for n in self._held if n < index]:
            del self._held[number]
        self.next = index
        here = self._held.get(index)
        if here is not None:
            self._known, self._known_first = index, here.first
        elif last is not None:
            self._known, self._known_first = index, last.first + last.count
