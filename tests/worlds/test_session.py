from pathlib import Path
from typing import Any

import pytest

from testbed.experiments.runner import simulator
from testbed.worlds.session import SessionResult, takes_tap
from testbed.worlds.simulator import run_session


def plain(spec: Any, sink: Any, *, base: Path) -> SessionResult:
    raise NotImplementedError


def anything(spec: Any, sink: Any, **options: Any) -> SessionResult:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("world", "expected"),
    [(simulator, True), (run_session, True), (anything, True), (plain, False)],
)
def test_a_world_says_by_its_keywords_whether_it_captures(world: Any, expected: bool) -> None:
    assert takes_tap(world) == expected
