"""Encode two GoPs, lose a quarter of their units, decode what is left."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from morphe_core.models import load_model
from morphe_core.vgc.codec import PROFILES, Decoder, Encoder
from testbed.media.clips import open_clip
from testbed.media.spec import ClipSpec

clip = open_clip(ClipSpec("carphone"), base=Path())  # packed yuv420p, uint8
model = load_model("small")
encoder = Encoder(
    model, width=clip.width, height=clip.height, fps=Fraction(30), config=PROFILES["morphe"]
)
decoder = Decoder(model, width=clip.width, height=clip.height)
draw = np.random.default_rng(1)  # all randomness comes from outside

for start in (0, 9):
    source = [clip.frame(start + number) for number in range(9)]
    gop = encoder.encode(source, budget_bytes=3000)
    arrived = [unit for unit in gop.units if draw.random() >= 0.25]
    pictures = decoder.decode(arrived)
    error = np.mean((np.stack(pictures).astype(float) - np.stack(source)) ** 2)
    print(
        f"GoP {gop.index}: scale {gop.scale}, {gop.size_bytes} bytes, "
        f"{len(arrived)} of {len(gop.units)} units, PSNR {10 * np.log10(255**2 / error):.1f} dB"
    )
