"""How fast the codec is, beside x264 in the same run.

`python benchmarks/codec.py` prints the table of docs/benchmarks.md. Each row is a process of its
own, so that its peak of memory is its own. Times are wall-clock medians over GoPs after a first one
that warms up; read the ratios to x264 when the machine is not yours alone. With a GPU that PyTorch
can use there are rows for 1080p on it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
GOP = 9
#: Frame rate that counts as real time.
LIVE_FPS = 30
CLIP = "bbb-720p"
KBPS = 400.0
MIB = 1024


@dataclass(frozen=True)
class Case:
    """What one process measures; `scale` 0 is x264, `half` runs the networks in bfloat16."""

    scale: int
    width: int = 1280
    height: int = 720
    device: str = "cpu"
    gops: int = 14
    threads: int = 2
    kbps: float = KBPS
    half: bool = False

    @property
    def name(self) -> str:
        codec = f"morphe {self.scale}x" if self.scale else "x264 veryfast"
        return f"{codec} {self.height}p {self.device}{' bf16' * self.half}"


def cases(*, gops: int, threads: int, kbps: float) -> list[Case]:
    """CPU rows, and GPU rows where there is one; each size has x264 first."""
    import torch

    settings: dict[str, Any] = {"gops": gops, "threads": threads, "kbps": kbps}
    found = [Case(scale, **settings) for scale in (0, 3, 2)]
    found += [Case(scale, half=True, **settings) for scale in (3, 2)]
    if torch.cuda.is_available():
        found.append(Case(0, 1920, 1080, **settings))
        found += [Case(scale, 1920, 1080, "cuda", **settings) for scale in (3, 2)]
    return found


# -- in the process of a case ----------------------------------------------------------------------


class Stopwatch:
    """Seconds spent within some functions of a module."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, module: Any, name: str) -> None:
        inner = getattr(module, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - begin

        setattr(module, name, timed)


def gops_of(case: Case) -> list[list[Picture]]:
    from testbed.media.clips import open_clip
    from testbed.media.spec import ClipSpec

    clip = open_clip(ClipSpec(CLIP, case.width, case.height, LIVE_FPS), base=Path())
    last = clip.frame_count - 1
    count = GOP * case.gops
    # Forwards and backwards, so that a short clip serves many GoPs without a cut.
    order = [last - abs(last - n % (2 * last)) for n in range(count)]
    return [[clip.frame(n) for n in order[at : at + GOP]] for at in range(0, count, GOP)]


def fps_of(seconds: Sequence[float]) -> float:
    """Pictures a second over GoPs; the first one warms up."""
    return GOP / statistics.median(seconds[1:])


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    value = call()
    return value, time.perf_counter() - begin


def psnr(picture: Picture, source: Picture, luma: int) -> float:
    error = float(((picture[:luma].astype(np.float32) - source[:luma]) ** 2).mean())
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))


def measure_morphe(case: Case) -> dict[str, float]:
    from dataclasses import replace
    from fractions import Fraction

    import torch

    from morphe_core.models import load_model
    from morphe_core.vgc import allocation, packing
    from morphe_core.vgc.codec import PROFILES, Decoder, Encoder

    torch.set_num_threads(case.threads)
    writing, reading, estimating = Stopwatch(), Stopwatch(), Stopwatch()
    writing.watch(packing, "encode_units")
    reading.watch(packing, "decode_units")
    estimating.watch(allocation, "token_bits")
    estimating.watch(allocation, "measured_bits")
    gops = gops_of(case)
    model = load_model("small", device=case.device)
    model.network.use_half(case.half)
    encoder = Encoder(
        model, width=case.width, height=case.height, fps=Fraction(LIVE_FPS),
        config=replace(PROFILES["morphe"], scale=case.scale),
    )  # fmt: skip
    decoder = Decoder(model, width=case.width, height=case.height)
    budget = round(case.kbps * 1000 / 8 * GOP / LIVE_FPS)
    encoding, decoding, sizes, quality = [], [], [], []
    for gop in gops:
        # Both end with arrays in the CPU's memory, so a GPU's work is within the time.
        encoded, seconds = timed(lambda gop=gop: encoder.encode(gop, budget_bytes=budget))
        encoding.append(seconds)
        pictures, seconds = timed(lambda units=encoded.units: decoder.decode(units))
        decoding.append(seconds)
        sizes.append(encoded.size_bytes)
        luma = case.width * case.height
        quality.append(np.mean([psnr(p, s, luma) for p, s in zip(pictures, gop, strict=True)]))
    answer = {
        "encode_fps": fps_of(encoding),
        "decode_fps": fps_of(decoding),
        "entropy_encode_share": writing.seconds / sum(encoding),
        "rate_control_share": estimating.seconds / sum(encoding),
        "entropy_decode_share": reading.seconds / sum(decoding),
        "kbps": sum(sizes) * 8 * LIVE_FPS / (GOP * len(gops)) / 1000,
        "psnr": float(np.mean(quality)),
        "memory_mib": peak_mib(),
    }
    if case.device == "cuda":
        answer["gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return answer


def measure_x264(case: Case) -> dict[str, float]:
    from fractions import Fraction

    import av

    gops = gops_of(case)
    context: Any = av.codec.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = case.width, case.height, "yuv420p"
    context.framerate, context.time_base = Fraction(LIVE_FPS), Fraction(1, LIVE_FPS)
    context.thread_count = case.threads
    context.bit_rate = round(1000 * case.kbps)
    context.options = {"preset": "veryfast", "tune": "zerolatency"}
    decoder: Any = av.codec.CodecContext.create("h264", "r")
    decoder.thread_count = case.threads
    decoder.thread_type = "SLICE"  # as the encoder: no picture waits for another
    encoding, decoding, sizes, quality = [], [], [], []
    for at, gop in enumerate(gops):
        packets, seconds = timed(lambda gop=gop, at=at: _encode(context, gop, at, case.width))
        encoding.append(seconds)
        pictures, seconds = timed(lambda packets=packets: _decode(decoder, packets))
        decoding.append(seconds)
        sizes.append(sum(packet.size for packet in packets))
        luma = case.width * case.height
        quality += [psnr(p, s, luma) for p, s in zip(pictures, gop, strict=False)]
    return {
        "encode_fps": fps_of(encoding),
        "decode_fps": fps_of(decoding),
        "kbps": sum(sizes) * 8 * LIVE_FPS / (GOP * len(gops)) / 1000,
        "psnr": float(np.mean(quality)),
        "memory_mib": peak_mib(),
    }


def _encode(context: Any, gop: Sequence[Picture], at: int, width: int) -> list[Any]:
    import av

    packets = []
    for number, picture in enumerate(gop):
        frame = av.VideoFrame.from_ndarray(picture.reshape(-1, width), format="yuv420p")
        frame.pts = at * GOP + number
        packets += context.encode(frame)
    return packets


def _decode(context: Any, packets: Sequence[Any]) -> list[Picture]:
    frames = [frame for packet in packets for frame in context.decode(packet)]
    return [frame.to_ndarray().reshape(-1) for frame in frames]


def peak_mib() -> float:
    """Most memory that this process ever held; the pictures of the clip are among it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


# -- all cases -------------------------------------------------------------------------------------


def run(case: Case) -> dict[str, float]:
    """Measure a case in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--case", json.dumps(asdict(case))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{case.name}: {done.stderr.strip().splitlines()[-1:]}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def show(results: Sequence[tuple[Case, dict[str, float]]]) -> str:
    """The table; ratios are to x264 at the same size."""
    head = f"{'':25} {'encode':>7} {'x live':>7} {'/ x264':>7} {'decode':>7} {'x live':>7} "
    head += f"{'/ x264':>7} {'entropy':>11} {'rate ctl':>8} {'MiB':>6} {'kbps':>6} {'PSNR':>6}"
    lines = [head]
    peers = {case.height: answer for case, answer in results if not case.scale}
    for case, answer in results:
        line = f"{case.name:25}"
        for part in ("encode_fps", "decode_fps"):
            fps = answer[part]
            ratio = fps / peers[case.height][part]
            line += f" {fps:7.1f} {fps / LIVE_FPS:7.2f} {ratio:7.3f}"
        if case.scale:
            line += f" {answer['entropy_encode_share']:5.1%}"
            line += f"{answer['entropy_decode_share']:6.1%} {answer['rate_control_share']:8.1%}"
        else:
            line += f" {'':11} {'':8}"
        line += f" {answer['memory_mib']:6.0f} {answer['kbps']:6.0f} {answer['psnr']:6.2f}"
        if "gpu_memory_mib" in answer:
            line += f"  GPU {answer['gpu_memory_mib']:.0f} MiB"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gops", type=int, default=14, help="of nine pictures, at least 2")
    parser.add_argument("--threads", type=int, default=2, help="of either codec, on the CPU")
    parser.add_argument("--kbps", type=float, default=KBPS, help="to aim at, without headers")
    parser.add_argument("--json", action="store_true", help="answer as JSON")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        case = Case(**json.loads(arguments.case))
        print(json.dumps(measure_morphe(case) if case.scale else measure_x264(case)))
        return
    if arguments.gops < 2:
        parser.error("--gops: at least 2")
    chosen = cases(gops=arguments.gops, threads=arguments.threads, kbps=arguments.kbps)
    results = [(case, run(case)) for case in chosen]
    if arguments.json:
        print(json.dumps([{"case": asdict(case), **answer} for case, answer in results], indent=1))
    else:
        print(show(results))


if __name__ == "__main__":
    main()
