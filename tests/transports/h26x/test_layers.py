"""Two temporal layers end to end: the base is protected, the rest can be done without."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "worlds"))
from helpers import path, run, session

from testbed.analysis.metrics.columns import frame_columns
from testbed.errors import InputError
from testbed.media.decoding import decode
from testbed.network.spec import LossSpec
from testbed.transports import TRANSPORTS, parse_options
from testbed.worlds.session import SessionResult

LAYERS = {"temporal_layers": 2, "payload_bytes": 400}
PROTECTED = {**LAYERS, "arq": "none", "fec": "rs-frame", "fec_share": 1.0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def session_of(
    loss: float, options: dict[str, Any], duration_s: float = 8.0
) -> tuple[dict[str, pd.DataFrame], SessionResult]:
    down = path(loss=LossSpec("bernoulli", {"rate": loss}) if loss else None)
    return run(session(down=down, duration_s=duration_s, kbps=150.0, options=options))


def test_without_losses_every_frame_is_rendered() -> None:
    tables, _ = session_of(0.0, LAYERS)
    assert (tables["frames"].outcome == "rendered").all()


def test_lost_odd_frames_are_skipped_and_nothing_else() -> None:
    tables, result = session_of(0.05, PROTECTED)
    frames = tables["frames"]
    frame_columns(frames)
    skipped = frames[frames.reason == "skipped"]
    assert len(skipped) > 3
    assert (skipped.frame % 2 == 1).all()
    assert (frames[frames.reason != "skipped"].outcome == "rendered").mean() > 0.97
    shown = decode("h264", result.received, width=160, height=96, conceal=False)
    decoded = {picture.index for picture in shown}
    assert decoded >= set(frames[frames.outcome == "rendered"].frame)


def test_only_the_base_is_protected() -> None:
    tables, _ = session_of(0.1, {**LAYERS, "fec": "rs-frame"})
    frames, packets = tables["frames"], tables["packets"]
    assert (frames[frames.frame % 2 == 1].fec_bytes == 0).all()
    again = packets[packets.kind.isin(["retransmission", "fec"])]
    assert len(again) > 20
    assert (again.frame % 2 == 0).all()


def test_requested_key_frames_are_even() -> None:
    tables, _ = session_of(0.2, {**LAYERS, "arq": "none"})
    keys = tables["frames"].query("key").frame
    assert len(keys) > 2
    assert (keys % 2 == 0).all()


@pytest.mark.parametrize("loss", [0.0, 0.25])
def test_the_wire_carries_the_target(loss: float) -> None:
    tables, _ = session_of(loss, {**LAYERS, "fec": "rs-frame", "fec_share": 0.5}, 10.0)
    down = tables["packets"].query("direction == 'down' and kind != 'feedback'")
    assert (down.size_bytes - 4).sum() * 8 / 10.0 / 1e3 == pytest.approx(150.0, rel=0.03)


@pytest.mark.parametrize(
    ("transport", "given", "message"),
    [
        ("h265", {"temporal_layers": 2}, r"temporal_layers: must be in 1..1 \(got 2\)"),
        ("h264", {"temporal_layers": 3}, r"temporal_layers: must be in 1..2 \(got 3\)"),
        ("h264", {"temporal_layers": 2, "slices": 2}, "goes with slices: 1"),
        ("h264", {"temporal_layers": 2, "conceal": True}, "goes with slices: 1"),
        ("h264", {"temporal_layers": 2, "intra_period_frames": 15}, "even intra_period_frames"),
        ("h264", {"temporal_layers": 2, "fec": "streaming"}, "fec: none or rs-frame"),
    ],
)
def test_bad_options_are_one_line(transport: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_options(TRANSPORTS.get(transport), given)
