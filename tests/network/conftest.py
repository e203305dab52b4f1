"""Shared by the tests of the link."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def read_golden() -> Callable[[Path], str]:
    """Reads a gzipped text file."""
    return lambda path: gzip.decompress(path.read_bytes()).decode("ascii")
