"""Sessions of plain aiortc media: its own encoder, RTP, NACK, jitter buffer and rate control."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from testbed.capture.tap import Tap
from testbed.errors import InputError
from testbed.media.types import ReceivedFrame
from testbed.transports.base import FrameAbandoned, FrameDecoded
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.children import Children
from testbed.worlds.realtime.records import PeerLog
from testbed.worlds.realtime.world import busy_bound_ms, conclude
from testbed.worlds.session import SessionResult, SessionSpec, TableSink
from testbed.worlds.webrtc.media_codecs import MOST_FPS, Decoding
from testbed.worlds.webrtc.media_receiver import Viewed, media_receiver_main
from testbed.worlds.webrtc.media_sender import media_sender_main
from testbed.worlds.webrtc.processes import run_processes

_RTP_TIMESTAMPS = 1 << 32


def run_media_session(
    spec: SessionSpec, sink: TableSink, *, base: Path, tap: Tap | None
) -> SessionResult:
    """Run one session of `aiortc-h264` or `aiortc-vp8`; see `run_webrtc_session`."""
    # aiortc takes the time that it takes: there is nothing to model.
    spec = dataclasses.replace(spec, compute="zero")
    busy_ms = busy_bound_ms()
    make = EndFactory(spec, base=base)
    if make.clip.fps > MOST_FPS:
        raise InputError(
            f"transport {spec.transport}: aiortc encodes at most {MOST_FPS} fps "
            f"(got {float(make.clip.fps):g})"
        )

    def start_peers(children: Children) -> None:
        shared = {"spec": spec, "base": base, "keep_data": tap is not None}
        children.start("receiver", media_receiver_main, **shared)
        children.start("sender", media_sender_main, **shared)

    logs, epoch_ns = run_processes(make, start_peers, base=base)
    sender, receiver = logs["sender"], logs["receiver"]
    put_together(make, sender, receiver)
    result = conclude(
        make, sink, sender, receiver, logs["relay"], busy_ms=busy_ms, tap=tap, epoch_ns=epoch_ns
    )
    # The viewer sees whatever the decoder makes of what came.
    result.conceal = True
    return result


def put_together(make: EndFactory, sender: PeerLog, receiver: PeerLog) -> None:
    """Give the receiver's memory its events and frames, now that the frames' names are known.

    Args:
        make: the session's ends.
        sender: knows the source frame of every RTP timestamp.
        receiver: knows what became of RTP timestamps; gets `events` and `received`.
    """
    frames: dict[int, int] = sender.facts["frames"]
    viewed: Viewed = receiver.facts["viewed"]
    decoded: dict[int, Decoding] = {}
    for one in viewed.decodings:
        index = frames.get((one.pts + viewed.origin) % _RTP_TIMESTAMPS)
        if index is not None:
            decoded[index] = one
    chain = False
    for index in sorted(frames.values()):
        if index not in decoded:
            chain = False
            continue
        one = decoded[index]
        # Every frame refers to the one that was encoded before it.
        chain = one.pts in one.pictures and (one.key or chain)
        receiver.events.append((one.start_ns, _event(make, viewed, one, index, intact=chain)))
    receiver.received = [
        ReceivedFrame(n, decoded[n].key, decoded[n].data, complete=True)
        if n in decoded
        else ReceivedFrame(n, key=False, data=b"", complete=False)
        for n in range(make.clip.frame_count)
    ]


def _event(
    make: EndFactory, viewed: Viewed, one: Decoding, index: int, *, intact: bool
) -> FrameDecoded | FrameAbandoned:
    """What became of a frame that reached the decoder."""
    if one.end_ns < 0:
        return FrameAbandoned(index, "decoder-error")
    shown_ns = viewed.shown_ns.get(one.pts, -1)
    if one.pts not in one.pictures or shown_ns < 0:
        return FrameAbandoned(index, "no-picture")
    if shown_ns > make.capture_ns(index) + make.deadline_ns:
        return FrameDecoded(index, one.start_ns, one.end_ns, -1, "late")
    outcome = "rendered" if intact else "concealed"
    return FrameDecoded(index, one.start_ns, one.end_ns, shown_ns, outcome)
