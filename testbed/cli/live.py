"""`testbed live RUN`: a session's pictures and curves in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import Base, one_cell
from testbed.errors import InputError

if TYPE_CHECKING:
    from testbed.live.feed import Feed


def live(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO | RUN",
            help="Scenario to run now, or run folder (one of DIR/runs) to show over again.",
        ),
    ],
    world: Annotated[
        str, typer.Option(help="Where a scenario runs: relay or mahimahi.", metavar="NAME")
    ] = "relay",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the scenario."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1. 0: any that is free.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    speed: Annotated[
        float, typer.Option(min=0.05, max=20.0, help="Pace of the replay; 1 is as it was.")
    ] = 1.0,
    base: Base = None,
    stay: Annotated[
        bool,
        typer.Option("--stay/--no-stay", help="Keep the page up after the end, until Ctrl-C."),
    ] = True,
) -> None:
    """Show a session on a page that this machine alone can open.

    Source and received video side by side, and below them bitrate, loss and frame rates: of a
    scenario that runs now in an emulated world (it must describe exactly one run), or of a run
    folder, as it was. The address is printed; Ctrl-C ends it.
    """
    from testbed.live.feed import Feed
    from testbed.live.server import LiveServer

    if not Path(what).is_dir():
        if base is not None or speed != 1.0:
            raise InputError("--base and --speed go with a run folder only")
        _scenario(what, world, overrides or [], port=port, browser=not no_browser, stay=stay)
        return
    if overrides or world != "relay":
        raise InputError("--set and --world go with a scenario only")
    from testbed.live.recording import open_recording
    from testbed.live.replay import Replay

    recording = open_recording(Path(what), base=base, world=f"replay at {speed:g}x")
    feed = Feed(recording.heading)
    with LiveServer(feed, port=port) as server:
        _announce(server.url, browser=not no_browser)
        with Replay(recording, feed, speed=speed) as replay:
            replay.wait()
        _conclude(feed, stay=stay)


def _scenario(
    scenario: str, world: str, overrides: list[str], *, port: int, browser: bool, stay: bool
) -> None:
    from testbed.live.emulated import LiveSession, heading_of, runner_of
    from testbed.live.feed import Feed
    from testbed.live.server import LiveServer
    from testbed.worlds.ends import EndFactory

    runner_of(world)
    cell = one_cell(scenario, overrides, world=world)
    make = EndFactory(cell.session, base=cell.base)
    feed = Feed(heading_of(cell, make))
    with LiveServer(feed, port=port) as server:
        _announce(server.url, browser=browser)
        typer.echo("preparing: what can be encoded in advance is", err=True)
        LiveSession(cell, feed, make).wait()
        _conclude(feed, stay=stay)


def _announce(url: str, *, browser: bool) -> None:
    """Say where the page is, and open it."""
    import webbrowser

    print(url, flush=True)
    if browser and not webbrowser.open(url):
        typer.echo("no browser found: open the address above in one", err=True)


def _conclude(feed: Feed, *, stay: bool) -> None:
    """Say how it ended, and keep the page up."""
    import threading

    from testbed.live.feed import State

    status = feed.status
    if status.state is State.FAILED:
        typer.echo(f"error: {status.reason}", err=True)
        raise typer.Exit(1)
    if stay:
        typer.echo("The session is over; Ctrl-C closes the page.", err=True)
        threading.Event().wait()
