"""From what a user writes to traces."""

from __future__ import annotations

from pathlib import Path

from testbed.errors import TraceError
from testbed.traces.resolved import ResolvedTrace


def resolve(spec: str, *, base: Path, seed: int = 0) -> list[ResolvedTrace]:
    """The traces that `spec` names.

    Args:
        spec: one of the forms below.
        base: folder that relative paths start from (the scenario's own).
        seed: seed of synthetic traces; nothing else depends on it.

    Returns:
        One trace, or several for a glob, a folder, a file of several series, or a set.

    Raises:
        TraceError: unknown form, missing file, unreadable content; one line.
    """
    raise TraceError(f"unknown trace {spec!r} (base {base}, seed {seed})")
