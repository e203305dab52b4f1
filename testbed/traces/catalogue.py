"""The catalogue: every trace, model and data set that we name, with origin, licence, citation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from testbed.errors import TraceError
from testbed.paths import data_dir

Kind = Literal["traces", "models", "sets", "datasets"]
_KINDS: Final[tuple[Kind, ...]] = ("traces", "models", "sets", "datasets")
_REQUIRED: Final = ("name", "title", "origin", "licence", "citation")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalogue.

    Attributes:
        kind: "traces" (shipped, by formula), "models" (shipped parameters), "sets" (several
            traces under one name), "datasets" (real measurements that are not shipped).
        name: what a scenario writes.
        title: one line.
        origin: where it comes from; for a data set, where to get it.
        licence: terms of what is shipped, or of the data set.
        citation: what to cite.
        spec: trace specification(s) it stands for; empty for models and data sets.
        file: parameter file of a model, relative to the catalogue; else "".
        importer: format that reads a data set; else "".
    """

    kind: Kind
    name: str
    title: str
    origin: str
    licence: str
    citation: str
    spec: tuple[str, ...] = ()
    file: str = ""
    importer: str = ""


def catalogue_path() -> Path:
    """The catalogue file that we ship."""
    return data_dir("traces") / "catalogue.yaml"


@cache
def load(path: Path | None = None) -> tuple[Entry, ...]:
    """All entries, in the order of the file.

    Raises:
        TraceError: unreadable, or an entry lacks a field.
    """
    import yaml

    path = path or catalogue_path()
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(document, dict):
        raise TraceError(f"{path}: must hold {', '.join(_KINDS)}")
    entries = [
        _entry(kind, item, f"{path}: {kind}[{index}]")
        for kind in _KINDS
        for index, item in enumerate(document.get(kind) or [])
    ]
    names = [(entry.kind, entry.name) for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise TraceError(f"{path}: {name[0]} entry {name[1]!r} is there twice")
    return tuple(entries)


def find(name: str, kind: Kind) -> Entry | None:
    """The entry of this kind and name, or None."""
    return next((entry for entry in load() if entry.kind == kind and entry.name == name), None)


def names(kind: Kind) -> list[str]:
    """Names of the entries of this kind."""
    return [entry.name for entry in load() if entry.kind == kind]


def _entry(kind: Kind, item: Any, where: str) -> Entry:
    if not isinstance(item, dict):
        raise TraceError(f"{where} must be a mapping")
    for field in _REQUIRED:
        if not isinstance(item.get(field), str) or not item[field].strip():
            raise TraceError(f"{where}: field {field} is missing")
    spec = item.get("spec", [])
    known = {*_REQUIRED, "spec", "file", "importer"}
    if set(item) - known:
        raise TraceError(f"{where}: unknown field {sorted(set(item) - known)[0]}")
    return Entry(
        kind=kind,
        **{field: " ".join(item[field].split()) for field in _REQUIRED},
        spec=(spec,) if isinstance(spec, str) else tuple(spec),
        file=item.get("file", ""),
        importer=item.get("importer", ""),
    )
