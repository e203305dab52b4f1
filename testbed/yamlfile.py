"""YAML that knows where every value stands.

PyYAML forgets line numbers and lets a repeated key win silently; a scenario file needs the first
for its errors and must refuse the second. Only mappings with text keys, lists and scalars are
taken: what a scenario or a scheme can be, and what JSON Schema can describe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from testbed.errors import ScenarioError

#: A place in the document: keys and list positions from the top.
Place = tuple[str | int, ...]

#: Aliases can blow a small file up; no scenario comes near this many values.
MAX_VALUES: Final = 100_000


@dataclass(slots=True)
class Document:
    """A parsed file.

    Attributes:
        path: the file, as the user named it.
        data: plain dicts, lists and scalars.
        origins: for each place where it came from, "scenarios/x.yaml:12" or "--set KEY=VALUE".
    """

    path: Path
    data: dict[str, Any]
    origins: dict[Place, str] = field(default_factory=dict)

    def origin(self, place: Sequence[str | int]) -> str:
        """Where the value at `place`, or the nearest one around it, was written."""
        for length in range(len(place), -1, -1):
            found = self.origins.get(tuple(place[:length]))
            if found is not None:
                return found
        return str(self.path)

    def trim(self, place: Sequence[str | int]) -> Place:
        """The part of `place` that exists in the file.

        A scalar stands for a list of one, so a position in it is not in the file; neither are the
        tags that a validator puts between keys.
        """
        node: Any = self.data
        kept: list[str | int] = []
        for part in place:
            if _holds(node, part):
                node = node[part]
                kept.append(part)
        return tuple(kept)


def _holds(node: Any, part: str | int) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, dict) and part in node


def show_place(place: Sequence[str | int]) -> str:
    """`downlink.loss[1].rate` for ("downlink", "loss", 1, "rate")."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class _Reader:
    """Turns one composed node tree into a `Document`."""

    def __init__(self, path: Path, loader: yaml.SafeLoader) -> None:
        self.path = path
        self.loader = loader
        self.origins: dict[Place, str] = {}
        self.values = 0
        self.open_nodes: set[int] = set()  # nodes being read, to refuse an alias to itself

    def where(self, node: yaml.Node) -> str:
        return f"{self.path}:{node.start_mark.line + 1}"

    def read(self, node: yaml.Node, place: Place) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise ScenarioError(f"{self.where(node)}: more than {MAX_VALUES} values")
        if id(node) in self.open_nodes:
            raise ScenarioError(f"{self.where(node)}: an alias must not contain itself")
        self.origins.setdefault(place, self.where(node))
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        self.open_nodes.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, place)
            return [self.read(child, (*place, i)) for i, child in enumerate(node.value)]
        finally:
            self.open_nodes.discard(id(node))

    def scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise ScenarioError(f"{self.where(node)}: cannot read {node.value!r}") from error
        # YAML 1.1 also knows dates, bytes and sets; a scenario means the text it shows.
        return value if isinstance(value, str | int | float | bool | None) else node.value

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":merge"):
                raise ScenarioError(f"{self.where(key_node)}: keys must be plain words")
            key = str(key_node.value)
            here = (*place, key)
            if key in found:
                first = self.origins[here].rsplit(":", 1)[1]
                raise ScenarioError(
                    f"{self.where(key_node)}: {show_place(here)}: "
                    f"given twice (first on line {first})"
                )
            # The line of the key, not of the value: a block value starts a line later.
            self.origins.setdefault(here, self.where(key_node))
            found[key] = self.read(child, here)
        return found


def load_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ScenarioError: not readable, not YAML, a key given twice, or not a mapping at the top.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: not a text file in UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: no path at all (a NUL)
        why = getattr(error, "strerror", None) or error
        raise ScenarioError(f"{path}: cannot read: {why}") from None
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ScenarioError(f"{path}:1: must be a mapping of keys such as `name: ...`")
        reader = _Reader(path, loader)
        return Document(path, reader.mapping(node, ()), reader.origins)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{path}:{line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise ScenarioError(f"{path}: nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()


def apply_override(document: Document, text: str) -> None:
    """Put one `--set KEY=VALUE` into the document.

    `KEY` is a dotted path; a number is a position in a list (`downlink.loss.0.rate=0.1`). `VALUE`
    is YAML, so `[0.05, 0.1]` is a list and `{kind: infinite}` a mapping.

    Raises:
        ScenarioError: no `=`, a value that is not YAML, or a path through something that is not
            a mapping or list.
    """
    key, equals, value_text = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ScenarioError(f"--set {text}: must be KEY=VALUE, such as rate.kbps=400")
    try:
        value = yaml.safe_load(value_text) if value_text.strip() else None
    except yaml.YAMLError:
        raise ScenarioError(f"--set {text}: {value_text!r} is not YAML") from None
    node: Any = document.data
    place: list[str | int] = []
    for part in parts[:-1]:
        node = _step(node, part, place, text)
    last = _key(node, parts[-1], place, text)
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[str(last)] = value
    where = (*place, last)
    stale = [known for known in document.origins if known[: len(where)] == where]
    for known in stale:
        del document.origins[known]
    document.origins[where] = f"--set {text}"


def _step(node: Any, part: str, place: list[str | int], text: str) -> Any:
    """Go down one key, making an empty mapping where there is nothing yet."""
    key = _key(node, part, place, text)
    if isinstance(node, dict) and node.get(key) is None:
        node[key] = {}
    place.append(key)
    return node[key]


def _key(node: Any, part: str, place: Sequence[str | int], text: str) -> str | int:
    if isinstance(node, dict):
        return part
    where = show_place(place)
    if not isinstance(node, list):
        raise ScenarioError(f"--set {text}: {where} is not a mapping or a list")
    if not part.isdigit() or int(part) >= len(node):
        raise ScenarioError(f"--set {text}: {where} is a list; use 0 to {len(node) - 1}")
    return int(part)
