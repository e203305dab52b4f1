"""How near the size of each GoP is to its budget.

`python benchmarks/budgets.py CLIPS` prints the table of docs/codec.md. Each GoP gets the same bytes
and nothing is carried over to the next one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np

from morphe_core.vgc.codec import Encoder, profile
from testbed.codec.core import GOP_FRAMES, load_core
from testbed.codec.reading import in_gops, open_reference


def errors(
    source: str, kbps: float, arguments: argparse.Namespace, modes: Counter[str]
) -> list[float]:
    """Size of each whole GoP over its budget, less one."""
    reference = open_reference(source, height=720, frames=arguments.frames)
    clip = reference.clip
    encoder = Encoder(
        load_core(arguments.weights).model, width=clip.width, height=clip.height, fps=clip.fps,
        config=profile(arguments.profile),
    )  # fmt: skip
    budget = int(1000 * kbps / 8 * GOP_FRAMES / float(clip.fps))
    found = []
    for pictures in in_gops(map(clip.frame, range(reference.frames)), GOP_FRAMES):
        if len(pictures) == GOP_FRAMES:
            gop = encoder.encode(pictures, budget_bytes=budget)
            modes[gop.mode.value] += 1
            found.append(gop.size_bytes / budget - 1)
    return found


def table(arguments: argparse.Namespace) -> Iterator[str]:
    """Lines of the table."""
    yield "| kbps | groups | median error | 95th percentile | largest excess | modes |"
    yield "|---|---|---|---|---|---|"
    for kbps in arguments.kbps:
        modes: Counter[str] = Counter()
        found = np.array([e for c in arguments.clips for e in errors(c, kbps, arguments, modes)])
        size = np.abs(found)
        share = ", ".join(f"{mode} {count}" for mode, count in sorted(modes.items()))
        yield (
            f"| {kbps:g} | {len(found)} | {np.median(size):.1%} | {np.percentile(size, 95):.1%} | "
            f"{found.max():+.1%} | {share} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--kbps", type=float, nargs="+", default=[50, 100, 200, 400, 800, 3000])
    parser.add_argument("--frames", type=int, default=45)
    parser.add_argument("--profile", default="morphe")
    parser.add_argument("--weights", default="small")
    for line in table(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
