"""What the residual layer is worth: quality with and without it, at the same bytes.

`python benchmarks/residual.py CLIPS` prints the table of docs/codec.md: each profile without a
residual and with one, at each rate with packet headers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from morphe_core.vgc.codec import Decoder, Encoder, EncoderConfig, profile
from testbed.codec.core import load_core
from testbed.codec.files import encode_gops
from testbed.codec.rates import GopBudget, kbps, wire_bytes
from testbed.codec.reading import Reference, open_reference
from testbed.media.quality import METRICS, compare

#: What is compared; the first of each group has no residual.
GROUPS: dict[str, list[EncoderConfig]] = {
    "morphe-paper": [
        replace(profile("morphe-paper"), residual=form) for form in ("none", "pixel", "transform")
    ],
    # What the tokens before a residual are, where the profile without one would go on to 2x.
    "morphe-paper, 3x": [replace(profile("morphe-paper"), scale=3, residual="none")],
    "morphe": [
        profile("morphe"),
        *(
            replace(profile("morphe"), residual="transform", residual_share=share)
            for share in (0.1, 0.2)
        ),
    ],
}


def measure(reference: Reference, config: EncoderConfig, rate: float, weights: str) -> list[str]:
    """Cells of a row: what was sent and how it looks."""
    clip, frames = reference.clip, reference.frames
    model = load_core(weights).model
    encoder = Encoder(model, width=clip.width, height=clip.height, fps=clip.fps, config=config)
    decoder = Decoder(model, width=clip.width, height=clip.height)
    budget = GopBudget(rate, clip.fps, least_packets=config.least_units)
    gops = list(encode_gops(map(clip.frame, range(frames)), encoder, budget))
    scores = compare(
        (picture for gop in gops for picture in decoder.decode(gop.units)), clip.frames(),
        width=clip.width, height=clip.height, metrics=METRICS, count=frames,
    )  # fmt: skip
    total = sum(gop.size_bytes for gop in gops)
    residual = sum(gop.facts["residual_bytes"] for gop in gops)
    sent = kbps(sum(wire_bytes(map(len, gop.units)) for gop in gops), frames, clip.fps)
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    return [
        f"{sent:.0f}", f"{residual / total:.0%}", f"{means['vmaf']:.1f}",
        f"{means['vmaf_neg']:.1f}", f"{means['psnr']:.2f}",
    ]  # fmt: skip


def table(arguments: argparse.Namespace) -> Iterator[str]:
    """Lines of the table."""
    yield "| clip | rate | profile | residual | kbps | of it residual | VMAF | NEG | PSNR |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for source in arguments.clips:
        reference = open_reference(source, height=720, frames=arguments.frames)
        for rate in arguments.kbps:
            for name, configs in GROUPS.items():
                for config in configs:
                    cells = measure(reference, config, rate, arguments.weights)
                    what = config.residual
                    if config.residual_share:
                        what += f", {config.residual_share:.0%} kept"
                    yield (
                        "| " + " | ".join([reference.name, f"{rate:g}", name, what, *cells]) + " |"
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--kbps", type=float, nargs="+", default=[400.0, 1000.0])
    parser.add_argument("--frames", type=int, default=27)
    parser.add_argument("--weights", default="small")
    for line in table(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
