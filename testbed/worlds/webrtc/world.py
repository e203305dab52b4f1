"""The WebRTC world: one session of a scenario between two aiortc peers, and its tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from testbed.capture.tap import Tap
from testbed.errors import InputError
from testbed.transports import TRANSPORTS, AiortcTransport, parse_options
from testbed.transports.schemes.transport import base_of
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.children import Children
from testbed.worlds.realtime.world import busy_bound_ms, check, conclude, warm_up
from testbed.worlds.session import SessionResult, SessionSpec, TableSink
from testbed.worlds.webrtc.needs import require_aiortc

#: Largest RTP payload that travels in one datagram. aiortc cuts messages beyond 1160 bytes (a
#: packet of SCTP has at most 1189, so that its DTLS record fits the smallest MTU of IPv6); 12 are
#: the RTP header, and the rest is left for what a transport puts in front of a payload.
PAYLOAD_BYTES: Final = 1140


def run_webrtc_session(
    spec: SessionSpec, sink: TableSink, *, base: Path, tap: Tap | None = None
) -> SessionResult:
    """Run one session in real time between two WebRTC peers, through the relay.

    Args:
        spec: everything that determines it.
        sink: where its table rows go.
        base: folder that relative clip paths start from.
        tap: is told of the wire's datagrams, see `testbed.worlds.session`.

    Raises:
        InputError: the clip, an option or a name cannot be used, or the world cannot do this.
        ToolMissingError: aiortc is not installed.
        MachineBusyError: the machine was too busy for the numbers to mean anything.
        ToolFailedError: a process of the session died.
    """
    require_aiortc()
    check(spec, "webrtc")
    check_losses(spec)
    if isinstance(base_of(TRANSPORTS.get(spec.transport)), AiortcTransport):
        from testbed.worlds.webrtc.media_world import run_media_session

        return run_media_session(spec, sink, base=base, tap=tap)
    return _run_channel(fitted(spec), sink, base=base, tap=tap)


def check_losses(spec: SessionSpec) -> None:
    """Refuse losses that depend on what is under the encryption.

    Raises:
        InputError: says which.
    """
    for name, path in (("downlink", spec.downlink), ("uplink", spec.uplink)):
        for loss in path.loss:
            if loss.options.get("per") == "frame":
                raise InputError(
                    f"--world webrtc: {name}: {loss.kind} per frame must know which frame a "
                    "packet is of, which encryption hides; use per: packet"
                )


def fitted(spec: SessionSpec) -> SessionSpec:
    """The session with payloads that fit into one datagram (see `PAYLOAD_BYTES`).

    A transport without an option `payload_bytes`, or with a smaller one, stays as it is.
    """
    options = parse_options(TRANSPORTS.get(spec.transport), spec.transport_options)
    if getattr(options, "payload_bytes", 0) <= PAYLOAD_BYTES:
        return spec
    changed = {**spec.transport_options, "payload_bytes": PAYLOAD_BYTES}
    return dataclasses.replace(spec, transport_options=changed)


def _run_channel(
    spec: SessionSpec, sink: TableSink, *, base: Path, tap: Tap | None
) -> SessionResult:
    # Not before aiortc is known to be there.
    from testbed.worlds.webrtc.peers import receiver_main, sender_main
    from testbed.worlds.webrtc.processes import run_processes

    busy_ms = busy_bound_ms()
    make = EndFactory(spec, base=base)
    warm_up(spec, base=base)

    def start_peers(children: Children) -> None:
        shared = {"spec": spec, "base": base, "keep_data": tap is not None}
        children.start("receiver", receiver_main, **shared)
        children.start("sender", sender_main, **shared)

    logs, epoch_ns = run_processes(make, start_peers, base=base)
    sender, receiver = logs["sender"], logs["receiver"]
    result = conclude(
        make, sink, sender, receiver, logs["relay"], busy_ms=busy_ms, tap=tap, epoch_ns=epoch_ns
    )
    result.facts["webrtc"] = {
        "payload_bytes": getattr(make.options, "payload_bytes", None),
        "sender": sender.facts["channel"],
        "receiver": receiver.facts["channel"],
    }
    return result
