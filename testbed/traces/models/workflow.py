"""Fitting and checking a model from files: what the two commands do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.traces.files import name_hash
from testbed.traces.models import corpus, fitting, validation
from testbed.traces.models.model import RAMP_S, TraceModel, from_json

#: Characters of the hash of a file name that a model keeps.
_NAME_HASH_CHARACTERS: Final = 16
SPLIT_RULE: Final = (
    "within each data set (file name before '__'), sorted by SHA-256 of the file name: the 1st, "
    "3rd, ... are fitted to, the others held out; a lone file by the parity of its hash"
)


def short_hash(name: str) -> str:
    """How a model remembers the name of a file that it was fitted to."""
    return name_hash(name)[:_NAME_HASH_CHARACTERS]


def fit_files(
    sources: Sequence[str],
    *,
    base: Path,
    name: str,
    title: str = "",
    notes: Sequence[str] = (),
    exclude: Sequence[str] = (),
    use_all: bool = False,
) -> TraceModel:
    """A model fitted to one half of the files (or to all).

    Args:
        sources: paths, globs and folders.
        base: folder that relative ones start from.
        name: name of the model; letters, digits and dashes.
        title: one line; the name if empty.
        notes: what readers of results should know.
        exclude: patterns of file names to leave out; remembered by the model.
        use_all: fit to every file and hold none out.

    Raises:
        TraceError: no usable file, or a bad name.
    """
    if not name or not all(letter.isalnum() or letter == "-" for letter in name):
        raise TraceError(f"model name {name!r} must be letters, digits and dashes")
    paths = corpus.collect(sources, base=base, exclude=exclude)
    fit_names, held_names = corpus.split(path.name for path in paths)
    chosen = [path for path in paths if use_all or path.name in set(fit_names)]
    step_s = corpus.common_step(chosen)
    recordings = [item for path in chosen for item in corpus.record(path, step_s=step_s)]
    model = fitting.fit(recordings, name=name, title=title or name, step_s=step_s)
    model = dataclasses.replace(
        model,
        notes=tuple(notes),
        provenance={
            "split": "all files" if use_all else SPLIT_RULE,
            "exclude": list(exclude),
            "files_fitted": len(chosen),
            "files_held_out": 0 if use_all else len(held_names),
            "hours_fitted": sum(item.seconds for item in recordings) * step_s / 3600,
            "recordings_by_data_set": _by_group(recordings),
            "settings": {
                "regimes": fitting.REGIMES,
                "ramp_s": RAMP_S,
                "pool_weight": fitting.POOL_WEIGHT,
                "max_file_s": corpus.MAX_FILE_S,
                "max_outage_s": corpus.MAX_OUTAGE_S,
            },
        },
        fitted_names=tuple(sorted(short_hash(path.name) for path in chosen)),
    )
    return from_json(model.to_json())  # what is used is what is written: rounded


def _by_group(recordings: Sequence[corpus.Recording]) -> dict[str, int]:
    groups = sorted({item.group for item in recordings})
    return {group: sum(item.group == group for item in recordings) for group in groups}


@dataclass(frozen=True, slots=True)
class Check:
    """A validation and the windows behind it.

    Attributes:
        result: the figures.
        sides: windows held out, fitted to, and drawn, in kbit/s on the 1 s grid.
    """

    result: validation.Validation
    sides: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]], list[NDArray[np.float64]]]


def validate_files(model: TraceModel, sources: Sequence[str], *, base: Path) -> Check:
    """Check a model against those of the files that it was not fitted to.

    Raises:
        TraceError: no file that it has not seen.
    """
    exclude: Any = model.provenance.get("exclude", ())
    paths = corpus.collect(sources, base=base, exclude=list(exclude))
    seen = set(model.fitted_names)
    held_paths = [path for path in paths if short_hash(path.name) not in seen]
    fit_paths = [path for path in paths if short_hash(path.name) in seen]
    if not held_paths:
        raise TraceError(f"model {model.name} was fitted to all {len(paths)} files; none held out")
    held, fitted = _windows(held_paths), _windows(fit_paths)
    drawn = validation.drawn_windows(model)
    result = validation.validate(
        model, held, fitted, held_files=len(held_paths), fit_files=len(fit_paths), drawn=drawn
    )
    return Check(result, (held, fitted, drawn))


def _windows(paths: Sequence[Path]) -> list[NDArray[np.float64]]:
    return validation.windows(
        piece for path in paths for item in corpus.record(path, step_s=1.0) for piece in item.pieces
    )
