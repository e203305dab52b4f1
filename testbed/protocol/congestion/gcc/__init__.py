"""Google Congestion Control (draft-ietf-rmcat-gcc-02, libwebrtc), and the controller `gcc`."""

from __future__ import annotations

from testbed.protocol.congestion.gcc.controller import GccController

__all__ = ["GccController"]
