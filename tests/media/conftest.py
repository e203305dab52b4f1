"""One cache folder for all media tests of a run, away from the user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.media.clips import Clip, open_clip
from testbed.media.spec import ClipSpec


@pytest.fixture(scope="session")
def media_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(media_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(media_cache))


OpenClip = Callable[..., Clip]


@pytest.fixture
def clip_of() -> OpenClip:
    """Open a clip by source and form; a relative path is a mistake in these tests."""

    def open_it(source: str, **form: float) -> Clip:
        return open_clip(ClipSpec(source, **form), base=Path("/nonexistent"))  # type: ignore[arg-type]

    return open_it
