"""`testbed capture`: what is in a capture, the dissector for Wireshark, and qlog."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from testbed.cli.common import Json, print_json
from testbed.errors import InputError, OutputError

app = typer.Typer(
    no_args_is_help=True,
    help="Packets of sessions: look into captures, open them in other tools.",
)

#: Columns of a source: title, key, and digits after the point where there are any.
_COLUMNS = (
    ("packets", "packets", None),
    ("bytes", "bytes", None),
    ("first s", "first_s", 3),
    ("last s", "last_s", 3),
    ("lost", "lost", None),
    ("gaps", "gaps", None),
    ("late", "late", None),
    ("twice", "duplicates", None),
    ("jitter ms", "jitter_ms", 2),
)


@app.command("inspect")
def inspect(
    file: Annotated[Path, typer.Argument(help="A pcapng or pcap file, from any tool.")],
    clock_hz: Annotated[
        int,
        typer.Option("--clock-hz", min=1, help="RTP clock of dynamic payload types, for jitter."),
    ] = 90_000,
    json: Json = False,
) -> None:
    """Sum up the RTP, RTCP and Morphe packets of a capture, by flow and source."""
    from testbed.capture.inspect import inspect_capture

    found = inspect_capture(file, clock_hz=clock_hz).as_json()
    if json:
        print_json(found)
        return
    for line in _lines(found):
        print(line)


@app.command("lua")
def lua() -> None:
    """Print the path of the Lua script that teaches Wireshark and tshark our payload."""
    from testbed.capture.dissector import dissector_path

    print(dissector_path())


@app.command("qlog")
def qlog(
    run: Annotated[Path, typer.Argument(help="A run folder: RESULTS/runs/NAME.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write. Default: $QLOGDIR, else here."),
    ] = None,
    vantage: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this one: sender, network or receiver."),
    ] = None,
) -> None:
    """Write a run's tables as qlog: NAME.sender.sqlog, .network.sqlog and .receiver.sqlog."""
    from testbed.analysis.runs import open_run
    from testbed.capture.qlog import VANTAGE_POINTS, records, write_qlog

    if vantage is not None and vantage not in VANTAGE_POINTS:
        known = ", ".join(VANTAGE_POINTS)
        raise InputError(f"--vantage: must be one of {known} (got {vantage!r})")
    opened = open_run(run)
    folder = out or Path(os.environ.get("QLOGDIR") or ".")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the folder: {error.strerror}") from None
    tables = {name: opened.table(name) for name in ("frames", "packets", "control", "link")}
    for name in [vantage] if vantage else VANTAGE_POINTS:
        path = folder / f"{opened.name}.{name}.sqlog"
        write_qlog(path, records(tables, opened.manifest, name))
        print(path)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    duration = "" if found["duration_s"] is None else f" in {found['duration_s']:.3f} s"
    yield f"{found['file']}: {found['packets']} packets{duration}"
    for comment in found["comments"]:
        yield " ".join(comment.split())
    for flow in found["flows"]:
        yield ""
        yield from _flow_lines(flow)
    other = found["other"]
    if other["datagrams"]:
        yield ""
        yield f"not RTP: {other['datagrams']} datagrams in {other['flows']} flows"
    if found["not_udp"]:
        yield f"not UDP over IP: {found['not_udp']} packets"


def _flow_lines(flow: Mapping[str, Any]) -> Iterator[str]:
    where = f"{flow['interface']}: " if flow["interface"] else ""
    yield (
        f"{where}{flow['source']} -> {flow['destination']}  "
        f"{flow['datagrams']} datagrams, {flow['bytes']} bytes"
    )
    rows = [["SSRC", "payload types", *(title for title, _, _ in _COLUMNS)]]
    rows += [_source_row(source) for source in flow["sources"]]
    if len(rows) > 1:
        yield from _table(rows)
    if flow["rtcp"]:
        yield "  RTCP: " + ", ".join(f"{count} {kind}" for kind, count in flow["rtcp"].items())
    odd = {
        "not RTP": flow["not_rtp"],
        "cut off": flow["cut"],
        "restarts": sum(source["restarts"] for source in flow["sources"]),
        "strays": sum(source["strays"] for source in flow["sources"]),
    }
    if any(odd.values()):
        yield "  " + ", ".join(f"{what}: {count}" for what, count in odd.items() if count)
    if flow["morphe"]:
        yield _morphe_line(flow["morphe"])


def _source_row(source: Mapping[str, Any]) -> list[str]:
    row = [source["ssrc"], "+".join(source["payload_types"])]
    for _, key, digits in _COLUMNS:
        value = source[key]
        shown = str(value) if digits is None else f"{value or 0.0:.{digits}f}"
        row.append("-" if value is None else shown)
    return row


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of equal width, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        cells += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        yield "  " + "  ".join(cells).rstrip()


def _morphe_line(morphe: Mapping[str, Any]) -> str:
    def spread(values: Mapping[str, float] | None) -> str:
        if values is None:
            return "?"
        least, most = values["least"], values["most"]
        return f"{least:g}" if least == most else f"{least:g} to {most:g}"

    words = [
        f"{morphe['gops']} GoPs ({morphe['complete_gops']} complete)",
        "+".join(morphe["sizes"]),
        f"{spread(morphe['packets'])} packets and {spread(morphe['units'])} units each",
        f"{morphe['missing_packets']} packets missing",
        f"{morphe['retransmissions']} retransmissions",
    ]
    if morphe["retransmissions"]:
        words[-1] += f" ({morphe['repaired']} of use)"
    words += [f"{morphe[key]} {key}" for key in ("padding", "refused") if morphe[key]]
    return "  Morphe: " + ", ".join(words)
