"""The `testbed` command: wires the command groups together and turns errors into exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from testbed.cli.capture import app as capture
from testbed.cli.clips import app as clips
from testbed.cli.doctor import doctor
from testbed.cli.endpoints import receive, send
from testbed.cli.fidelity import fidelity
from testbed.cli.gate import gate
from testbed.cli.live import live
from testbed.cli.play import play
from testbed.cli.report import report
from testbed.cli.run import run, schema
from testbed.cli.running import leave, new_app, run_app
from testbed.cli.traces import app as traces
from testbed.cli.transports import app as transports

app = new_app("testbed", "Trace-driven experiments with loss-resilient video streaming.")

# Every module imports what is heavy inside its functions, so that `--help` stays quick.
app.command()(run)
app.command()(report)
app.command()(live)
app.command()(play)
app.command()(gate)
app.command()(fidelity)
app.command()(doctor)
app.command()(schema)
app.command()(send)
app.command()(receive)
app.add_typer(traces, name="traces")
app.add_typer(clips, name="clips")
app.add_typer(capture, name="capture")
app.add_typer(transports, name="transports")


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; see `testbed.cli.running.run_app`."""
    return run_app(app, "testbed", arguments)


def main() -> None:
    """Entry point of the `testbed` command."""
    leave(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
