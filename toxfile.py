"""Let tox find the wheels that pip finds.

tox makes its environments with uv, which does not read pip's configuration. Who keeps wheels in a
folder (pip's `find-links`), such as PyTorch's small build for the CPU, means them for tox as well.
"""

from __future__ import annotations

import os
import subprocess
import sys


def _pip_find_links() -> str:
    """Pip's `find-links`, separated by spaces; "" where there are none."""
    if "PIP_FIND_LINKS" in os.environ:
        return os.environ["PIP_FIND_LINKS"]
    command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


os.environ.setdefault("UV_FIND_LINKS", ",".join(_pip_find_links().split()))
