"""`morphe decode`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import Json, Quiet, print_json
from testbed.cli.morphe.options import Device
from testbed.errors import InputError, OutputError

if TYPE_CHECKING:
    from testbed.cli.morphe.progress import PictureProgress
    from testbed.codec.core import Core
    from testbed.codec.files import MorpheFile
    from testbed.codec.writing import Form
    from testbed.media.sources import Picture


def decode(
    file: Annotated[Path, typer.Argument(help="The .morphe file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Video to write: .mp4, .mkv or .y4m.")
    ],
    loss: Annotated[float, typer.Option(help="Share of the units to lose, 0 <= LOSS < 1.")] = 0.0,
    burst: Annotated[
        float, typer.Option(help="Mean run of lost units; 1 = each on its own.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Which units are lost.")] = 1,
    smoothing: Annotated[
        int | None,
        typer.Option(help="Pictures blended at GoP boundaries. Default: the codec's own."),
    ] = None,
    frames_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write single pictures there, as PNG.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="With --frames-dir: one picture of N.")] = 1,
    weights: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Weights. Default: what the file names."),
    ] = None,
    device: Device = "cpu",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Decode a .morphe file into a playable video, with the loss of some units if asked for.

    Units are lost in sending order, as packets would be: with --burst 1 each on its own, else in
    runs (Gilbert-Elliott). The same seed loses the same units.
    """
    from testbed.cli.morphe.progress import PictureProgress
    from testbed.codec.core import GOP_FRAMES
    from testbed.codec.files import MorpheFile, decode_gops, open_morphe
    from testbed.codec.losses import LossCondition, UnitLoss
    from testbed.codec.writing import format_of, write_video

    format_of(output)
    losses = UnitLoss(LossCondition(loss, burst, seed))
    _prepare(frames_dir)
    with open_morphe(file) as opened:
        source = MorpheFile(opened, str(file))
        form = source.form
        core = _load(source, file, weights, device)
        decoder = core.decoder(width=form.width, height=form.height, smoothing=smoothing)
        total = source.header.frame_count
        with PictureProgress("decoded", total, GOP_FRAMES, quiet=quiet or json) as progress:
            pictures = decode_gops(source.gops(), decoder, losses)
            count = write_video(
                output, _watched(file, pictures, form, frames_dir, every, progress), form
            )
        damage = source.reader.lost_units + decoder.refused_units
        truncated = source.reader.truncated
    answer = {
        "output": str(output), "frames": count, "width": form.width, "height": form.height,
        "fps": str(form.fps), "units": losses.sent, "lost_units": losses.lost,
        "damaged_units": damage, "truncated": truncated,
    }  # fmt: skip
    if json:
        print_json(answer)
        return
    text = f"{output}: {count} pictures, {form.width}x{form.height}, {form.fps} fps"
    if loss:
        text += f"; {losses.lost} of {losses.sent} units lost"
    if damage:
        text += f"; {damage} units of the file are damaged"
    if truncated:
        text += "; the file is cut off"
    print(text)


def _prepare(folder: Path | None) -> None:
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from None


def _load(source: MorpheFile, file: Path, weights: str | None, device: str) -> Core:
    """The model that made the file, and no other."""
    from testbed.codec.core import load_core, shipped_models

    header = source.header
    if weights is None and header.backend not in shipped_models():
        raise InputError(
            f"{file}: made with weights of {header.backend!r}, which are not shipped here; "
            "name their file with --weights"
        )
    core = load_core(weights or header.backend, device=device)
    if header.weights_hash and bytes.fromhex(core.sha256) != header.weights_hash:
        raise InputError(
            f"{file}: made with weights {header.weights_hash.hex()[:12]}, not with "
            f"{core.sha256[:12]} ({weights or header.backend}); name them with --weights"
        )
    return core


def _watched(
    file: Path,
    pictures: Iterable[Picture],
    form: Form,
    folder: Path | None,
    every: int,
    progress: PictureProgress,
) -> Iterator[Picture]:
    """The pictures, one in `every` written to `folder` on the way."""
    from testbed.codec.writing import to_rgb, write_png

    index = -1
    for index, picture in enumerate(pictures):
        if folder is not None and index % every == 0:
            write_png(folder / f"{index:06d}.png", to_rgb(picture, form))
        yield picture
        progress(index + 1)
    if index < 0:  # raised here so that nothing is written
        raise InputError(f"{file}: holds no pictures")
