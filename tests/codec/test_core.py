"""The real codec core with the weights that are shipped."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from morphe_core.errors import WeightsError
from testbed.codec.core import GOP_FRAMES, PROFILES, Core, Settings, load_core, parse_scale
from testbed.codec.files import MorpheFile, decode_gops, encode_file
from testbed.codec.losses import LossCondition, UnitLoss
from testbed.codec.rates import kbps, wire_bytes
from testbed.codec.reading import open_video
from testbed.errors import InputError, ToolMissingError
from testbed.media.quality import compare


@pytest.fixture(scope="module")
def core() -> Core:
    return load_core("small")


def test_constants_are_those_of_the_core(core: Core) -> None:
    from morphe_core.vgc import bitstream, config, tokens

    assert GOP_FRAMES == tokens.GOP_FRAMES
    assert set(PROFILES) == set(config.PROFILES)
    assert tuple(map(parse_scale, ("auto", "1", "2", "3"))) == (0, *bitstream.SCALES)
    assert core.describe()["sha256"] == core.sha256


@pytest.mark.parametrize("target", [100, 300])
def test_a_real_clip_goes_through(core: Core, tmp_path: Path, target: float) -> None:
    path = tmp_path / "x.morphe"
    video = open_video("carphone", duration_s=1.5)
    done = encode_file(
        video, path, core=core, settings=Settings(), target_kbps=target, progress=lambda _: None
    )
    assert done.kbps == pytest.approx(target, rel=0.03)
    sources = list(video.pictures())
    scores = {}
    for rate in (0.0, 0.25):
        with path.open("rb") as opened:
            file = MorpheFile(opened, "x")
            gops = list(file.gops())
        decoder = core.decoder(width=176, height=144)
        pictures = list(decode_gops(gops, decoder, UnitLoss(LossCondition(rate, 1, 1))))
        assert len(pictures) == len(sources) == 45
        psnr = compare(
            iter(pictures), iter(sources), width=176, height=144, metrics=("psnr",), count=45
        )
        scores[rate] = float(np.mean(psnr["psnr"]))
    sent = sum(wire_bytes(map(len, gop.units)) for gop in gops)
    assert done.kbps == pytest.approx(kbps(sent, 45, video.fps))
    assert scores[0] > 27
    assert scores[0] > scores[0.25] > 15


def test_unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("0", "4", "", "2.0"):
        with pytest.raises(InputError, match="allowed: auto, 1, 2, 3"):
            parse_scale(text)
    with pytest.raises(InputError, match="allowed: morphe, morphe-keep, morphe-paper"):
        Settings("h264")
    with pytest.raises(InputError, match="allowed: cpu, cuda"):
        load_core(device="tpu")
    with pytest.raises(WeightsError, match="no such file"):
        load_core("nothing")


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="allowed: cpu"):
        load_core(device="cuda")


def test_without_pytorch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "morphe_core.models":
            raise ImportError("No module named 'torch'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ToolMissingError, match=r"pip install 'morphe-testbed\[codec\]'"):
        load_core()
