"""Shared by all tests."""

import os

import pytest
from hypothesis import settings

# The same cases on every machine, and no timing in the verdict.
settings.register_profile("testbed", deadline=None, derandomize=True, max_examples=80)
settings.load_profile("testbed")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's cache out of the tests, unless one is named for them."""
    os.environ.setdefault("TESTBED_CACHE", str(tmp_path_factory.mktemp("cache")))
