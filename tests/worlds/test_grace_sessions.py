"""GRACE-style sessions in the simulator: real codec, tiny clips."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from helpers import path, run, session

from testbed.errors import InputError
from testbed.media.clips import open_clip
from testbed.media.decoding import decode
from testbed.media.quality import measure_displayed
from testbed.network.spec import LossSpec
from testbed.worlds.session import SessionResult, SessionSpec


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def grace(rate: float = 0.0, **keywords: object) -> SessionSpec:
    """Three seconds at 15 fps."""
    loss = LossSpec("bernoulli", {"rate": rate}) if rate else None
    return session(transport="grace-style", kbps=200.0, down=path(loss=loss), **keywords)


def psnr(spec: SessionSpec, result: SessionResult) -> np.ndarray:
    return measure_displayed(
        open_clip(spec.clip, base=Path.cwd()), result.codec, result.received, result.displayed,
        metrics=["psnr"], conceal=result.conceal, decoder_options=result.decoder_options,
    )["psnr"]  # fmt: skip


def test_over_a_clean_link_every_frame_is_shown_and_the_rate_is_met() -> None:
    tables, result = run(grace())
    frames, packets = tables["frames"], tables["packets"]
    assert (frames.outcome == "rendered").all()
    assert result.displayed == list(range(45))
    assert frames.key.sum() == 1
    media = packets[packets.direction == "down"]
    assert media[media.kind != "feedback"].size_bytes.sum() * 8 / 3 / 1e3 == pytest.approx(
        200.0, rel=0.03
    )
    assert result.facts["receiver"]["pictures"]["damaged"] == 0
    assert result.facts["sender"]["resyncs"] == 0


def test_a_quarter_of_the_packets_lost_costs_quality_and_few_frames() -> None:
    spec = grace(0.25)
    tables, result = run(spec)
    frames = tables["frames"]
    shown = frames.outcome.isin(["rendered", "concealed"])
    assert shown.mean() >= 0.9
    assert (frames.outcome == "concealed").mean() > 0.3
    assert result.facts["sender"]["resyncs"] > 5
    media = tables["packets"][lambda t: (t.direction == "down") & (t.kind != "feedback")]
    assert media.size_bytes.sum() * 8 / 3 / 1e3 == pytest.approx(200.0, rel=0.04)
    clean, lossy = psnr(grace(), run(grace())[1]), psnr(spec, result)
    assert lossy.mean() < clean.mean()


def test_resynchronisation_is_worth_its_while() -> None:
    spec = grace(0.25, clip="bbb-720p")
    deaf = grace(0.25, clip="bbb-720p", options={"resync": False})
    assert psnr(spec, run(spec)[1]).mean() > psnr(deaf, run(deaf)[1]).mean() + 0.5


def test_the_same_session_gives_the_same_tables() -> None:
    one, other = run(grace(0.2, seed=4))[0], run(grace(0.2, seed=4))[0]
    for name, table in one.items():
        assert table.equals(other[name])


def test_what_was_received_decodes_to_what_was_displayed() -> None:
    spec = grace(0.25)
    _, result = run(spec)
    pictures = list(
        decode(result.codec, result.received, width=160, height=96, conceal=False,
               options=result.decoder_options)
    )  # fmt: skip
    shown = {index for index in result.displayed if index >= 0}
    assert shown <= {picture.index for picture in pictures}
    damaged = {picture.index for picture in pictures if picture.damaged}
    assert damaged == {
        frame.index for frame in result.received if frame.data and not frame.complete
    }


def test_a_clip_that_is_too_small_is_refused() -> None:
    spec = grace()
    with pytest.raises(InputError, match=r"height: must be even and in 64\.\.8192"):
        run(replace(spec, clip=replace(spec.clip, height=48)))
