"""Whole sessions per second, beside what ns.py and ns-3 take only to carry the same packets.

Read the ratios; the first column is 60 s of media over the best CPU time of a few rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 5
MEDIA_S = 60.0
OURS = ("session", "h264-400", "morphe-400", "h264-bbr", "morphe-bbr")
PEERS = ("ns.py", "ns-3")
SCRIPT = Path(__file__).with_name("session_contenders.py")


@pytest.mark.timeout(1200)  # Morphe's first encodes take minutes
def test_sessions_per_second(tmp_path: Path) -> None:
    best: dict[str, dict[str, float]] = {}
    for name in (*OURS, *PEERS):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), name, str(tmp_path)],
            input="go\n" * ROUNDS,
            capture_output=True,
            text=True,
            check=False,
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        if answers and "missing" not in answers[0]:
            best[name] = min(answers, key=lambda answer: answer["seconds"])
    ours = best["session"]
    print(f"\n{'':12} {'x real time':>12} {'packets/s':>10} {'delivered':>10} {'time / ours':>12}")
    for name, answer in best.items():
        print(
            f"{name:12} {MEDIA_S / answer['seconds']:12.0f} "
            f"{answer['packets'] / answer['seconds']:10.0f} {answer['delivered']:10.0f} "
            f"{answer['seconds'] / ours['seconds']:12.2f}"
        )
    # The peers carried what the session sent.
    for name in set(PEERS) & set(best):
        assert best[name]["delivered"] >= 0.98 * ours["packets"]
