"""Reads YAML into dataclasses and forgives nothing.

The dataclass is the schema: its fields are the allowed keys, its annotations the allowed values,
its defaults what may be left out. Values are taken from the composed nodes, not from loaded data,
so that errors know their line and a key given twice is not lost.
"""

from __future__ import annotations

import dataclasses
import math
import types
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from morphe_core.errors import TrainingError

T = TypeVar("T")

_MEANT = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def read_dataclass(kind: type[T], path: Path) -> T:
    """The file as a `kind`.

    Fields may be int, float (also written 1e-3, which YAML takes for text), bool, str, `Path`
    (relative to the file's folder), tuples and lists of one type, dicts, and dataclasses. An error
    that a dataclass raises in `__post_init__` is given the place of its value.

    Args:
        kind: a dataclass.
        path: a YAML file.

    Raises:
        TrainingError: one line that names file, line, field and what is allowed.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
    except OSError as error:
        raise TrainingError(f"{path}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TrainingError(f"{path}: is not text in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise TrainingError(f"{path}{line}: is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise TrainingError(f"{path}: is not YAML: {str(error).splitlines()[0]}") from None
    if node is None:
        raise TrainingError(f"{path}: is empty")
    value: T = _Reader(path, loader).value(kind, node, "")
    return value


class _Reader:
    def __init__(self, path: Path, loader: yaml.SafeLoader) -> None:
        self.path = path
        self.loader = loader

    def fail(self, node: yaml.Node, place: str, what: str) -> TrainingError:
        where = f"{self.path}:{node.start_mark.line + 1}: "
        return TrainingError(where + (f"{place}: " if place else "") + what)

    def value(self, kind: Any, node: yaml.Node, place: str) -> Any:
        """The node as a value of `kind`; `place` names it in errors."""
        origin = get_origin(kind)
        if dataclasses.is_dataclass(kind):
            return self.dataclass(kind, node, place)
        if origin in (tuple, list):
            items = self.items(get_args(kind)[0], node, place)
            return tuple(items) if origin is tuple else items
        if origin is dict:
            return self.mapping(kind, node, place)
        if origin is types.UnionType:
            return self.union(get_args(kind), node, place)
        return self.scalar(kind, node, place)

    def dataclass(self, kind: Any, node: yaml.Node, place: str) -> Any:
        fields = {field.name: field for field in dataclasses.fields(kind)}
        hints = get_type_hints(kind)
        given: dict[str, Any] = {}
        for key_node, value_node in self.pairs(node, place):
            key = str(key_node.value)
            inner = f"{place}.{key}" if place else key
            if key not in fields:
                known = ", ".join(sorted(fields))
                raise self.fail(key_node, inner, f"unknown key; known here: {known}")
            given[key] = self.value(hints[key], value_node, inner)
        for name, field in fields.items():
            no_default = field.default is field.default_factory is dataclasses.MISSING
            if no_default and name not in given:
                raise self.fail(node, f"{place}.{name}" if place else name, "is missing")
        try:
            return kind(**given)
        except TrainingError as error:
            raise self.fail(node, place, str(error)) from None

    def pairs(self, node: yaml.Node, place: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
        """Keys and values of a mapping, each key once."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, place, "must be a mapping of keys and values")
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.fail(key, place, "keys must be text or numbers")
            if key.value in seen:
                raise self.fail(key, f"{place}.{key.value}" if place else key.value, "given twice")
            seen.add(key.value)
        return list(node.value)

    def items(self, kind: Any, node: yaml.Node, place: str) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, place, "must be a list")
        return [self.value(kind, one, f"{place}[{n}]") for n, one in enumerate(node.value)]

    def mapping(self, kind: Any, node: yaml.Node, place: str) -> dict[Any, Any]:
        keys, values = get_args(kind)
        return {
            self.value(keys, key, place): self.value(values, value, f"{place}.{key.value}")
            for key, value in self.pairs(node, place)
        }

    def union(self, kinds: tuple[Any, ...], node: yaml.Node, place: str) -> Any:
        """`X | None`: nothing written is None."""
        (kind,) = (one for one in kinds if one is not types.NoneType)
        if isinstance(node, yaml.ScalarNode) and self.loader.construct_object(node) is None:
            return None
        return self.value(kind, node, place)

    def scalar(self, kind: Any, node: yaml.Node, place: str) -> Any:
        meant = _MEANT.get(kind, "a path")
        if not isinstance(node, yaml.ScalarNode):
            raise self.fail(node, place, f"must be {meant}")
        try:
            value = self.loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            value = node.value
        if kind is float:
            value = _number(value)
        wanted = str if kind is Path else kind
        # True is an int to Python, but not to a reader.
        if type(value) is not wanted or value == "":
            raise self.fail(node, place, f"must be {meant} (got {node.value!r})")
        return self.path.parent / value if kind is Path else value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
