"""`testbed clips`: the catalogue of clips, what one is, and the encode cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.common import print_json

if TYPE_CHECKING:
    from testbed.media.clips import Clip

app = typer.Typer(help="The clips that sessions stream.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Catalogue name, file, or test:PATTERN.")]
Width = Annotated[int, typer.Option(help="Luma width; 0 keeps the source's.")]
Height = Annotated[int, typer.Option(help="Luma height; 0 keeps the source's.")]
Fps = Annotated[float, typer.Option(help="Frame rate; 0 keeps the source's.")]
Duration = Annotated[float, typer.Option("--duration", help="Seconds; short clips start again.")]
Json = Annotated[bool, typer.Option("--json", help="Print for a program.")]


def _open(name: str, width: int, height: int, fps: float, duration_s: float) -> Clip:
    from testbed.media.clips import open_clip
    from testbed.media.spec import ClipSpec

    return open_clip(ClipSpec(name, width, height, fps, duration_s), base=Path())


@app.command("list")
def list_clips(json: Json = False) -> None:
    """List the catalogue and the test patterns."""
    from testbed.media.catalogue import CATALOGUE, PATTERN_PREFIX, PATTERNS

    rows: list[dict[str, str]] = []
    for name in CATALOGUE.names():
        entry = CATALOGUE.get(name)
        rows.append(
            {
                "name": name,
                "title": entry.title,
                "licence": entry.licence,
                "citation": entry.citation,
            }
        )
    rows += [
        {"name": PATTERN_PREFIX + name, "title": title, "licence": "", "citation": ""}
        for name, title in sorted(PATTERNS.items())
    ]
    if json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['name']:18} {row['title']}")


@app.command("show")
def show_clip(
    name: Name,
    width: Width = 0,
    height: Height = 0,
    fps: Fps = 0.0,
    duration: Duration = 10.0,
    json: Json = False,
) -> None:
    """Say what a clip is in the form asked for."""
    facts: dict[str, Any] = _open(name, width, height, fps, duration).facts()
    if json:
        print_json(facts)
        return
    for key, value in facts.items():
        if value != "":
            print(f"{key:14} {value}")


@app.command("export")
def export_clip(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .y4m file to write.")],
    width: Width = 0,
    height: Height = 0,
    fps: Fps = 0.0,
    duration: Duration = 10.0,
) -> None:
    """Write a clip in the form asked for as .y4m."""
    from testbed.errors import OutputError
    from testbed.media.y4m import write_pictures

    clip = _open(name, width, height, fps, duration)
    try:
        count = write_pictures(
            output, clip.frames(), width=clip.width, height=clip.height, fps=clip.fps
        )
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from None
    print(f"{output}: {count} pictures, {clip.width}x{clip.height}, {clip.fps} fps")


@app.command("encode")
def encode_clip(
    name: Name,
    codec: Annotated[str, typer.Option(help="h264, h265 or h266.")] = "h264",
    target: Annotated[
        str,
        typer.Option(help="constant:KBPS, sine:LOW,HIGH,PERIOD_S or step:KBPS,KBPS,...,EACH_S."),
    ] = "constant:400",
    width: Width = 0,
    height: Height = 0,
    fps: Fps = 0.0,
    duration: Duration = 10.0,
    preset: Annotated[str, typer.Option(help="The encoder's own preset.")] = "",
    quality: Annotated[bool, typer.Option(help="Decode and measure quality, too.")] = False,
    json: Json = False,
) -> None:
    """Encode a clip towards a target rate and say how closely it was followed."""
    from dataclasses import asdict

    from testbed.media.cache import EncodeCache
    from testbed.media.encoders import EncoderConfig
    from testbed.media.quality import METRICS, measure_displayed
    from testbed.media.tracking import follow, parse_target
    from testbed.media.types import ReceivedFrame

    clip = _open(name, width, height, fps, duration)
    config = EncoderConfig(preset=preset)
    frames, tracking = follow(codec, clip, config, parse_target(target), EncodeCache.default())
    answer: dict[str, Any] = {"clip": name, "codec": codec, "target": target, **asdict(tracking)}
    if quality:
        received = [ReceivedFrame(f.index, f.key, f.data, complete=True) for f in frames]
        scores = measure_displayed(
            clip, codec, received, range(len(received)), metrics=METRICS, conceal=False
        )
        answer.update((metric, float(values.mean())) for metric, values in scores.items())
    if json:
        print_json(answer)
        return
    print("kbps          ", *(f"{kbps:.0f}" for kbps in answer.pop("kbps")))
    for key, value in answer.items():
        print(f"{key:14} {value:.3f}" if isinstance(value, float) else f"{key:14} {value}")


@app.command("cache")
def show_cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all encodes.")] = False,
    json: Json = False,
) -> None:
    """Say what the encode cache holds, or empty it."""
    from testbed.media.cache import EncodeCache

    cache = EncodeCache.default()
    if clear:
        cache.clear()
    info = cache.info()
    cache.close()
    if json:
        print_json(
            {
                "path": str(info.path),
                "frames": info.frames,
                "media_bytes": info.media_bytes,
                "file_bytes": info.file_bytes,
            }
        )
        return
    megabytes = info.file_bytes / 1e6
    print(f"{info.path}: {info.frames} frames, {megabytes:.1f} MB on disk")
