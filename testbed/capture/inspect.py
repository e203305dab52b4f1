"""What is in a capture, whoever made it: flows, RTP sources, RTCP, and Morphe's groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.capture.links import udp_in
from testbed.capture.reading import open_capture
from testbed.capture.streams import Flow, Source
from testbed.protocol.rtp import VIDEO_CLOCK_HZ


@dataclass(slots=True)
class Inspection:
    """What `inspect_capture` found.

    Attributes:
        path: the file.
        comments: on the capture.
        packets: all of them.
        not_udp: of these, the ones without a UDP datagram (or with a later piece of one).
        first_ns, last_ns: earliest and latest time, since 1970; None without any.
        flows: those with RTP or RTCP, in the order of their first datagrams.
        other_flows, other_datagrams: UDP that is neither.
    """

    path: Path
    comments: list[str] = field(default_factory=list)
    packets: int = 0
    not_udp: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    flows: list[Flow] = field(default_factory=list)
    other_flows: int = 0
    other_datagrams: int = 0

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; times in s since `first_ns`, jitter in ms."""
        return {
            "file": str(self.path),
            "comments": self.comments,
            "packets": self.packets,
            "not_udp": self.not_udp,
            "first_ns": self.first_ns,
            "duration_s": self._seconds(self.last_ns),
            "flows": [self._flow(flow) for flow in self.flows],
            "other": {"flows": self.other_flows, "datagrams": self.other_datagrams},
        }

    def _seconds(self, time_ns: int | None) -> float | None:
        if time_ns is None or self.first_ns is None:
            return None
        return (time_ns - self.first_ns) / 1e9

    def _flow(self, flow: Flow) -> dict[str, Any]:
        return {
            "interface": flow.interface,
            "source": _end(flow.source),
            "destination": _end(flow.destination),
            "datagrams": flow.datagrams,
            "bytes": flow.size_bytes,
            "cut": flow.cut,
            "first_s": self._seconds(flow.first_ns),
            "last_s": self._seconds(flow.last_ns),
            "not_rtp": flow.not_rtp,
            "sources": [self._source(source) for source in flow.sources],
            "rtcp": dict(sorted(flow.rtcp.items())),
            "morphe": flow.gops.summary() if flow.is_rtp else None,
        }

    def _source(self, source: Source) -> dict[str, Any]:
        sequence, mean_ns = source.sequence, source.jitter.mean_ns
        return {
            "ssrc": f"0x{source.ssrc:08x}",
            "payload_types": {str(kind): n for kind, n in sorted(source.payload_types.items())},
            "packets": source.packets,
            "bytes": source.size_bytes,
            "first_s": self._seconds(source.first_ns),
            "last_s": self._seconds(source.last_ns),
            "lost": sequence.lost,
            "gaps": sequence.gaps,
            "late": sequence.late,
            "duplicates": sequence.duplicates,
            "restarts": sequence.restarts,
            "strays": sequence.strays,
            "clock_hz": source.clock_hz,
            "jitter_ms": None if mean_ns is None else source.jitter.now_ns / 1e6,
            "jitter_ms_mean": None if mean_ns is None else mean_ns / 1e6,
            "jitter_ms_max": None if mean_ns is None else source.jitter.most_ns / 1e6,
        }


def _end(end: tuple[str, int]) -> str:
    address, port = end
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def inspect_capture(path: Path, *, clock_hz: int = VIDEO_CLOCK_HZ) -> Inspection:
    """Read a capture from front to back.

    Args:
        path: pcapng or pcap.
        clock_hz: RTP clock of dynamic payload types, for the jitter; > 0.

    Raises:
        InputError: it cannot be read, or is garbled.
    """
    found = Inspection(path)
    flows: dict[tuple[Any, ...], Flow] = {}
    with open_capture(path) as capture:
        for packet in capture:
            found.packets += 1
            time_ns = packet.time_ns
            if time_ns is not None:
                found.first_ns = min(time_ns, time_ns if found.first_ns is None else found.first_ns)
                found.last_ns = max(time_ns, time_ns if found.last_ns is None else found.last_ns)
            datagram = udp_in(packet.link_type, packet.data)
            if datagram is None:
                found.not_udp += 1
                continue
            key = (
                packet.interface, datagram.source, datagram.source_port, datagram.destination,
                datagram.destination_port,
            )  # fmt: skip
            flow = flows.get(key)
            if flow is None:
                flow = flows[key] = Flow(packet.interface, datagram, clock_hz=clock_hz)
            flow.add(datagram, time_ns)
        found.comments = capture.comments
    for flow in flows.values():
        if flow.is_known:
            found.flows.append(flow)
        else:
            found.other_flows += 1
            found.other_datagrams += flow.datagrams
    return found
