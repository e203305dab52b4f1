"""The content of a scheme file, checked."""

from __future__ import annotations

from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from testbed.errors import ScenarioError

if TYPE_CHECKING:
    from testbed.transports.schemes.model import SchemeFile

_FOLDER: Final = Path(__file__).resolve().parent
SUFFIXES: Final = (".yaml", ".yml")


def is_scheme_path(text: str) -> bool:
    """Whether a scenario's word for a transport means a file rather than a name."""
    return PurePath(text).suffix in SUFFIXES


def scheme_stem(text: str) -> str:
    """The name of the scheme that a scenario means by a name or a path."""
    return PurePath(text).stem if is_scheme_path(text) else text


def load_scheme(path: Path) -> SchemeFile:
    """Read and check one scheme file.

    Raises:
        ScenarioError: the first thing that is wrong, as `file:line: field: what`.
    """
    # Not at the top: names alone are known without pydantic.
    from testbed.problems import validate
    from testbed.transports.schemes.model import SchemeFile
    from testbed.yamlfile import load_document

    document = load_document(path)
    found: SchemeFile = validate(SchemeFile, document)
    if found.name != path.stem:
        raise ScenarioError(
            f"{document.origin(('name',))}: name: must be the file's own, {path.stem!r} "
            f"(got {found.name!r})"
        )
    return found


@cache
def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def shipped_names() -> tuple[str, ...]:
    """Names of the shipped schemes, sorted."""
    return tuple(_shipped())


@cache
def shipped_scheme(name: str) -> SchemeFile | None:
    """The shipped scheme called `name`; None: there is none."""
    path = _shipped().get(name)
    return None if path is None else load_scheme(path)
