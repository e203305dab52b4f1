"""What a receiver's reports are worth: quality under loss with and without them.

`python benchmarks/reports.py CLIPS` prints the table of docs/codec.md: at one rate, with units lost
at random and in bursts, for each profile and for reports that reach the encoder some GoPs late.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator

import numpy as np

from morphe_core.vgc.codec import Decoder, Encoder, profile
from testbed.codec.core import GOP_FRAMES, load_core
from testbed.codec.losses import LossCondition, UnitLoss
from testbed.codec.rates import GopBudget
from testbed.codec.reading import Reference, in_gops, open_reference
from testbed.media.quality import compare
from testbed.media.sources import Picture

#: Profile and GoPs until a report is there (0 = none comes). A GoP's report can be there for the
#: next but one at the earliest: when its last unit has gone, the next one is being encoded.
CASES = (("morphe", 0), ("morphe-keep", 0), ("morphe-keep", 2), ("morphe-keep", 3))


def pictures_of(
    reference: Reference, name: str, delay_gops: int, arguments: argparse.Namespace,
    condition: LossCondition,
) -> Iterator[Picture]:  # fmt: skip
    """What the receiver shows; the encoder hears of the losses."""
    clip, config = reference.clip, profile(name)
    model = load_core(arguments.weights).model
    encoder = Encoder(model, width=clip.width, height=clip.height, fps=clip.fps, config=config)
    decoder = Decoder(model, width=clip.width, height=clip.height)
    budget = GopBudget(arguments.kbps, clip.fps, least_packets=config.least_units)
    loss = UnitLoss(condition)
    under_way: deque[tuple[int, np.ndarray | None]] = deque()
    for pictures in in_gops(map(clip.frame, range(reference.frames)), GOP_FRAMES):
        if delay_gops and len(under_way) == delay_gops:
            encoder.report(*under_way.popleft())
        gop = encoder.encode(pictures, budget_bytes=budget.next(len(pictures)))
        budget.record(len(pictures), gop.budgeted)
        yield from decoder.decode(loss.keep(gop.units), frames=gop.frames)
        under_way.append((gop.index, decoder.missing_rows))


def vmaf(
    reference: Reference, name: str, delay_gops: int, arguments: argparse.Namespace,
    condition: LossCondition,
) -> float:  # fmt: skip
    clip = reference.clip
    shown = pictures_of(reference, name, delay_gops, arguments, condition)
    scores = compare(
        shown, clip.frames(), width=clip.width, height=clip.height, metrics=("vmaf",),
        count=reference.frames,
    )  # fmt: skip
    return float(np.mean(scores["vmaf"]))


def table(arguments: argparse.Namespace) -> Iterator[str]:
    """Lines of the table."""
    conditions = [LossCondition(), *(LossCondition(arguments.loss, b, 1) for b in (1, 4))]
    names = ["no loss", *(f"{arguments.loss:.0%}, burst {c.burst:g}" for c in conditions[1:])]
    yield f"| profile | reports after | {' | '.join(names)} |"
    yield "|---" * (2 + len(names)) + "|"
    references = [open_reference(c, height=720, frames=arguments.frames) for c in arguments.clips]
    for name, delay_gops in CASES:
        cells = [
            np.mean([vmaf(r, name, delay_gops, arguments, condition) for r in references])
            for condition in conditions
        ]
        late = f"{delay_gops} GoPs" if delay_gops else "-"
        yield f"| {name} | {late} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--kbps", type=float, default=400.0)
    parser.add_argument("--loss", type=float, default=0.25)
    parser.add_argument("--frames", type=int, default=54)
    parser.add_argument("--weights", default="small")
    for line in table(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
