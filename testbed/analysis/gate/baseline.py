"""The recorded baseline: a small JSON file to keep beside the code that it guards.

Numbers of a run, and its series where recorded, stand on lines of their own, so that the
difference between two versions of the file shows which run moved in what. What all runs are made
of stands once, at the head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from testbed.analysis.gate.records import Record, Side
from testbed.analysis.metrics import METRICS_VERSION
from testbed.errors import InputError

FORMAT: Final = "testbed baseline"
SCHEMA: Final = 1

#: Fields of a run in the file, and what each must be.
_FIELDS: Final[Mapping[str, type]] = {
    "scenario": str,
    "transport": str,
    "seed": int,
    "world": str,
    "cell": dict,
    "settings": dict,
    "made_with": dict,
    "metrics": dict,
    "series": dict,
}
#: Fields whose entries are mostly the same for all runs.
_SHARED: Final = ("settings", "made_with")


def to_text(side: Side) -> str:
    """The file's content.

    Raises:
        InputError: some of the runs failed or are broken; a baseline must be whole.
    """
    check_whole(side)
    common = {name: _common([getattr(record, name) for record in side.records]) for name in _SHARED}
    head = {
        "format": FORMAT,
        "schema": SCHEMA,
        "metrics_version": METRICS_VERSION,
        "series_ms": side.series_ms,
        **{f"common_{name}": value for name, value in common.items()},
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    runs = ",\n".join(_run_text(record, common) for record in side.records)
    return "{" + ",\n".join([*lines, f'"runs": [\n{runs}\n]}}\n'])


def check_whole(side: Side) -> None:
    """A baseline says what good looks like, so all of it must be there.

    Raises:
        InputError: some of the runs failed or are broken, or there are none.
    """
    if side.broken:
        raise InputError(f"{side.broken[0]} (a baseline must be whole)")
    if side.failures:
        count = len(side.failures)
        raise InputError(
            f"{side.source / 'failures.json'}: lists {count} failed runs; a baseline must be whole"
        )
    if not side.records:
        raise InputError(f"{side.source}: holds no runs; a baseline needs one at least")


def _common(mappings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Entries that all have."""
    first, *others = mappings
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in others)}


def _run_text(record: Record, common: Mapping[str, Mapping[str, str]]) -> str:
    # Numbers as they are: a rounded one would differ from the run that it was made from.
    fields = {name: getattr(record, name) for name in _FIELDS if name != "series"}
    for name in _SHARED:
        fields[name] = {k: v for k, v in fields[name].items() if k not in common[name]}
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
    series = ",\n ".join(
        f"{json.dumps(name)}: {json.dumps(list(values), separators=(',', ':'))}"
        for name, values in record.series.items()
    )
    return "{" + ",\n ".join([*lines, f'"series": {{{series}}}']) + "}"


def read_file(path: Path) -> Side:
    """A recorded baseline.

    Raises:
        InputError: unreadable, not such a file, or of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        why = str(error).splitlines()[0] if str(error) else "not text"
        raise InputError(f"{path}: not JSON ({why})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: not a recorded baseline; `testbed gate --record` makes one")
    for name, version in (("schema", SCHEMA), ("metrics_version", METRICS_VERSION)):
        if content.get(name) != version:
            raise InputError(
                f"{path}: {name} is {content.get(name)!r}, this version reads {version}; "
                "record it again with --record"
            )
    step = content.get("series_ms")
    if step is not None and (not isinstance(step, int) or isinstance(step, bool) or step < 1):
        raise InputError(f"{path}: series_ms must be null or an integer >= 1, is {step!r}")
    common = {name: content.get(f"common_{name}") for name in _SHARED}
    for name, value in common.items():
        if not isinstance(value, dict):
            raise InputError(f"{path}: common_{name}: is missing or not of type dict")
    runs = content.get("runs")
    if not isinstance(runs, list) or not runs:
        raise InputError(f"{path}: runs must be a list of at least one run")
    records = tuple(_parse(f"{path}: runs[{index}]", run, common) for index, run in enumerate(runs))
    return Side(path, records, step)


def _parse(where: str, run: Any, common: Mapping[str, Any]) -> Record:
    if not isinstance(run, dict):
        raise InputError(f"{where}: must be an object")
    for name, kind in _FIELDS.items():
        if not isinstance(run.get(name), kind) or isinstance(run.get(name), bool):
            raise InputError(f"{where}.{name}: is missing or not of type {kind.__name__}")
    for name, value in run["metrics"].items():
        if not _is_number(value):
            raise InputError(f"{where}.metrics.{name}: must be a number or null, is {value!r}")
    for name, values in run["series"].items():
        if not isinstance(values, list) or not all(map(_is_number, values)):
            raise InputError(f"{where}.series.{name}: must be a list of numbers and nulls")
    fields = {name: run[name] for name in _FIELDS}
    return Record(**{**fields, **{name: {**common[name], **fields[name]} for name in _SHARED}})


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
