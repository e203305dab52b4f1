"""`testbed transports`: the schemes that a scenario can name."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.common import Json, print_json

if TYPE_CHECKING:
    from testbed.transports import Transport

app = typer.Typer(no_args_is_help=True, help="The schemes that a scenario can name.")


@app.command("list")
def list_transports(json: Json = False) -> None:
    """List the transports."""
    from testbed.transports import TRANSPORTS

    entries = [_describe(TRANSPORTS.get(name)) for name in TRANSPORTS.names()]
    if json:
        print_json(entries)
        return
    for entry in entries:
        print(f"{entry['name']:<12} {entry['display_name']:<12} {entry['summary']}{_where(entry)}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Registered name.")],
    json: Json = False,
) -> None:
    """Show what a transport is and which options it takes."""
    from testbed.transports import TRANSPORTS

    transport = TRANSPORTS.get(name)
    entry = _describe(transport)
    options = _options(transport.options_type)
    if json:
        print_json({**entry, "options": options})
        return
    print(f"{entry['name']}: {entry['display_name']}. {entry['summary']}{_where(entry)}")
    print("options, with their defaults:" if options else "no options")
    for option in options:
        print(f"  {option['name']}: {option['default']!r:<8} {option['meaning']}")


def _where(entry: dict[str, Any]) -> str:
    """The mark of a transport that does not run everywhere."""
    worlds = ", ".join(entry["worlds"])
    return f" [--world {worlds} only]" if worlds else ""


def _describe(transport: Transport) -> dict[str, Any]:
    from testbed.transports.base import worlds_of

    summary = getattr(transport, "summary", None) or inspect.getdoc(transport) or ""
    return {
        "name": transport.name,
        "display_name": transport.display_name,
        "codec": transport.codec,
        "summary": summary.splitlines()[0] if summary else "",
        "worlds": list(worlds_of(transport)),
    }


def _options(options_type: type[Any]) -> list[dict[str, Any]]:
    meanings: dict[str, str] = {}
    for base in reversed(options_type.__mro__):  # options that several transports share
        meanings |= attribute_meanings(inspect.getdoc(base) or "")
    return [
        {
            "name": field.name,
            "default": None if field.default is dataclasses.MISSING else field.default,
            "meaning": meanings.get(field.name, ""),
        }
        for field in dataclasses.fields(options_type)
    ]


def attribute_meanings(docstring: str) -> dict[str, str]:
    """The entries of a docstring's `Attributes:` section by name."""
    meanings: dict[str, str] = {}
    name, inside = "", False
    for line in docstring.splitlines():
        indent = len(line) - len(line.lstrip())
        text = line.strip()
        if not inside or not text:
            inside = inside or text == "Attributes:"
        elif indent == 0:
            break
        elif indent == 4 and ": " in text:
            name, _, meaning = text.partition(": ")
            meanings[name] = meaning
        elif name:
            meanings[name] += f" {text}"
    return meanings
