"""Packets per second through our link, ns.py's port and ns-3's point-to-point device.

The same traffic in the same run: rounds go through all contenders in turn, and each contender's
best CPU time counts, so that what else the machine does matters little. Read the ratios.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 5
#: Which of the contenders are ours.
OURS = ("opportunities", "rate", "whole path")
SCRIPT = Path(__file__).with_name("link_contenders.py")


class Contender:
    """A process that runs the traffic on request."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.best: dict[str, float] | None = None
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # cppyy is talkative
            text=True,
        )

    def run(self) -> bool:
        """One round; False when it is not installed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        answer = json.loads(self.process.stdout.readline() or '{"missing": "it died"}')
        if "missing" in answer:
            return False
        if self.best is None or answer["seconds"] < self.best["seconds"]:
            self.best = answer
        return True

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


@pytest.mark.timeout(600)
def test_packets_per_second() -> None:
    contenders = [Contender(name) for name in (*OURS, "ns.py", "ns-3")]
    try:
        for _ in range(ROUNDS):
            contenders = [contender for contender in contenders if contender.run()]
    finally:
        for contender in contenders:
            contender.close()
    results = {c.name: c.best for c in contenders if c.best is not None}
    speed = {name: best["packets"] / best["seconds"] for name, best in results.items()}
    peers = [name for name in ("ns.py", "ns-3") if name in speed]
    print(f"\n{'':14} {'packets/s':>10} {'delivered':>10} {'dropped':>8} {'events':>8}", end="")
    print("".join(f" {'x ' + name:>8}" for name in peers))
    for name, best in results.items():
        row = f"{name:14} {speed[name]:10.0f} {best['delivered']:10.0f} {best['dropped']:8.0f}"
        row += f" {best['events'] or '-':>8}"
        print(row + "".join(f" {speed[name] / speed[peer]:8.2f}" for peer in peers))
    # The peers check us as well: a fixed rate drops the same packets whoever models it.
    fixed = [results[name] for name in ("opportunities", "rate", *peers)]
    assert {best["packets"] for best in fixed} == {100_000}
    drops = [best["dropped"] for best in fixed]
    assert max(drops) - min(drops) <= 2
    # At most two events a packet and hop: in and out of the link, and out of the delay.
    for name in OURS:
        assert results[name]["events"] <= 2 * results[name]["packets"]
