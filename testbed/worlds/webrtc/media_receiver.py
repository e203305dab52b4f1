"""The receiver of plain aiortc media: a viewer, and notes of what aiortc's decoder does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aiortc import MediaStreamTrack, RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError

from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock, monotonic_ns
from testbed.worlds.realtime.peers import punctually
from testbed.worlds.realtime.records import PeerLog, Sent
from testbed.worlds.session import SessionSpec
from testbed.worlds.webrtc.loopback import peer_connection
from testbed.worlds.webrtc.media_codecs import Decoding, MeteredDecoder, use_decoder
from testbed.worlds.webrtc.media_sender import COMPUTE
from testbed.worlds.webrtc.signalling import answer, farewell, started, until
from testbed.worlds.webrtc.wiretap import Wiretap, row


@dataclass(slots=True)
class Viewed:
    """What the receiver did with the frames; times are since the start of the session.

    Attributes:
        origin: RTP timestamp of the first frame that was decoded; the others count from there.
        decodings: in order.
        shown_ns: by a picture's timestamp, when it was handed to the viewer.
    """

    origin: int = 0
    decodings: list[Decoding] = field(default_factory=list)
    shown_ns: dict[int, int] = field(default_factory=dict)


def media_receiver_main(
    pipe: Connection, *, spec: SessionSpec, base: Path, keep_data: bool
) -> None:
    """The receiver's process."""
    make = EndFactory(spec, base=base)
    log, scheduling = punctually(_session(pipe, make, keep_data), priority=True)
    log.facts["scheduling"] = scheduling
    pipe.send(("done", log))


async def _session(pipe: Connection, make: EndFactory, keep_data: bool) -> PeerLog:
    tap = Wiretap(keep_data=keep_data)
    decoder = MeteredDecoder(make.transport.codec, keep=make.spec.keep_received)
    use_decoder(decoder)
    peer = peer_connection(tap)
    shown_ns: dict[int, int] = {}
    viewers: list[asyncio.Task[None]] = []

    def came(track: MediaStreamTrack) -> None:
        viewers.append(asyncio.ensure_future(_view(track, shown_ns)))

    peer.on("track", came)
    try:
        await answer(peer, pipe)
        await until(lambda: bool(peer.connectionState == "connected" and viewers), "the connection")
        pipe.send(("ready", None))
        epoch_ns = await started(pipe)
        await asyncio.sleep((make.end_ns - SessionClock(epoch_ns).now_ns()) / 1e9)
        log = PeerLog(
            sent=[_feedback(row(wire, epoch_ns)) for wire in tap.departures(epoch_ns)],
            arrived=tap.arrivals(epoch_ns),
        )
        viewed = _viewed(peer.getTransceivers()[0].receiver, decoder, shown_ns, epoch_ns)
        log.facts = {"endpoint": {}, "compute": COMPUTE, "viewed": viewed}
        return log
    finally:
        await farewell(peer)


async def _view(track: MediaStreamTrack, shown_ns: dict[int, int]) -> None:
    """A viewer that shows every picture when it gets it."""
    try:
        while True:
            frame = await track.recv()
            shown_ns.setdefault(frame.pts, monotonic_ns())
    except MediaStreamError:
        pass


def _viewed(
    receiver: RTCRtpReceiver, decoder: MeteredDecoder, shown_ns: dict[int, int], epoch_ns: int
) -> Viewed:
    # aiortc hands on timestamps that begin with 0 and keeps the first one to itself.
    mapper: Any = getattr(receiver, "_RTCRtpReceiver__timestamp_mapper")  # noqa: B009  (no clash)
    made = Viewed(mapper._origin or 0)
    for one in decoder.done:
        one.start_ns -= epoch_ns
        one.end_ns = one.end_ns - epoch_ns if one.end_ns >= 0 else -1
        made.decodings.append(one)
    made.shown_ns = {pts: at_ns - epoch_ns for pts, at_ns in shown_ns.items()}
    return made


def _feedback(sent: Sent) -> Sent:
    """The receiver's RTCP: reports, NACKs, key frame requests and REMB."""
    if sent.kind == "rtp":
        sent.kind = "feedback"
    return sent
