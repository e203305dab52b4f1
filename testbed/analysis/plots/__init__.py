"""Registered figures; importing this package registers ours."""

from __future__ import annotations

from testbed.analysis.plots import (
    delay_cdf,
    flows,
    quality,
    rendered_fps,
    timeline,
    tracking,
    tradeoff,
)
from testbed.analysis.plots.base import FIGURES, FigureKind, Plan

__all__ = [
    "FIGURES",
    "FigureKind",
    "Plan",
    "delay_cdf",
    "flows",
    "quality",
    "rendered_fps",
    "timeline",
    "tracking",
    "tradeoff",
]
