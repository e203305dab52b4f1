"""Registries: plug-ins by name instead of if-chains.

A registry maps a name to a factory. Third parties add to it through a Python entry point in the
group named by the registry, without touching our files; such entry points are read only when a
name is not found among the built-in ones.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from testbed.errors import InputError, LocalProtocolError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to objects of one kind.

    Args:
        kind: what the entries are, for error messages ("transport", "loss model").
        group: entry-point group for third parties ("testbed.transports").
    """

    def __init__(self, kind: str, *, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, T] = {}
        self._loaded_entry_points = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files its object under `name`."""

        def file_under(entry: T) -> T:
            if name in self._entries:
                raise LocalProtocolError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return file_under

    def get(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            UnknownNameError: no such name; the message lists the known ones.
        """
        if name not in self._entries:
            self._load_entry_points()
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(self.names())
            raise UnknownNameError(f"unknown {self.kind} {name!r}; known: {known}") from None

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._load_entry_points()
        return sorted(self._entries)

    def _load_entry_points(self) -> None:
        if self._loaded_entry_points:
            return
        self._loaded_entry_points = True
        for point in entry_points(group=self.group):
            if point.name not in self._entries:
                self._entries[point.name] = self._load(point)

    def _load(self, point: EntryPoint) -> T:
        """What a third party's entry point names; its import may fail in any way."""
        try:
            entry: T = point.load()
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{self.kind} {point.name!r} ({point.value}) cannot be loaded: {why}"
            ) from None
        return entry
