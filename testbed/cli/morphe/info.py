"""`morphe info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from testbed.cli.common import Json, print_json


def info(
    file: Annotated[str, typer.Argument(help="A .morphe file, a weights file, a model's name.")],
    gops: Annotated[bool, typer.Option("--gops", help="List every GoP.")] = False,
    json: Json = False,
) -> None:
    """Say what is in a .morphe file or in a weights file."""
    path = Path(file)
    if not path.exists() and path.suffix != ".morphe":
        _show_weights(file, json=json)
        return
    from morphe_core.vgc.container import MAGIC
    from testbed.codec.files import MorpheFile, open_morphe

    with open_morphe(path) as opened:
        is_weights = opened.read(len(MAGIC)) != MAGIC and path.suffix != ".morphe"
        if not is_weights:
            from testbed.codec.contents import survey

            opened.seek(0)
            _show_stream(file, survey(MorpheFile(opened, file)), gops=gops, json=json)
            return
    _show_weights(file, json=json)


def _show_weights(name: str, *, json: bool) -> None:
    from testbed.codec.core import load_core

    facts = load_core(name).describe()
    if json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        print(f"{key:{width}} {value}")


def _show_stream(name: str, facts: dict[str, Any], *, gops: bool, json: bool) -> None:
    listed = facts.pop("gop_list")
    if json:
        print_json(facts | ({"gop_list": listed} if gops else {}))
        return
    scales = ", ".join(f"{count} at {scale}x" for scale, count in facts["gops_by_scale"].items())
    total = sum(facts["bytes"].values())
    print(f"{name}")
    print(
        f"  pictures   {facts['frames']} of {facts['width']}x{facts['height']}, "
        f"{facts['fps']} fps, {facts['duration_s']:.2f} s, source of {facts['bit_depth']} bits"
    )
    print(
        f"  codec      {facts['profile']}, backend {facts['backend']}, weights "
        f"{facts['weights_sha256'][:12]}"
    )
    print(f"  GoPs       {facts['gops']} ({scales})")
    print(f"  rate       {facts['kbps']:.1f} kbps with headers, target {facts['target_kbps']}")
    print(f"  packets    {facts['units']}, {total} bytes:")
    for kind, size in facts["bytes"].items():
        print(f"    {kind:15} {size:9} {size / max(total, 1):6.1%}")
    rates = " ".join(f"{rate:.0f}" for rate in facts["kbps_by_second"])
    print(f"  by second  {rates} kbps")
    if facts["damaged_units"] or facts["truncated"]:
        cut = ", the file is cut off" if facts["truncated"] else ""
        print(f"  damage     {facts['damaged_units']} units{cut}")
    if gops:
        _list_gops(listed)


def _list_gops(listed: list[dict[str, int]]) -> None:
    print("     gop frames scale  I-q  P-q units   bytes")
    for gop in listed:
        print(
            f"  {gop['index']:6} {gop['frames']:6} {gop['scale']:5} {gop['i_quality']:4} "
            f"{gop['p_quality']:4} {gop['units']:5} {gop['wire_bytes']:7}"
        )
