import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from testbed.cli import doctor
from testbed.cli.main import run_command
from testbed.worlds import mahimahi_conditions


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def found(name: str) -> doctor.Finding:
    return next(finding for finding in doctor.examine() if finding.name == name)


def test_the_core_works_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor"]) == 0
    answer = capsys.readouterr().out
    assert "ok   H.266 encoder: libvvenc in" in answer
    assert "FAIL" not in answer


def test_a_program_can_read_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    names = [finding["name"] for finding in answer]
    for expected in (
        "python", "PyAV", "H.264 encoder", "H.265 encoder", "H.266 encoder", "H.266 decoder",
        "VMAF", "clips", "cache", "cores", "mm-link", "/dev/net/tun", "ip_forward", "GPU",
        "PyTorch", "codec packages", "codec weights", "WebRTC",
    ):  # fmt: skip
        assert expected in names
    for finding in answer:
        assert finding["ok"] or finding["fix"] or finding["name"] == "GPU"


def test_a_broken_core_is_exit_1_with_a_fix(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.write_text("a file in the way")
    assert run_command(["doctor"]) == 1
    answer = capsys.readouterr().out
    assert f"FAIL cache: {cache}: " in answer
    assert "fix (core): set TESTBED_CACHE to a writable folder" in answer


def test_what_stands_beside_the_core_does_not_fail_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mahimahi_conditions, "TUN", tmp_path / "no-tun")
    monkeypatch.setattr("shutil.which", lambda *_args, **_more: None)
    (tmp_path / "forward").write_text("0\n")
    monkeypatch.setattr(mahimahi_conditions, "IP_FORWARD", tmp_path / "forward")
    assert run_command(["doctor"]) == 0
    answer = capsys.readouterr().out
    for name in ("mm-link", "/dev/net/tun", "ip_forward"):
        assert f"no   {name}: " in answer
    assert "sysctl -w net.ipv4.ip_forward=1" in answer


def test_an_ffmpeg_without_vvenc_and_vmaf_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho ' V..... libx264'\n")
    fake.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(fake))
    assert not found("H.266 encoder").ok
    assert "has no libvvenc" in found("H.266 encoder").detail
    assert not found("VMAF").ok
    assert "IMAGEIO_FFMPEG_EXE" in found("VMAF").fix


def test_fixing_is_for_root_and_says_what_to_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "forward").write_text("0\n")
    monkeypatch.setattr(mahimahi_conditions, "IP_FORWARD", tmp_path / "forward")
    monkeypatch.setattr(mahimahi_conditions, "TUN", tmp_path / "no-tun")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run_command(["doctor", "--fix"]) == 2
    said = capsys.readouterr().err
    assert "doctor --fix needs root to fix " in said
    assert "/dev/net/tun, " in said
    assert "ip_forward" in said
    assert f"sudo {sys.executable} -m testbed.cli.main doctor --fix\n" in said
    assert said.count("\n") == 1
    assert (tmp_path / "forward").read_text() == "0\n"
    assert not (tmp_path / "no-tun").exists()


class TestCodec:
    def test_pytorch_says_version_threads_and_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert found("PyTorch").ok
        assert found("PyTorch").detail == f"{torch.__version__}, 7 threads, no GPU that it can use"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
        assert found("PyTorch").detail.endswith(", 7 threads, Some GPU")

    def test_without_pytorch_the_core_still_works(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)
        assert run_command(["doctor"]) == 0
        answer = capsys.readouterr().out
        assert "no   PyTorch: cannot be imported: " in answer
        assert "pip install --force-reinstall 'torch==2.13.0'" in answer

    def test_missing_packages_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert found("codec packages").ok
        monkeypatch.setattr(doctor, "_CODEC_MODULES", (("cv2", "a"), ("no_such_module", "b")))
        assert found("codec packages").detail == "not installed: b"
        assert found("codec packages").fix.endswith(" -m pip install b")

    def test_weights_are_listed_with_their_size(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(doctor, "_weights_folder", lambda: tmp_path)
        assert not found("codec weights").ok
        (tmp_path / "small.safetensors").write_bytes(bytes(2_500_000))
        assert found("codec weights").ok
        assert found("codec weights").detail == f"small (2.5 MB) in {tmp_path}"

    def test_weights_are_looked_for_in_the_codec_core(self) -> None:
        assert (doctor._weights_folder() / "__init__.py").is_file()


def test_a_program_that_hangs_or_fails_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("x", 1)

    assert doctor._output(["false"]) is None
    assert doctor._output(["no-such-program-here"]) is None
    monkeypatch.setattr(subprocess, "run", hang)
    assert doctor._output(["true"]) is None


def test_transports_show_every_option_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    for name, some in (
        ("h264", {"conceal", "retransmission"}),
        ("promptus", {"rank", "sizes_from", "retransmission"}),  # its own and shared ones
        ("grace-original", {"checkout", "payload_bytes"}),
    ):
        assert run_command(["transports", "show", name, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["codec"] == name
        assert {option["name"] for option in answer["options"]} >= some
        assert all(option["meaning"] for option in answer["options"])
    assert run_command(["transports", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "aiortc-h264",
        "aiortc-vp8",
        "dcvc-rt",
        "disco",
        "grace-original",
        "h264",
        "h265",
        "h266",
        "morphe",
        "promptus",
    ]
    marked = [line.split()[0] for line in lines if line.endswith("[--world webrtc only]")]
    assert marked == ["aiortc-h264", "aiortc-vp8"]


def test_a_transport_that_is_confined_to_a_world_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["transports", "show", "aiortc-vp8"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        (
            "aiortc-vp8: aiortc VP8. aiortc's own media: libvpx, NACK, REMB, jitter buffer "
            "[--world webrtc only]"
        ),
        "no options",
    ]
    assert run_command(["transports", "show", "aiortc-vp8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worlds"] == ["webrtc"]


class TestWebrtc:
    def test_aiortc_says_its_version(self) -> None:
        aiortc = pytest.importorskip("aiortc")
        finding = found("WebRTC")
        assert finding.ok
        assert finding.detail.startswith(f"aiortc {aiortc.__version__}, aioice ")

    def test_without_aiortc_the_core_still_works(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "aiortc", None)
        assert run_command(["doctor"]) == 0
        answer = capsys.readouterr().out
        assert "no   WebRTC: cannot be imported: " in answer
        assert "fix (--world webrtc): pip install 'morphe-testbed[webrtc]'" in answer
