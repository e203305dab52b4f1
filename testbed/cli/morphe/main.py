"""Wires the subcommands of `morphe` together."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from testbed.cli.morphe.decode import decode
from testbed.cli.morphe.encode import encode
from testbed.cli.morphe.evaluate import evaluate
from testbed.cli.morphe.info import info
from testbed.cli.morphe.train import train
from testbed.cli.running import leave, new_app, run_app

app = new_app("morphe", "The Morphe codec: encode, decode with losses, evaluate, train.")

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
