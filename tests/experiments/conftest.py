from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCENARIO = """\
name: tiny
description: Two transports, two loss rates
clips: [some-clip]
duration_s: 2
downlink:
  trace: [constant:2000kbps]
  queue: {kind: droptail, packets: 60}
  loss:
    - {kind: bernoulli, rate: [0, 0.05]}
  delay_ms: 50
transports: [h264, h265]
rate: {control: fixed, kbps: 400}
seeds: [1, 2, 3]
"""


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fake worlds; clips are fake too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import fakeworld

    monkeypatch.setattr("testbed.media.clips.open_clip", fakeworld.open_clip)
    return fakeworld


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small scenario with one replacement."""

    def write_scenario(old: str = "", new: str = "", *, name: str = "tiny.yaml") -> Path:
        assert old in SCENARIO
        path = tmp_path / name
        path.write_text(SCENARIO.replace(old, new, 1) if old else SCENARIO, encoding="utf-8")
        return path

    return write_scenario
