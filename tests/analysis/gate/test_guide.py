"""The guide speaks of the limits that there are."""

from __future__ import annotations

import re
from pathlib import Path

from testbed.analysis.gate.limits import DEFAULTS
from testbed.analysis.gate.verdicts import TESTED_FROM

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "gate.md"


def test_the_guide_names_every_metric_with_a_limit() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert set(DEFAULTS) <= set(re.findall(r"`([a-z0-9_.]+)`", text))
    assert TESTED_FROM == 5
    assert "five seeds or more" in text
