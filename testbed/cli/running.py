"""What our programs share: their frame, and the way from a command line to an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import typer

import testbed
from morphe_core.errors import MorpheError
from testbed.errors import TestbedError

#: sysexits.h EX_SOFTWARE: our own fault, not the user's.
EXIT_INTERNAL = 70
#: What a shell reports for a program that SIGINT ended.
EXIT_INTERRUPTED = 130
#: The codec core refuses what the user gave it: bytes, settings, weights, a training's file.
EXIT_INPUT = 2
#: `ClickException`, by way of a public name: typer carries its own copy of click.
_UsageProblem: Any = typer.BadParameter.__mro__[2]


def new_app(name: str, summary: str) -> typer.Typer:
    """The program `name` with `--version` and without commands."""
    app = typer.Typer(
        name=name,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich's help costs a quarter of a second of imports
        help=summary,
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            print(f"{name} {testbed.__version__}")
            raise typer.Exit

    @app.callback()
    def options(
        # Not `Annotated`: typer reads annotations where `show_version` cannot be seen.
        version: bool = typer.Option(
            False,
            "--version",
            callback=show_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ) -> None:
        """Options of the program itself."""

    return app


def run_app(app: Callable[..., Any], name: str, arguments: Sequence[str]) -> int:
    """Run one command line of the program `name`.

    Returns:
        The exit code; whatever went wrong is one line on stderr. With `TESTBED_DEBUG=1` errors
        keep their traceback.
    """
    debug = os.environ.get("TESTBED_DEBUG") == "1"
    try:
        code = app(list(arguments), prog_name=name, standalone_mode=False)
        if code == EXIT_INTERRUPTED:  # typer makes this of Ctrl-C within a command
            return _fail("interrupted", EXIT_INTERRUPTED)
        return code if isinstance(code, int) else 0
    except (TestbedError, MorpheError) as error:
        if debug:
            raise
        return _fail(str(error), getattr(error, "exit_code", EXIT_INPUT))
    except _UsageProblem as error:
        if not error.format_message().strip():  # no arguments: the help has been shown
            return EXIT_INPUT
        context = getattr(error, "ctx", None)
        command = context.command_path if context else name
        return _fail(f"{error.format_message().rstrip('.')} (see {command} --help)", EXIT_INPUT)
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


def leave(code: int) -> NoReturn:
    """End the program."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) left; keep Python from complaining when it flushes once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
