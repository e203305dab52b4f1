"""A run's tables as qlog (draft-ietf-quic-qlog-main-schema): JSON text sequences, `.sqlog`.

qlog wants one trace for every place from which events are seen, so a run makes three files: of the
sender, of the network between, and of the receiver. Packets have the names of QUIC's events with
their meaning there, and the numbers of `packets.parquet`, one sequence a direction; the kind of
packet and the frame are fields of our own. What is known of frames has a namespace of ours. Times
are ms since the start of the session.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.errors import OutputError

if TYPE_CHECKING:
    import pandas as pd

#: One event: time in ns, name, data.
Event = tuple[int, str, dict[str, Any]]
Tables = Mapping[str, "pd.DataFrame"]

#: Begins every record (RFC 7464 section 2.2); a line feed ends it.
RECORD_SEPARATOR: Final = "\x1e"
#: Namespaces of the events: QUIC's, qlog's own for simulations, and ours (no registered one).
EVENT_SCHEMAS: Final = (
    "urn:ietf:params:qlog:events:quic",
    "urn:ietf:params:qlog:events:simulation",
    "urn:uuid:0d2b5f0e-6a51-4a0e-9f0c-3f2f9a0b7c11#morphe-112026",
)
#: A change of the capacity between two 100 ms bins that is worth a marker: opportunities come in
#: whole packets, so that even a constant rate moves a little.
MARKER_SHARE: Final = 0.1
#: `packets.size_bytes` less the UDP payload (`testbed.tables`).
LINK_OVERHEAD_BYTES: Final = 32
#: Clocks of the worlds; qlog allows any text besides "system" and "monotonic".
_SIMULATED: Final = "simulated"


def _known(value: Any) -> bool:
    """Whether a cell of a table holds something: pandas has NaN for null."""
    return value is not None and value == value


def _rows(tables: Tables, name: str) -> Iterator[Any]:
    """Rows of a table with a field a column."""
    return iter(tables[name].itertuples(index=False))


def _ms(time_ns: float) -> float:
    return round(time_ns / 1e6, 6)


def _bps(kbps: float) -> int:
    return round(kbps * 1000)


# --- packets ----------------------------------------------------------------------------------


def _packet(row: Any) -> dict[str, Any]:
    """What all events on a packet say."""
    data: dict[str, Any] = {
        "header": {"packet_type": "unknown", "packet_number": int(row.seq)},
        "raw": {"length": int(row.size_bytes) - LINK_OVERHEAD_BYTES},
        "direction": row.direction,
        "kind": row.kind,
    }
    if _known(row.frame):
        data["frame"] = int(row.frame)
    if _known(row.retransmission_of):
        data["retransmission_of"] = int(row.retransmission_of)
    return data


def _ends(tables: Tables, *, out: str, back: str) -> Iterator[Event]:
    """Packets at an end that sends in direction `out`."""
    for row in _rows(tables, "packets"):
        if row.direction == out:
            yield int(row.sent_ns), "quic:packet_sent", _packet(row)
        elif row.direction == back and _known(row.arrival_ns):
            yield int(row.arrival_ns), "quic:packet_received", _packet(row)
            if row.kind == "feedback":
                said = {"packet_number": int(row.seq)}
                yield int(row.arrival_ns), "morphe:feedback_received", said


def _on_the_link(tables: Tables) -> Iterator[Event]:
    """Packets into and out of the bottleneck, and those that were dropped.

    The tables have no time of a drop: it stands at the last time that is known of the packet.
    """
    for row in _rows(tables, "packets"):
        last_ns = int(row.sent_ns)
        for time_ns, name in ((row.link_in_ns, "received"), (row.link_out_ns, "sent")):
            if _known(time_ns):
                last_ns = int(time_ns)
                yield last_ns, f"quic:packet_{name}", _packet(row)
        if row.drop != "none":
            yield last_ns, "quic:packet_dropped", {**_packet(row), "details": {"why": row.drop}}


# --- what is not a packet ---------------------------------------------------------------------


def _frames_encoded(tables: Tables) -> Iterator[Event]:
    for row in _rows(tables, "frames"):
        if not _known(row.encode_end_ns):
            continue
        data = {
            "frame": int(row.frame),
            "gop": int(row.gop),
            "key": bool(row.key),
            "raw": {"length": int(row.media_bytes)},
            "mode": row.mode,
            "captured": _ms(row.capture_ns),
        }
        if _known(row.target_kbps):
            data["target_rate"] = _bps(row.target_kbps)
        yield int(row.encode_end_ns), "morphe:frame_encoded", data


def _frames_shown(tables: Tables, deadline_ns: int) -> Iterator[Event]:
    """Frames on the screen; those that never were, at their deadline."""
    for row in _rows(tables, "frames"):
        data = {"frame": int(row.frame), "outcome": row.outcome, "captured": _ms(row.capture_ns)}
        for name, time_ns in (("decodable", row.decodable_ns), ("decoded", row.decode_end_ns)):
            if _known(time_ns):
                data[name] = _ms(time_ns)
        if _known(row.render_ns):
            yield int(row.render_ns), "morphe:frame_rendered", data
        else:
            data["reason"] = row.reason
            yield int(row.capture_ns) + deadline_ns, "morphe:frame_missed", data


def _control(tables: Tables) -> Iterator[Event]:
    state = ""
    for row in _rows(tables, "control"):
        time_ns = int(row.time_ns)
        data: dict[str, Any] = {"mode": row.mode}
        if _known(row.min_rtt_ms):
            data["min_rtt"] = float(row.min_rtt_ms)
        if _known(row.loss):
            data["loss"] = float(row.loss)
        for name, kbps in (("estimated_rate", row.estimate_kbps), ("target_rate", row.target_kbps)):
            if _known(kbps):
                data[name] = _bps(kbps)
        yield time_ns, "quic:recovery_metrics_updated", data
        if row.controller_state != state:
            changed = {"old": state} if state else {}
            state = row.controller_state
            yield time_ns, "quic:congestion_state_updated", {**changed, "new": state}


def _capacity(tables: Tables) -> Iterator[Event]:
    """A marker where a direction's capacity changes; one that never has any has no limit."""
    limited = {row.direction for row in _rows(tables, "link") if row.capacity_bytes}
    told: dict[str, int] = {}
    for row in _rows(tables, "link"):
        if row.direction not in limited:
            continue
        now, before = int(row.capacity_bytes), told.get(row.direction)
        if before is not None and abs(now - before) <= MARKER_SHARE * max(now, before):
            continue
        told[row.direction] = now
        message = f"{row.direction}: {now} bytes in 100 ms"
        yield int(row.time_ns), "simulation:marker", {"type": "capacity", "message": message}


def _scenario(manifest: Mapping[str, Any]) -> Event:
    keys = ("transport", "seed", "run", "world", "cell")
    details = {key: manifest[key] for key in keys if key in manifest}
    return 0, "simulation:scenario", {"name": manifest["scenario"], "details": details}


# --- files ------------------------------------------------------------------------------------


def _of_sender(tables: Tables, _: Mapping[str, Any]) -> Iterator[Event]:
    yield from _ends(tables, out="down", back="up")
    yield from _frames_encoded(tables)
    yield from _control(tables)


def _of_network(tables: Tables, manifest: Mapping[str, Any]) -> Iterator[Event]:
    yield _scenario(manifest)
    yield from _capacity(tables)
    yield from _on_the_link(tables)


def _of_receiver(tables: Tables, manifest: Mapping[str, Any]) -> Iterator[Event]:
    yield from _ends(tables, out="up", back="down")
    deadline_ns = round(manifest["cell"]["playout_deadline_ms"] * 1e6)
    yield from _frames_shown(tables, deadline_ns)


#: Who sees what: qlog's words for the place, and the events. Media flows from server to client.
VANTAGE_POINTS: Final[
    dict[str, tuple[dict[str, str], Callable[[Tables, Mapping[str, Any]], Iterator[Event]]]]
] = {
    "sender": ({"type": "server"}, _of_sender),
    "network": ({"type": "network", "flow": "server"}, _of_network),
    "receiver": ({"type": "client"}, _of_receiver),
}


def records(tables: Tables, manifest: Mapping[str, Any], vantage: str) -> Iterator[str]:
    """The records of one file, in order.

    Args:
        tables: frames, packets, control and link of a run.
        manifest: of the run.
        vantage: a key of `VANTAGE_POINTS`.
    """
    point, events = VANTAGE_POINTS[vantage]
    simulated = manifest.get("world") == "simulator"
    yield _record(
        {
            "file_schema": "urn:ietf:params:qlog:file:sequential",
            "serialization_format": "application/qlog+json-seq",
            "title": f"{manifest['scenario']}: {manifest['transport']}, seed {manifest['seed']}",
            "trace": {
                "common_fields": {
                    "group_id": manifest.get("run", ""),
                    "time_format": "relative_to_epoch",
                    "reference_time": {
                        "clock_type": _SIMULATED if simulated else "monotonic",
                        "epoch": "unknown",
                    },
                },
                "vantage_point": {"name": vantage, **point},
                "event_schemas": list(EVENT_SCHEMAS),
            },
        }
    )
    # The sort keeps the order in which events of one moment were made.
    for time_ns, name, data in sorted(events(tables, manifest), key=lambda event: event[0]):
        yield _record({"time": _ms(time_ns), "name": name, "data": data})


def _record(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return f"{RECORD_SEPARATOR}{text}\n"


def write_qlog(path: Path, lines: Iterable[str]) -> None:
    """Write a file through a temporary name.

    Raises:
        OutputError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        why = os.strerror(error.errno) if error.errno else str(error)
        raise OutputError(f"{path}: cannot write: {why}") from None
