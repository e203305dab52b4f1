"""BBR after draft-ietf-ccwg-bbr-06, and the controller `bbr`."""

from __future__ import annotations

from testbed.protocol.congestion.bbr.controller import BbrController
from testbed.protocol.congestion.bbr.draft06 import BbrConfig, BbrDraft06
from testbed.protocol.congestion.bbr.machine import Event, State, StateMachine
from testbed.protocol.congestion.bbr.realtime import BbrDraft06Realtime, RealtimeConfig

__all__ = [
    "BbrConfig",
    "BbrController",
    "BbrDraft06",
    "BbrDraft06Realtime",
    "Event",
    "RealtimeConfig",
    "State",
    "StateMachine",
]
