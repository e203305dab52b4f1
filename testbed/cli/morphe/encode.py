"""`morphe encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from testbed.cli.common import Json, Quiet, print_json
from testbed.cli.morphe.options import Device, Profile, Scale, Weights, check_kbps

#: A file that is further from its rate than this says so.
TOLERANCE = 0.03


def encode(
    clip: Annotated[str, typer.Argument(help="Video file, catalogue name, or test:PATTERN.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .morphe file to write.")],
    kbps: Annotated[float, typer.Option(help="Rate to meet, packet headers included.")],
    scale: Scale = "auto",
    profile: Profile = "morphe",
    weights: Weights = "small",
    duration: Annotated[
        float, typer.Option(help="Seconds of the clip to encode; 0 = all of it.")
    ] = 0.0,
    device: Device = "cpu",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Encode a video into a .morphe file at a given rate.

    The rate counts 40 bytes of IP, UDP and RTP headers for each unit, which is the payload of one
    packet; the file itself has none of these.
    """
    from testbed.cli.morphe.progress import PictureProgress
    from testbed.codec.core import GOP_FRAMES, Settings, load_core, parse_scale
    from testbed.codec.files import encode_file
    from testbed.codec.reading import open_video

    check_kbps(kbps)
    settings = Settings(profile, parse_scale(scale))
    video = open_video(clip, duration_s=duration)
    core = load_core(weights, device=device)
    with PictureProgress("encoded", video.expected, GOP_FRAMES, quiet=quiet or json) as progress:
        done = encode_file(
            video, output, core=core, settings=settings, target_kbps=kbps, progress=progress
        )
    missed = done.kbps / kbps - 1
    if json:
        answer: dict[str, Any] = {
            "output": str(output),
            "target_kbps": kbps,
            "kbps": done.kbps,
            "frames": done.frames,
            "gops": done.gops,
            "units": done.units,
            "wire_bytes": done.wire_bytes,
            "gops_by_scale": done.scales,
            "weights": {"name": core.name, "sha256": core.sha256},
        }
        print_json(answer)
        return
    scales = ", ".join(f"{count} at {scale}x" for scale, count in sorted(done.scales.items()))
    print(
        f"{output}: {done.frames} pictures in {done.gops} GoP{'s' * (done.gops > 1)} ({scales}), "
        f"{done.units} packets, "
        f"{done.kbps:.1f} kbps"
    )
    if abs(missed) > TOLERANCE:
        print(f"the rate is {abs(missed):.0%} {'over' if missed > 0 else 'under'} the target")
