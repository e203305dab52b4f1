"""The registry of transports: classes in Python, and schemes in files that build on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.errors import UnknownNameError
from testbed.registry import Registry
from testbed.transports.schemes.file import shipped_names, shipped_scheme

if TYPE_CHECKING:
    from testbed.transports.base import Transport


class TransportRegistry(Registry["Transport"]):
    """Built-in classes first, then shipped scheme files, then entry points.

    A class with a scheme file of its own name takes its texts and its look from there
    (`TextsFromFile`).
    """

    def __init__(self, kind: str, *, group: str) -> None:
        super().__init__(kind, group=group)
        self._schemes: dict[str, Transport] = {}

    def get(self, name: str) -> Transport:
        """See `Registry.get`; a scheme file is read when it is asked for."""
        found = shipped_scheme(name)
        if found is None:
            return super().get(name)
        if found.base == name:
            return self.coded(name)
        if name not in self._schemes:
            from testbed.transports.schemes.transport import open_scheme

            self._schemes[name] = open_scheme(found, where=f"scheme {name}.yaml")
        return self._schemes[name]

    def coded(self, name: str) -> Transport:
        """The transport called `name` that is a class and no scheme.

        Raises:
            UnknownNameError: no such name; the message lists the known ones.
        """
        from testbed.transports.schemes.transport import SchemeTransport

        if name not in self._entries:
            self._load_entry_points()
        classes = {n: e for n, e in self._entries.items() if not isinstance(e, SchemeTransport)}
        try:
            return classes[name]
        except KeyError:
            known = ", ".join(sorted(classes))
            raise UnknownNameError(f"unknown transport {name!r}; known: {known}") from None

    def names(self) -> list[str]:
        """See `Registry.names`."""
        return sorted({*super().names(), *shipped_names()})


class TextsFromFile:
    """Base of a transport class whose texts are in the scheme file of its name."""

    __slots__ = ()
    name: str

    @property
    def display_name(self) -> str:
        """Name for figures."""
        found = shipped_scheme(self.name)
        return self.name if found is None else found.display_name

    @property
    def summary(self) -> str:
        """One line for lists."""
        found = shipped_scheme(self.name)
        return "" if found is None else found.summary
