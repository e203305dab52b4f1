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

    def get(self, name: str) -> Transport:
        """See `Registry.get`; a scheme file is read when it is asked for."""
        if name not in self._entries and (found := shipped_scheme(name)) is not None:
            from testbed.transports.schemes.transport import open_scheme

            if found.base == name:  # the class of that name is not here
                raise UnknownNameError(f"transport {name}: nothing is registered under its name")
            self._entries[name] = open_scheme(found, where=f"scheme {name}.yaml")
        return super().get(name)

    def coded(self, name: str) -> Transport:
        """The transport called `name` that is a class and no scheme.

        Raises:
            UnknownNameError: no such name; the message lists the known ones.
        """
        from testbed.transports.schemes.transport import SchemeTransport

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
