"""Wires the subcommands of `morphe` together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import testbed
from testbed.cli.morphe.decode import decode
from testbed.cli.morphe.encode import encode
from testbed.cli.morphe.evaluate import evaluate
from testbed.cli.morphe.info import info
from testbed.cli.morphe.train import train
from testbed.cli.running import leave, run_app

app = typer.Typer(
    name="morphe",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help costs a quarter of a second of imports
    help="The Morphe codec: encode, decode with losses, evaluate, train.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"morphe {testbed.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """The Morphe codec: encode, decode with losses, evaluate, train."""


app.command()(encode)
app.command()(decode)
app.command()(evaluate)
app.command()(info)
app.command()(train)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; see `testbed.cli.running.run_app`."""
    return run_app(app, "morphe", arguments)


def main() -> None:
    """Entry point of the `morphe` command."""
    leave(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
