"""Shared by the tests of the link."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# The same cases on every machine, and no timing in the verdict.
settings.register_profile("network", deadline=None, derandomize=True, max_examples=80)
settings.load_profile("network")


@pytest.fixture
def read_golden() -> Callable[[Path], str]:
    """Reads a gzipped text file."""
    return lambda path: gzip.decompress(path.read_bytes()).decode("ascii")
