"""The `testbed` command: wires the command groups together and turns errors into exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import testbed
from testbed.cli.clips import app as clips
from testbed.cli.doctor import doctor
from testbed.cli.fidelity import fidelity
from testbed.cli.report import report
from testbed.cli.run import run, schema
from testbed.cli.running import leave, run_app
from testbed.cli.traces import app as traces
from testbed.cli.transports import app as transports

app = typer.Typer(
    name="testbed",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help costs a quarter of a second of imports
    help="Trace-driven experiments with loss-resilient video streaming.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"testbed {testbed.__version__}")
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
    """Trace-driven experiments with loss-resilient video streaming."""


# Every module imports what is heavy inside its functions, so that `--help` stays quick.
app.command()(run)
app.command()(report)
app.command()(fidelity)
app.command()(doctor)
app.command()(schema)
app.add_typer(traces, name="traces")
app.add_typer(clips, name="clips")
app.add_typer(transports, name="transports")


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; see `testbed.cli.running.run_app`."""
    return run_app(app, "testbed", arguments)


def main() -> None:
    """Entry point of the `testbed` command."""
    leave(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
