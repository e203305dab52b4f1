"""What this world needs beside the core, and how it is asked for."""

from __future__ import annotations

from importlib.util import find_spec

from testbed.errors import ToolMissingError
from testbed.transports.aiortc_media import INSTALL


def require_aiortc() -> None:
    """Refuse to go on without aiortc.

    Raises:
        ToolMissingError: says how to install it.
    """
    if find_spec("aiortc") is None:
        raise ToolMissingError(f"--world webrtc needs the package aiortc: {INSTALL}")
