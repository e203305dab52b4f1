"""The `testbed` command: wires the command groups together and turns errors into exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

import testbed
from testbed.cli.clips import app as clips
from testbed.cli.doctor import doctor
from testbed.cli.fidelity import fidelity
from testbed.cli.report import report
from testbed.cli.run import run, schema
from testbed.cli.traces import app as traces
from testbed.cli.transports import app as transports
from testbed.errors import TestbedError

#: sysexits.h EX_SOFTWARE: our own fault, not the user's.
EXIT_INTERNAL = 70
#: What a shell reports for a program that SIGINT ended.
EXIT_INTERRUPTED = 130
#: `ClickException`, by way of a public name: typer carries its own copy of click.
_UsageProblem: Any = typer.BadParameter.__mro__[2]

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
    """Run one command line.

    Returns:
        The exit code; whatever went wrong is one line on stderr. With `TESTBED_DEBUG=1` errors
        keep their traceback.
    """
    debug = os.environ.get("TESTBED_DEBUG") == "1"
    try:
        code = app(list(arguments), prog_name="testbed", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except TestbedError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except _UsageProblem as error:
        if not error.format_message().strip():  # no arguments: the help has been shown
            return 2
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "testbed"
        return _fail(f"{error.format_message().rstrip('.')} (see {command} --help)", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _fail(
            f"internal error ({what}); please report it; TESTBED_DEBUG=1 shows more", EXIT_INTERNAL
        )


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def main() -> None:
    """Entry point of the `testbed` command."""
    code = run_command(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) left; keep Python from complaining when it flushes once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
