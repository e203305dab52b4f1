"""Real tshark as an oracle."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: Set where its absence has to be an error.
REQUIRED = os.environ.get("TESTBED_REQUIRE_TSHARK") == "1"
needs_tshark = pytest.mark.skipif(
    not REQUIRED and shutil.which("tshark") is None,
    reason="tshark is not installed: sudo sh tools/install_tshark.sh (Debian)",
)


def tshark(path: Path, *arguments: str) -> str:
    """What tshark says of a capture, with checksums checked and nothing of the user's settings."""
    command = ["tshark", "-n", "-r", str(path)]
    for name in ("ip.check_checksum", "udp.check_checksum"):
        command += ["-o", f"{name}:TRUE"]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME": str(path.parent), "WIRESHARK_CONFIG_DIR": str(path.parent)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fields(path: Path, *names: str, options: tuple[str, ...] = ()) -> list[list[str]]:
    """The fields of every packet, as text; "" where a packet has none."""
    wanted = [part for name in names for part in ("-e", name)]
    text = tshark(path, *options, "-T", "fields", "-E", "separator=\t", *wanted)
    return [line.split("\t") for line in text.splitlines()]
