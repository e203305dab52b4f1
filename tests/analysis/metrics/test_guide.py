"""The guide to metrics speaks of the metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

from testbed.analysis.metrics import DEFINITIONS

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "metrics.md"


def test_the_guide_names_every_metric() -> None:
    named = set(re.findall(r"`([a-z0-9_]+)`", GUIDE.read_text(encoding="utf-8")))
    for delay in ("frame_delay_ms", "latency_ms"):
        assert delay in named
    plain = {key for key in DEFINITIONS if "_p" not in key or key == "vmaf_p5"} - {"frames"}
    percentiles = {f"_p{p}" for p in (50, 95, 98, 99)}
    missing = {key for key in plain if not re.search(r"_ms_", key)} - named
    assert missing == set()
    assert percentiles <= named
