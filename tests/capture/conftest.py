"""Captures of real simulated sessions, made once."""

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from testbed.capture.tap import Tap
from testbed.network.spec import DelaySpec, LossSpec
from testbed.tables import FRAMES, PACKETS
from testbed.worlds.simulator import run_session
from tests.worlds import helpers


@dataclasses.dataclass(frozen=True)
class Captured:
    """A session's capture and the rows of its tables."""

    path: Path
    rows: dict[str, list[tuple[Any, ...]]]

    def packets(self) -> list[dict[str, Any]]:
        """Rows of the packet table by column, in order of entry."""
        return [dict(zip(PACKETS.names, row, strict=True)) for row in self.rows["packets"]]

    def frames(self) -> list[dict[str, Any]]:
        """Rows of the frame table by column."""
        return [dict(zip(FRAMES.names, row, strict=True)) for row in self.rows["frames"]]


def lossy(transport: str) -> Any:
    """A few seconds over a path that loses 8 % and reorders a little."""
    down = dataclasses.replace(
        helpers.path(kbps=1500.0, loss=LossSpec("bernoulli", {"rate": 0.08})),
        delay=DelaySpec(delay_ms=40.0, jitter_ms=4.0, reorder=True),
    )
    # Asking for any missing token, so that retransmissions happen in a short session.
    options = {"retransmit_threshold": 0.02} if transport == "morphe" else {}
    # Little enough that Morphe's units fit into packets, most of them.
    kbps = 150.0 if transport == "morphe" else 400.0
    return helpers.session(
        transport=transport, down=down, kbps=kbps, duration_s=4.0, options=options
    )


@pytest.fixture(scope="session")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Captured]:
    """The capture of a transport's session."""

    @cache
    def make(transport: str) -> Captured:
        path = tmp_path_factory.mktemp("captures") / f"{transport}.pcapng"
        sink = helpers.MemorySink()
        with Tap(path) as tap:
            run_session(lossy(transport), sink, base=Path.cwd(), tap=tap)
        return Captured(path, sink.rows)

    return make
