"""The example in the guide to figures works as it stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.analysis.plots import FIGURES
from testbed.analysis.runs import Run
from testbed.analysis.style import COLUMN_IN

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "figures.md"


@pytest.mark.usefixtures("styled")
def test_the_guides_own_figure_registers_and_draws(
    suite: Callable[[str], tuple[Run, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FIGURES, "_entries", dict(FIGURES._entries))
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, str(GUIDE), "exec"), {})
    (plan,) = FIGURES.get("rtt").plan(suite("all-lost"))
    figure = plan.draw()
    assert figure.get_figwidth() == COLUMN_IN
    assert len(figure.axes[0].lines) == 1


def test_the_guide_lists_every_figure() -> None:
    named = set(re.findall(r"^\| `([a-z-]+)` \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == set(FIGURES.names())
