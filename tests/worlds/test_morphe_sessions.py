"""Morphe sessions in the simulator: real codec, tiny clips."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from helpers import path, run, session

from testbed.analysis.metrics.columns import frame_columns, packet_columns
from testbed.analysis.metrics.columns import session as session_facts
from testbed.analysis.metrics.wire import byte_shares
from testbed.errors import InputError
from testbed.media.clips import open_clip
from testbed.media.decoding import decode
from testbed.media.quality import measure_displayed
from testbed.network.spec import LossSpec
from testbed.worlds.session import SessionSpec

ROOT = Path(__file__).resolve().parents[2]
LOSSY = path(loss=LossSpec("bernoulli", {"rate": 0.3}))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def morphe(**keywords: object) -> SessionSpec:
    """Two seconds at 15 fps: four GoPs, the last one short."""
    return session(transport="morphe", duration_s=2.0, kbps=120.0, **keywords)  # type: ignore[arg-type]


def test_over_a_clean_link_every_frame_is_shown_in_step() -> None:
    tables, result = run(morphe())
    frames = tables["frames"]
    assert (frames.outcome == "rendered").all()
    assert result.displayed == list(range(30))
    assert frames.gop.tolist() == [0] * 9 + [1] * 9 + [2] * 9 + [3] * 3
    assert frames.key.sum() == 4
    # A GoP waits for its last frame, is coded in no time, and needs its bytes' time and 50 ms.
    captured = frames.groupby("gop").capture_ns.transform("max")
    assert (frames.encode_start_ns == captured).all()
    assert (frames.decodable_ns - captured).between(50e6, 150e6).all()
    gaps_ms = np.diff(frames.render_ns) / 1e6
    assert gaps_ms.max() < 100
    modes = result.facts["sender"]["gops_by_mode"]
    assert sum(modes.values()) == 4
    assert set(frames["mode"]) == set(modes)
    assert result.codec == "morphe"
    assert result.facts["sender"]["encoder"]["kind"] == "live"


def test_bytes_are_counted_once_and_times_are_those_of_the_gop() -> None:
    tables, _ = run(morphe(down=LOSSY, options={"retransmit_threshold": 0.0}))
    frames = tables["frames"]
    down = tables["packets"].query("direction == 'down' and frame >= 0")
    media = down[down.kind == "media"]
    assert set(media.frame) == {0, 9, 18, 27}
    assert frames.packets_sent.sum() == len(down)
    assert frames.packets_lost.sum() == (down["drop"] != "none").sum() > 0
    ip_bytes = (media.size_bytes - 4).sum()
    assert frames.media_bytes.sum() + frames.header_bytes.sum() == ip_bytes
    sent = media.groupby("frame").sent_ns
    for first, group in frames.groupby("gop"):
        assert set(group.first_sent_ns) == {sent.min()[9 * first]}
        assert set(group.last_sent_ns) == {sent.max()[9 * first]}
        assert group.first_arrival_ns.nunique() == 1
    assert (down.kind == "retransmission").any()
    assert frames.retransmitted_bytes.sum() > 0


def test_the_metrics_accept_the_log() -> None:
    tables, _ = run(morphe(down=LOSSY))
    cell = {"fps": 15.0, "duration_s": 2.0, "playout_deadline_ms": 400.0}
    facts = session_facts({"cell": cell, "warmup_s": 0.0}, tables["frames"])
    frames, packets = frame_columns(tables["frames"]), packet_columns(tables["packets"])
    shares = byte_shares(frames, packets, facts)
    assert shares["media_share"] is not None
    assert 0.5 < shares["media_share"] < 1.0


def test_pictures_are_those_that_the_units_give() -> None:
    spec = morphe(down=LOSSY)
    _, result = run(spec)
    clip = open_clip(spec.clip, base=Path.cwd())
    frames = list(
        decode(
            result.codec, result.received, width=clip.width, height=clip.height, conceal=False,
            options=result.decoder_options,
        )
    )  # fmt: skip
    shown = {frame.index for frame in frames}
    assert set(result.displayed) - {-1} <= shown
    assert any(frame.damaged for frame in frames)
    scores = measure_displayed(
        clip, result.codec, result.received, result.displayed, metrics=["psnr"], conceal=False,
        decoder_options=result.decoder_options,
    )  # fmt: skip
    clean, full = run(morphe())[1], scores["psnr"].mean()
    without = measure_displayed(
        clip, clean.codec, clean.received, clean.displayed, metrics=["psnr"], conceal=False,
        decoder_options=clean.decoder_options,
    )["psnr"].mean()  # fmt: skip
    assert without > 20
    assert 10 < full < without


def test_smoothing_is_an_option_of_the_decoder() -> None:
    pictures = []
    for smoothing in (0, 3):
        spec = morphe(options={"smoothing": smoothing})
        _, result = run(spec)
        assert result.decoder_options["smoothing"] == smoothing
        pictures.append(
            list(
                decode(
                    "morphe", result.received, width=160, height=96, conceal=False,
                    options=result.decoder_options,
                )
            )
        )  # fmt: skip
    same = [np.array_equal(a.picture, b.picture) for a, b in zip(*pictures, strict=True)]
    assert all(same[:6])
    assert len(same) == 30


@pytest.mark.parametrize(
    "options", [{"profile": "morphe-keep"}, {"packing": "rows"}, {"profile": "morphe-paper"}]
)
def test_other_forms_of_the_codec_run_through(options: dict[str, object]) -> None:
    tables, result = run(morphe(down=LOSSY, options=options))
    outcome = tables["frames"].outcome
    assert outcome.isin(["rendered", "concealed"]).mean() > 0.6
    assert (outcome == "concealed").any()
    assert result.facts["receiver"]["refused"] == 0
    assert result.facts["receiver"]["malformed"] == 0


def test_a_slow_device_is_seen_in_the_log() -> None:
    tables, result = run(morphe(compute="jetson-orin", options={"scale": 3}))
    frames = tables["frames"]
    encode_ms = (frames.encode_end_ns - frames.encode_start_ns).iloc[0] / 1e6
    assert encode_ms == pytest.approx(9 / 61.17 * 1e3, abs=0.01)
    decode_ms = (frames.decode_end_ns - frames.decodable_ns).iloc[0] / 1e6
    assert decode_ms == pytest.approx(9 / 43.45 * 1e3, abs=0.01)
    assert result.facts["compute"]["decode_ms"]["3x"] == pytest.approx(1e3 / 43.45, abs=0.01)


def test_measured_times_are_kept_so_that_tables_repeat() -> None:
    first, result = run(morphe(compute="measured"))
    second, _ = run(morphe(compute="measured"))
    for name in first:
        pd.testing.assert_frame_equal(first[name], second[name])
    assert (first["frames"].encode_end_ns > first["frames"].encode_start_ns).all()
    assert set(result.facts["compute"]["decode_ms"]) <= {"1x", "2x", "3x"}


def test_a_ladder_follows_a_changing_target_without_pixels() -> None:
    spec = replace(
        morphe(), rate_control="oracle", rate_options={"max_kbps": 150.0}, keep_received=False
    )
    tables, result = run(spec)
    assert result.facts["sender"]["encoder"]["kind"] == "ladder"
    assert (tables["frames"].outcome == "rendered").all()
    assert result.received[0].data == b""
    pixels = replace(spec, keep_received=True, transport_options={"encoder": "ladder"})
    with pytest.raises(InputError, match="encoder ladder is for sessions without picture quality"):
        run(pixels)


@pytest.mark.parametrize("control", ["bbr", "gcc"])
def test_a_real_controller_finds_the_link_and_its_padding_is_no_media(control: str) -> None:
    spec = session(transport="morphe", duration_s=8.0, down=path(kbps=300.0))
    # At 15 fps the packets of a GoP may take 0.6 s to leave at the rate of the link.
    spec = replace(
        spec, rate_control=control, rate_options={}, keep_received=False, playout_deadline_ms=1000.0
    )
    tables, result = run(spec)
    sent = tables["packets"].query("direction == 'down'")
    in_last_half = sent[sent.sent_ns > 4e9].size_bytes.sum() * 8 / 4.0 / 1e3
    assert 100.0 < in_last_half < 400.0
    assert result.facts["receiver"]["malformed"] == 0
    assert (tables["frames"].outcome == "rendered").mean() > 0.7


def test_probes_repeat_the_latest_gop_and_repair_what_was_lost() -> None:
    shown = {}
    for fill in ("padding", "redundancy"):
        spec = session(
            transport="morphe", duration_s=8.0,
            options={"probe_fill": fill, "retransmission": False},
            down=path(kbps=300.0, loss=LossSpec("bernoulli", {"rate": 0.1})),
        )  # fmt: skip
        spec = replace(
            spec, rate_control="bbr", rate_options={"loss_response": False}, keep_received=False,
            playout_deadline_ms=1000.0,
        )  # fmt: skip
        tables, result = run(spec)
        sent = tables["packets"].query("direction == 'down'")
        shown[fill] = set(sent.kind), result.facts["receiver"]["duplicates"]
        # Every repeat says of which packet it is one.
        repeats = sent[sent.kind == "fec"]
        assert sent.set_index("seq").loc[repeats.retransmission_of].kind.eq("media").all()
    assert shown["padding"][0] == {"media", "padding", "feedback"}
    assert shown["padding"][1] == 0
    assert shown["redundancy"][0] >= {"media", "fec", "feedback"}
    assert shown["redundancy"][1] > 0


def test_the_wire_carries_the_target_rate() -> None:
    spec = session(transport="morphe", duration_s=6.0, kbps=120.0)
    down = run(spec)[0]["packets"].query("direction == 'down' and kind == 'media'")
    ip_bytes = (down.size_bytes - 4).sum()
    assert ip_bytes * 8 / 6.0 / 1e3 == pytest.approx(120.0, rel=0.08)


PROGRAM = """
import sys
sys.path.insert(0, "tests/worlds")
from dataclasses import replace
from helpers import path, run, session
from testbed.network.spec import LossSpec
spec = session(transport="morphe", duration_s=1.0, kbps=120.0,
               down=path(loss=LossSpec("bernoulli", {"rate": 0.3})))
tables, result = run(replace(spec, keep_received=False))
print("torch" in sys.modules, tables["frames"].decodable_ns.tolist())
"""


def test_no_network_of_neurons_is_loaded_when_the_encodes_are_there(tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False,
            env={**os.environ, "TESTBED_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split(" ", 1))
    assert [loaded for loaded, _ in said] == ["True", "False"]
    assert said[0][1] == said[1][1]
