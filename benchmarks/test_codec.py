"""The codec's speed beside x264's; see `codec.py`, which this runs with few GoPs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("codec.py")
GOPS = 3


@pytest.mark.timeout(600)
def test_codec_beside_x264() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--gops", str(GOPS), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)
    peers = {row["case"]["height"]: row for row in rows if not row["case"]["scale"]}
    for row in rows:
        case, peer = row["case"], peers[row["case"]["height"]]
        print(
            f"\n{case['height']}p scale {case['scale']} {case['device']:4} "
            f"encode {row['encode_fps']:6.1f} fps, {row['encode_fps'] / peer['encode_fps']:.3f} of "
            f"x264's; decode {row['decode_fps']:6.1f} fps, "
            f"{row['decode_fps'] / peer['decode_fps']:.3f}; {row['memory_mib']:.0f} MiB",
            end="",
        )
        # Both did the work: pictures of about the rate that one can recognise.
        assert row["psnr"] > 20
        assert 0.5 < row["kbps"] / case["kbps"] < 1.5
    print()
