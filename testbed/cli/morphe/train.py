"""`morphe train`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from testbed.errors import ToolMissingError


def train(
    config: Annotated[Path, typer.Argument(help="What to train, as YAML.")],
) -> None:
    """Train weights as a file describes, or go on where an interrupted training stopped."""
    try:
        if _backend_of(config) == "grace-style":
            from grace_style.training.cli import train_from_config
        else:
            from morphe_core.training.cli import train_from_config
    except ImportError as error:
        raise ToolMissingError(
            f"the training cannot be loaded ({error}); "
            "get what it needs with: pip install 'morphe-testbed[codec]'"
        ) from None
    weights = train_from_config(config, clock=time.perf_counter)
    print(weights)


def _backend_of(config: Path) -> object:
    """What the file is about; whoever trains it says what else is wrong with it."""
    import yaml

    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return content.get("backend") if isinstance(content, dict) else None
