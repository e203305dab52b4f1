"""Rate controllers; importing this package registers the built-in ones.

`fixed` and `oracle` here; BBR and GCC get a file each beside them and one line below.
"""

from __future__ import annotations

from testbed.protocol.congestion.base import CONTROLLERS, RateController
from testbed.protocol.congestion.fixed import FixedRate
from testbed.protocol.congestion.oracle import OracleRate

__all__ = ["CONTROLLERS", "FixedRate", "OracleRate", "RateController"]
