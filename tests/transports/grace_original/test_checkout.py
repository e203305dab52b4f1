"""What is missing is said in one line; a stand-in with the same layout runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from testbed.cli.main import run_command
from testbed.errors import InputError
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.grace_original.checkout import (
    SOURCES,
    checkout_sha256,
    open_checkout,
)
from testbed.worlds.simulator import run_session
from tests.transports.grace_original.standin import has_compiler, make_checkout
from tests.worlds.helpers import MemorySink, session

pytestmark = pytest.mark.skipif(not has_compiler(), reason="no C compiler for the stand-in")


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A stand-in; its package is forgotten afterwards."""
    yield make_checkout(tmp_path / "Grace")
    for name in [name for name in sys.modules if name.split(".")[0] == "grace"]:
        del sys.modules[name]


def refused(checkout: str | Path, *, model: str = "4096", device: str = "cpu") -> str:
    with pytest.raises(InputError) as caught:
        open_checkout(str(checkout), model, device)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_the_option() -> None:
    with pytest.raises(InputError, match="transport grace-original: checkout: give the folder"):
        parse_options(TRANSPORTS.get("grace-original"), {})


def test_without_the_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == (
        f"transport grace-original: checkout: no such folder: {tmp_path}/none"
    )


@pytest.mark.parametrize("name", [*SOURCES, "libs/bpgenc.so", "libs/bpgdec.so"])
def test_without_one_of_its_files(checkout: Path, name: str) -> None:
    (checkout / name).unlink()
    assert refused(checkout).endswith(f"is no copy of UChi-JCL/Grace: it lacks {name}")


def test_without_weights_of_that_model(checkout: Path) -> None:
    assert "lacks the weights models/grace/64_freeze.model; its README" in refused(
        checkout, model="64"
    )


def test_without_cuda(checkout: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    assert "device: CUDA is not available" in refused(checkout, device="cuda")


def test_without_a_package_that_it_needs(checkout: Path) -> None:
    path = checkout / SOURCES[0]
    path.write_text("import no_such_package_1\n" + path.read_text())
    assert refused(checkout).endswith(
        "its packages are not all installed: No module named 'no_such_package_1'"
    )


def test_with_code_that_is_another(checkout: Path) -> None:
    (checkout / SOURCES[0]).write_text("x = 1\n")
    assert "grace/grace_gpu_interface.py has no GraceInterface" in refused(checkout)


def test_with_weights_that_are_none(checkout: Path) -> None:
    (checkout / "models/grace/4096_freeze.model").write_bytes(b"no weights")
    assert "cannot be loaded: GraceInterface: " in refused(checkout)


def test_with_a_library_that_is_none(checkout: Path) -> None:
    (checkout / "libs/bpgenc.so").write_bytes(b"no library")
    assert "LD_LIBRARY_PATH must name its folder libs" in refused(checkout)


def test_with_another_package_of_its_name(checkout: Path, tmp_path: Path) -> None:
    open_checkout(str(checkout), "4096", "cpu")
    other = make_checkout(tmp_path / "Other")
    assert "a package of its name is already loaded" in refused(other)


def test_the_import_path_is_as_before(checkout: Path) -> None:
    before = list(sys.path)
    open_checkout(str(checkout), "4096", "cpu")
    assert sys.path == before


def test_a_scenario_is_refused_with_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "s.yaml"
    scenario.write_text(
        "name: s\nclips: [test:testsrc2]\nwidth: 160\nheight: 90\nfps: 30\nduration_s: 1\n"
        "downlink: {trace: [constant:400kbps]}\n"
        f"transports: [{{name: grace-original, checkout: {tmp_path}/none}}]\n"
        "rate: {control: fixed, kbps: 200}\n"
    )
    assert run_command(["run", str(scenario), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"checkout: no such folder: {tmp_path}/none" in error


def test_a_scenario_is_refused_without_cuda_before_anything_runs(checkout: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    transport = TRANSPORTS.get("grace-original")
    with pytest.raises(InputError, match="CUDA is not available"):
        transport.made_with(parse_options(transport, {"checkout": str(checkout)}))
    cpu = parse_options(transport, {"checkout": str(checkout), "device": "cpu"})
    assert set(transport.made_with(cpu)) == {"checkout"}


def test_the_runs_name_knows_code_and_weights(checkout: Path) -> None:
    before = checkout_sha256(str(checkout), "4096")
    (checkout / "grace/net.py").write_text("BLOCK = 8\n")
    assert checkout_sha256(str(checkout), "4096") != before


def test_a_frame_goes_through_its_interface_and_back(checkout: Path) -> None:
    codec = open_checkout(str(checkout), "4096", "cpu")
    rng = np.random.default_rng(1)
    flat = np.kron(rng.random((3, 8, 16)), np.ones((16, 16))).astype(np.float32)
    reference = np.full_like(flat, 0.5)
    code = codec.encode_p(flat, reference)
    assert code.motion.shape == (2, 8, 16)
    assert code.residual.shape == (3, 8, 16)
    assert code.size_bytes == np.count_nonzero(code.residual)
    assert np.abs(codec.decode_p(code, reference) - flat).max() < 1 / 64
    again = codec.decode_i(codec.encode_i(flat), height=128, width=256)
    assert np.abs(again - flat).max() <= 0.5 / 255 + 1e-6
    with pytest.raises(InputError, match="gives no picture"):
        codec.decode_i(b"garbage", height=128, width=256)


def test_a_session_over_a_lossy_path_has_pictures(checkout: Path) -> None:
    from testbed.media.clips import open_clip
    from testbed.media.quality import measure_displayed
    from testbed.network.spec import LossSpec
    from tests.worlds.helpers import path

    means = {}
    for rate in (0.0, 0.3):
        loss = LossSpec("bernoulli", {"rate": rate}) if rate else None
        spec = session(
            transport="grace-original",
            options={"checkout": str(checkout), "device": "cpu"},
            down=path(kbps=40_000, packets=None, loss=loss),
            kbps=20_000,
            duration_s=1,
        )
        result = run_session(spec, MemorySink(), base=Path())
        assert "pixels" not in result.facts
        assert result.facts["sender"]["encoder"]["model"] == "4096"
        scores = measure_displayed(
            open_clip(spec.clip, base=Path()), result.codec, result.received, result.displayed,
            metrics=["psnr"], conceal=result.conceal, decoder_options=result.decoder_options,
        )  # fmt: skip
        means[rate] = scores["psnr"].mean()
        groups = result.facts["receiver"]["groups"]
        assert (groups["without-optional"] > 0) == bool(rate)
    # 30 dB: the stand-in has one value for 16x16 pixels.
    assert means[0.0] > means[0.3] > 5
