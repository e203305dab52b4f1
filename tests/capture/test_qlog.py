"""Structure after the main schema's CDDL, content after the tables."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest

from testbed.capture.qlog import LINK_OVERHEAD_BYTES, VANTAGE_POINTS, records, write_qlog
from testbed.errors import OutputError
from testbed.network import packet
from testbed.tables import TABLES
from tests.capture.conftest import Captured

MANIFEST = {
    "scenario": "some",
    "transport": "h264",
    "seed": 1,
    "run": "0123456789abcdef",
    "world": "simulator",
    "cell": {"playout_deadline_ms": 400.0, "fps": 15.0},
}
#: `QlogFileSeq` and `TraceSeq` of the draft, as far as we write them.
HEADER = {
    "type": "object",
    "required": ["file_schema", "serialization_format", "trace"],
    "additionalProperties": False,
    "properties": {
        "file_schema": {"const": "urn:ietf:params:qlog:file:sequential"},
        "serialization_format": {"const": "application/qlog+json-seq"},
        "title": {"type": "string"},
        "trace": {
            "type": "object",
            "required": ["event_schemas"],
            "additionalProperties": False,
            "properties": {
                "event_schemas": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:"},
                },
                "common_fields": {
                    "type": "object",
                    "required": ["time_format", "reference_time", "group_id"],
                    "properties": {
                        "time_format": {
                            "enum": ["relative_to_epoch", "relative_to_previous_event"]
                        },
                        "reference_time": {
                            "required": ["clock_type", "epoch"],
                            # "monotonic" requires an unknown epoch; ours is never known.
                            "properties": {"epoch": {"const": "unknown"}},
                        },
                    },
                },
                "vantage_point": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {
                        "name": {"type": "string"},
                        "type": {"enum": ["client", "server", "network", "unknown"]},
                        "flow": {"enum": ["client", "server", "unknown"]},
                    },
                    "if": {"properties": {"type": {"const": "network"}}},
                    "then": {"required": ["flow"]},
                },
            },
        },
    },
}
#: Events of QUIC's schema with the fields that it demands, then qlog's for simulations, then ours.
DATA: dict[str, dict[str, Any]] = {
    "quic:packet_sent": {"required": ["header"]},
    "quic:packet_received": {"required": ["header"]},
    "quic:packet_dropped": {"required": ["details"]},
    "quic:recovery_metrics_updated": {"properties": {"min_rtt": {"type": "number", "minimum": 0}}},
    "quic:congestion_state_updated": {"required": ["new"]},
    "simulation:scenario": {"properties": {"details": {"type": "object"}}},
    "simulation:marker": {"required": ["type", "message"]},
    "morphe:feedback_received": {"required": ["packet_number"]},
    "morphe:frame_encoded": {"required": ["frame", "raw"]},
    "morphe:frame_rendered": {"required": ["frame", "outcome"]},
    "morphe:frame_missed": {"required": ["frame", "outcome", "reason"]},
}
EVENT = {
    "type": "object",
    "required": ["time", "name", "data"],
    "additionalProperties": False,
    "properties": {
        "time": {"type": "number", "minimum": 0},
        "name": {"enum": list(DATA)},
        "data": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$"},
            "properties": {
                "header": {
                    "required": ["packet_type", "packet_number"],
                    "properties": {
                        "packet_type": {"const": "unknown"},
                        "packet_number": {"type": "integer", "minimum": 0},
                    },
                },
                "raw": {"properties": {"length": {"type": "integer", "minimum": 0}}},
            },
        },
    },
}


def tables_of(session: Captured) -> dict[str, pd.DataFrame]:
    return {
        name: pd.DataFrame(session.rows[name], columns=schema.names)
        for name, schema in TABLES.items()
    }


def parse(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """As RFC 7464 says: every record begins with 0x1E and ends with a line feed."""
    assert text.startswith("\x1e")
    texts = text.split("\x1e")[1:]
    assert all(record.endswith("\n") and "\n" not in record[:-1] for record in texts)
    header, *events = [json.loads(record) for record in texts]
    return header, events


@pytest.fixture(params=["h264", "morphe"])
def session(request: pytest.FixtureRequest, captured: Callable[[str], Captured]) -> Captured:
    found: Captured = captured(request.param)
    return found


@pytest.mark.parametrize("vantage", list(VANTAGE_POINTS))
def test_files_have_the_drafts_structure(session: Captured, vantage: str, tmp_path: Path) -> None:
    path = tmp_path / f"some.{vantage}.sqlog"
    write_qlog(path, records(tables_of(session), MANIFEST, vantage))
    header, events = parse(path.read_bytes().decode("utf-8"))
    jsonschema.validate(header, HEADER, jsonschema.Draft202012Validator)
    assert header["trace"]["vantage_point"]["name"] == vantage
    assert header["trace"]["common_fields"]["reference_time"]["clock_type"] == "simulated"
    validator = jsonschema.Draft202012Validator(EVENT)
    for event in events:
        validator.validate(event)
        jsonschema.validate(event["data"], {"type": "object", **DATA[event["name"]]})
    times = [event["time"] for event in events]
    assert times == sorted(times)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_every_packet_and_frame_is_there_once(session: Captured) -> None:
    tables = tables_of(session)
    packets, frames = session.packets(), session.frames()
    for vantage, out, back in (("sender", "down", "up"), ("receiver", "up", "down")):
        _, events = parse("".join(records(tables, MANIFEST, vantage)))
        for name, direction, column in (
            ("quic:packet_sent", out, "sent_ns"),
            ("quic:packet_received", back, "arrival_ns"),
        ):
            wanted = {
                (row["seq"], row[column] / 1e6, row["size_bytes"] - 32, row["kind"])
                for row in packets
                if row["direction"] == direction and row[column] is not None
            }
            found = [
                (
                    e["data"]["header"]["packet_number"], e["time"],
                    e["data"]["raw"]["length"], e["data"]["kind"],
                )
                for e in events
                if e["name"] == name
            ]  # fmt: skip
            assert len(found) == len(wanted) > 20
            assert {(seq, round(ms, 6), *rest) for seq, ms, *rest in found} == {
                (seq, round(ms, 6), *rest) for seq, ms, *rest in wanted
            }
        counts = Counter(event["name"] for event in events)
        if vantage == "sender":
            encoded = sum(frame["encode_end_ns"] is not None for frame in frames)
            assert counts["morphe:frame_encoded"] == encoded
            assert counts["quic:recovery_metrics_updated"] == len(session.rows["control"])
        else:
            rendered = sum(frame["render_ns"] is not None for frame in frames)
            assert counts["morphe:frame_rendered"] == rendered
            assert counts["morphe:frame_missed"] == len(frames) - rendered


def test_the_network_sees_every_drop(session: Captured) -> None:
    _, events = parse("".join(records(tables_of(session), MANIFEST, "network")))
    assert events[0]["name"] == "simulation:scenario"
    dropped = [e["data"] for e in events if e["name"] == "quic:packet_dropped"]
    wanted = [row for row in session.packets() if row["drop"] != "none"]
    assert len(dropped) == len(wanted) > 3
    assert {(d["header"]["packet_number"], d["details"]["why"]) for d in dropped} == {
        (row["seq"], row["drop"]) for row in wanted
    }
    originals = {row["seq"]: row["retransmission_of"] for row in session.packets()
                 if row["direction"] == "down"}  # fmt: skip
    seen = [e["data"] for e in events if e["name"] == "quic:packet_received"]
    for data in seen:
        if data["kind"] == "retransmission":
            number = data["header"]["packet_number"]
            assert data["retransmission_of"] == originals[number]


def test_markers_stand_where_capacity_changes() -> None:
    link = [
        (n * 10**8, direction, size, 0, 0, 0, 0, 0)
        for n, size in enumerate([5000, 5200, 5200, 2000, 2000, 0, 5000])
        for direction in ("down", "up")
    ]
    link = [(*row[:2], row[2] if row[1] == "down" else 0, *row[3:]) for row in link]
    tables = {
        name: pd.DataFrame(link if name == "link" else [], columns=schema.names)
        for name, schema in TABLES.items()
    }
    _, events = parse("".join(records(tables, MANIFEST, "network")))
    markers = [(e["time"], e["data"]["message"]) for e in events[1:]]
    assert markers == [
        (0, "down: 5000 bytes in 100 ms"),
        (300, "down: 2000 bytes in 100 ms"),
        (500, "down: 0 bytes in 100 ms"),
        (600, "down: 5000 bytes in 100 ms"),
    ]


def test_a_real_clock_is_no_simulated_one() -> None:
    tables = {name: pd.DataFrame([], columns=schema.names) for name, schema in TABLES.items()}
    header, _ = parse("".join(records(tables, {**MANIFEST, "world": "relay"}, "sender")))
    reference = header["trace"]["common_fields"]["reference_time"]
    assert reference == {"clock_type": "monotonic", "epoch": "unknown"}


def test_the_overhead_is_the_links() -> None:
    assert LINK_OVERHEAD_BYTES == packet.LINK_OVERHEAD_BYTES


def test_what_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"x.sqlog: cannot write: No such file"):
        write_qlog(tmp_path / "none" / "x.sqlog", ["x"])
