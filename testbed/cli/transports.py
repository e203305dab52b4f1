"""`testbed transports`: the schemes that a scenario can name."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.common import Json, print_json

if TYPE_CHECKING:
    from testbed.transports import Transport

app = typer.Typer(no_args_is_help=True, help="The schemes that a scenario can name.")

#: Columns of the text that explains an option or a note.
_WIDTH = 100


@app.command("list")
def list_transports(json: Json = False) -> None:
    """List the transports."""
    from testbed.transports import TRANSPORTS

    entries = [_describe(TRANSPORTS.get(name)) for name in TRANSPORTS.names()]
    if json:
        print_json(entries)
        return
    columns = ("name", "display_name", "base")
    widths = [max(len(entry[column]) for entry in entries) for column in columns]
    for entry in entries:
        cells = [entry[column].ljust(w) for column, w in zip(columns, widths, strict=True)]
        print("  ".join([*cells, f"{entry['summary']}{_where(entry)}"]))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Registered name, or a scheme file.")],
    json: Json = False,
) -> None:
    """Show what a transport is, which options it takes and how figures show it."""
    from testbed.transports.schemes.transport import find_transport

    transport = find_transport(name, base=Path())
    entry = _describe(transport)
    options = _options(transport)
    if json:
        print_json({**entry, "options": options})
        return
    print(f"{entry['name']}: {entry['display_name']}. {entry['summary']}{_where(entry)}")
    for title, value in _facts(entry):
        print(f"  {title:<10} {value}")
    for note in entry["look"].get("notes", ()):
        print(
            textwrap.fill(note, _WIDTH, initial_indent="  note       ", subsequent_indent=" " * 13)
        )
    if not options:
        print("no options")
        return
    print("options, with their defaults:")
    width = max(len(_assigned(option)) for option in options)
    for option in options:
        mark = "*" if option["changed"] else " "
        head = f"{mark} {_assigned(option):<{width}}  "
        text = f"{head}{option['meaning']}"
        print(textwrap.fill(text, _WIDTH + 20, subsequent_indent=" " * len(head)))
    if any(option["changed"] for option in options):
        print(f"(* where the scheme differs from {entry['base']})")


def _assigned(option: Mapping[str, Any]) -> str:
    return f"{option['name']}: {option['default']!r}"


def _facts(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is said of a transport besides its options."""
    look = entry["look"]
    facts = [("base", entry["base"]), ("codec", entry["codec"])]
    if look.get("variant_of"):
        facts.append(("variant of", look["variant_of"]))
    for field in ("colour", "marker", "line", "hatch"):
        value = look.get(field)
        if value:
            shown = " ".join(f"{v:g}" for v in value) if isinstance(value, list) else value
            facts.append((field, shown))
    return facts


def _where(entry: Mapping[str, Any]) -> str:
    """The mark of a transport that does not run everywhere."""
    worlds = ", ".join(entry["worlds"])
    return f" [--world {worlds} only]" if worlds else ""


def _describe(transport: Transport) -> dict[str, Any]:
    from testbed.transports.base import look_of, worlds_of
    from testbed.transports.schemes.transport import base_of

    summary = getattr(transport, "summary", None) or inspect.getdoc(transport) or ""
    return {
        "name": transport.name,
        "display_name": transport.display_name,
        "base": base_of(transport).name,
        "codec": transport.codec,
        "summary": summary.splitlines()[0] if summary else "",
        "worlds": list(worlds_of(transport)),
        "look": dict(look_of(transport)),
    }


def _options(transport: Transport) -> list[dict[str, Any]]:
    from testbed.transports.base import defaults_of

    changed = defaults_of(transport)
    meanings: dict[str, str] = {}
    for kind in reversed(transport.options_type.__mro__):  # options may build on others'
        meanings |= attribute_meanings(inspect.cleandoc(kind.__doc__ or ""))
    return [
        {
            "name": field.name,
            "default": changed.get(
                field.name, None if field.default is dataclasses.MISSING else field.default
            ),
            "changed": field.name in changed,
            "meaning": meanings.get(field.name, ""),
        }
        for field in dataclasses.fields(transport.options_type)
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
