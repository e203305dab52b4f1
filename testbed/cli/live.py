"""`testbed live RUN`: a session's pictures and curves in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import Base

if TYPE_CHECKING:
    from testbed.live.feed import Feed


def live(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder: one of DIR/runs of `testbed run`.")
    ],
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
    """Show a run over again, as it was, on a page that this machine alone can open.

    Source and received video side by side, and below them bitrate, loss and frame rates. The
    address is printed; Ctrl-C ends it.
    """
    from testbed.live.feed import Feed
    from testbed.live.recording import open_recording
    from testbed.live.replay import Replay
    from testbed.live.server import LiveServer

    recording = open_recording(folder, base=base, world=f"replay at {speed:g}x")
    feed = Feed(recording.heading)
    with LiveServer(feed, port=port) as server:
        _announce(server.url, browser=not no_browser)
        with Replay(recording, feed, speed=speed) as replay:
            replay.wait()
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
