"""`morphe evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import Json, Quiet, print_json
from testbed.cli.morphe.options import (
    LEAST_KBPS,
    MOST_KBPS,
    Device,
    Profiles,
    Scale,
    Weights,
    numbers,
)
from testbed.codec.drops import DROP_SCOPES, SELECTIONS, DropCondition, scope_name
from testbed.errors import InputError, OutputError

if TYPE_CHECKING:
    from testbed.codec.batch import Failure
    from testbed.codec.evaluate import ClipResult, Plan, Row
    from testbed.codec.losses import LossCondition

#: The rate whose pictures are shown, or the one nearest to it: the paper's own (Figure 2).
SHEET_KBPS = 400.0
NO_PROFILE = "none"


def evaluate(
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP...", help="Video files, or catalogue names.")
    ],
    kbps: Annotated[str, typer.Option(metavar="N,N", help="Rates, packet headers included.")],
    loss: Annotated[
        str, typer.Option(metavar="R,R", help="Shares of units to lose, beside 0.")
    ] = "0",
    burst: Annotated[
        str, typer.Option(metavar="B,B", help="Mean runs of lost units; 1 = each on its own.")
    ] = "1",
    seeds: Annotated[int, typer.Option(min=1, help="Realisations of each loss.")] = 1,
    drop: Annotated[
        str, typer.Option(metavar="R,R", help="Shares of tokens to leave out, beside 0.")
    ] = "0",
    selection: Annotated[
        str, typer.Option(metavar="|".join(SELECTIONS), help="How these are chosen; a list.")
    ] = ",".join(SELECTIONS),
    drop_scope: Annotated[
        str, typer.Option(metavar="|".join(DROP_SCOPES), help="Of P tokens, of all; a list.")
    ] = "p",
    profile: Profiles = "morphe",
    scale: Scale = "auto",
    weights: Weights = "small",
    height: Annotated[
        int, typer.Option(min=16, max=8192, help="Scale a taller source down to this; even.")
    ] = 720,
    frames: Annotated[int, typer.Option(min=1, help="Most pictures of a clip.")] = 300,
    anchors: Annotated[
        str, typer.Option(metavar="none|x264,x265", help="Encoders to compare with.")
    ] = "none",
    anchor_kbps: Annotated[
        str | None,
        typer.Option(metavar="N,N", help="Their rates. Default: powers of two around --kbps."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write tables, figures and sheets there.")
    ] = None,
    device: Device = "cpu",
    jobs: Annotated[int, typer.Option(min=1, help="Clips side by side.")] = 1,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure VMAF, SSIM and PSNR at given rates and losses, beside x264 and x265.

    Every clip is encoded once for each rate and decoded once for each loss. With --drop it is
    encoded once more for each way to leave out tokens, at the same qualities, so with other bytes.
    A clip that fails costs only itself: the others are reported, and the exit code is 1.
    """
    from testbed.cli.morphe.progress import say, say_nothing
    from testbed.codec.batch import run_batch

    drops = _drops(drop, selection, drop_scope)
    plan = _plan(kbps, loss, burst, seeds, drops, profile, scale, weights, height, frames, anchors,
                 anchor_kbps, device, sheets=out is not None)  # fmt: skip
    _check_names(clips)
    _check_folder(out)
    results, failures = run_batch(
        clips, plan, jobs=jobs, sheets=out, report=say_nothing if quiet else say
    )
    if failures and not results and failures[0].error is not None:
        raise failures[0].error
    if out is not None and results:
        from testbed.analysis.codec import write_figures, write_tables

        paths = [*write_tables(results, out), *write_figures(results, out)]
        for result in results:
            paths += [out / f"sheet--{result.clip}.png" for _ in result.shown]
            paths += [out / f"drop--{result.clip}.png" for one in result.shown if one.dropped]
        if not json:
            print(f"{out}: {', '.join(path.name for path in paths)}\n")
    if json:
        print_json([row.as_json() for result in results for row in result.rows])
    else:
        _show(results, plan)
    _conclude(failures, len(clips))


def _plan(
    kbps: str, loss: str, burst: str, seeds: int, drops: tuple[DropCondition, ...], profile: str,
    scale: str, weights: str, height: int, frames: int, anchors: str, anchor_kbps: str | None,
    device: str, *, sheets: bool,
) -> Plan:  # fmt: skip
    from testbed.codec.anchors import families
    from testbed.codec.core import Settings, parse_scale
    from testbed.codec.evaluate import Plan, anchor_rates

    rates = numbers("--kbps", kbps, low=LEAST_KBPS, high=MOST_KBPS)
    profiles = _words(profile)
    if profiles == [NO_PROFILE]:
        profiles = []
    number = parse_scale(scale)
    for name in profiles:
        Settings(name, number)
    if height % 2:
        raise InputError(f"--height {height}: must be even")
    names = families(anchors)
    if not profiles and not names:
        raise InputError("--profile none without --anchors: nothing to measure")
    their_rates: Sequence[float] = ()
    if names and anchor_kbps is not None:
        their_rates = numbers("--anchor-kbps", anchor_kbps, low=LEAST_KBPS, high=MOST_KBPS)
    elif names:
        their_rates = anchor_rates(rates) if profiles else rates
    nearest = min(rates, key=lambda rate: abs(rate - SHEET_KBPS))
    return Plan(
        kbps=tuple(rates), losses=_losses(loss, burst, seeds), drops=drops,
        profiles=tuple(profiles), scale=number, height=height, frames=frames, anchors=names,
        anchor_kbps=tuple(their_rates), weights=weights, device=device,
        sheet_kbps=nearest if sheets else 0.0,
    )  # fmt: skip


def _losses(loss: str, burst: str, seeds: int) -> tuple[LossCondition, ...]:
    """Every loss with every burst and seed; no loss is always measured, once."""
    from testbed.codec.losses import LossCondition

    rates = numbers("--loss", loss, low=0, high=0.99)
    bursts = numbers("--burst", burst, low=1, high=1e6)
    return tuple(
        LossCondition(rate, mean, seed)
        for rate in rates
        if rate
        for mean in bursts
        for seed in range(1, seeds + 1)
    )


def _drops(drop: str, selection: str, scope: str) -> tuple[DropCondition, ...]:
    """Every share with every selection and scope; dropping nothing is always measured, once."""
    shares = numbers("--drop", drop, low=0, high=1)
    selections, scopes = _words(selection), _words(scope)
    # The names are checked where nothing is dropped, too.
    ways = [DropCondition(1.0, *way) for way in product(selections, scopes)]
    return tuple(replace(way, share=share) for share in shares if share for way in ways)


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",")))


def _check_names(clips: Sequence[str]) -> None:
    """Results are told apart by the clips' names."""
    seen: dict[str, str] = {}
    for clip in clips:
        name = Path(clip).stem
        if name in seen:
            raise InputError(f"{clip}: results would be called {name}, as those of {seen[name]}")
        seen[name] = clip


def _check_folder(folder: Path | None) -> None:
    """Better now than after an hour."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from None


def _show(results: Sequence[ClipResult], plan: Plan) -> None:
    names = plan.anchors if plan.profiles else ()
    if not results:
        return
    width = max(len("clip"), *(len(result.clip) for result in results))
    head = f"{'clip':{width}} {'codec':16} {'target':>7} {'kbps':>8} {'loss':>5} {'burst':>5} "
    head += f"{'seed':>4} {'VMAF':>6} {'NEG':>6} {'SSIM':>6} {'PSNR':>6}"
    head += "".join(f" {_short(name):>9}" for name in names)
    print(head + f" {'drop':>5} {'of':3} chosen by" * bool(plan.drops))
    for result in results:
        for row in result.rows:
            print(_line(row, width, names))
    if len(results) > 1:
        _show_means(results, width, names)
    if plan.drops and plan.profiles:
        _show_drops(results)
    if names:
        print("\nUnder their names: the anchors' VMAF at the bytes of the row.")
        if len(plan.kbps) > 1:
            _show_bd(results)


def _line(row: Row, width: int, names: Sequence[str]) -> str:
    text = f"{row.clip:{width}} {row.codec:16} {row.target_kbps:7g} {row.kbps:8.1f} "
    text += f"{row.loss:5.0%} {row.burst:5g} {row.seed:4} {row.vmaf:6.2f} {row.vmaf_neg:6.2f} "
    text += f"{row.ssim:6.4f} {row.psnr:6.2f}"
    for name in names:
        value = row.same_bytes.get(name)
        text += f" {value:9.2f}" if value is not None else f" {'':9}"
    if row.drop:
        text += f" {row.drop:5.0%} {scope_name(row.drop_scope):3} {row.selection}"
    return text.rstrip()


def _show_means(results: Sequence[ClipResult], width: int, names: Sequence[str]) -> None:
    """Means over clips (and seeds) of what every clip has."""
    from testbed.analysis.codec import MEAN, mean_rows

    print()
    for row in mean_rows(results):
        print(_line(row, max(width, len(MEAN)), names))


def _show_drops(results: Sequence[ClipResult]) -> None:
    """How each selection does beside random dropping."""
    from testbed.analysis.codec import drop_rows

    rows = [row for row in drop_rows(results) if row.selection != "random" and row.of_random]
    if rows:
        print(
            "\nTokens dropped at the qualities that the rate gives without; VMAF, mean over clips:"
        )
    for row in rows:
        print(f"{row.codec} at {row.target_kbps:g} kbps, {100 * row.drop:g} % of "
              f"{scope_name(row.drop_scope)}: {row.selection} {row.vmaf:.2f}, "
              f"{row.of_random:.2f} times that of random")  # fmt: skip


def _short(name: str) -> str:
    """`x264-lowlatency` in nine letters."""
    return name.replace("lowlatency", "ll").replace("keyint9", "gop9")


def _show_bd(results: Sequence[ClipResult]) -> None:
    from testbed.analysis.codec import MEAN, bd_rows

    rows = bd_rows(results, metrics=("vmaf",))
    shown = [row for row in rows if row.clip == MEAN] or rows
    for row in shown:
        if row.percent is None:
            figure = "no common quality"
        else:
            figure = f"{row.percent:+.1f} % (curves share {row.overlap:.0%} of their qualities)"
        print(f"BD-rate of {row.codec} against {row.anchor}, VMAF, {row.clips} clips: {figure}")


def _conclude(failures: Sequence[Failure], total: int) -> None:
    for failure in failures:
        print(f"failed: {failure.source}: {failure.message}", file=sys.stderr)
    if failures:
        print(f"error: {len(failures)} of {total} clips failed", file=sys.stderr)
        raise typer.Exit(1)
