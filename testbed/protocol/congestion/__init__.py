"""Rate controllers; importing this package registers the built-in ones."""

from __future__ import annotations

from testbed.protocol.congestion.base import (
    CONTROLLERS,
    ControllerDefaults,
    RateController,
    make_controller,
)
from testbed.protocol.congestion.bbr import BbrController
from testbed.protocol.congestion.fixed import FixedRate
from testbed.protocol.congestion.gcc import GccController
from testbed.protocol.congestion.oracle import OracleRate

__all__ = [
    "CONTROLLERS",
    "BbrController",
    "ControllerDefaults",
    "FixedRate",
    "GccController",
    "OracleRate",
    "RateController",
    "make_controller",
]
