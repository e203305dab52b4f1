"""The sender of plain aiortc media: a camera, and notes of what aiortc does with its pictures."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import av
from aiortc import MediaStreamTrack, RTCRtpSender

from testbed.errors import RemoteProtocolError
from testbed.media.clips import Clip
from testbed.network.packet import LINK_OVERHEAD_BYTES
from testbed.protocol.rtp import RTX_HEADER_BYTES, VIDEO_CLOCK_HZ, RtpPacket, is_rtcp, parse_rtp
from testbed.transports.base import FrameAbandoned, FrameEncoded
from testbed.worlds.ends import EndFactory
from testbed.worlds.realtime.clock import SessionClock
from testbed.worlds.realtime.driver import RealAlarm
from testbed.worlds.realtime.peers import punctually
from testbed.worlds.realtime.records import PeerLog, Sent
from testbed.worlds.session import SessionSpec
from testbed.worlds.ticks import TICK_NS
from testbed.worlds.webrtc.loopback import peer_connection
from testbed.worlds.webrtc.media_codecs import MIME_TYPES, MeteredEncoder, use_encoder
from testbed.worlds.webrtc.signalling import farewell, offer, started, until
from testbed.worlds.webrtc.wiretap import Wiretap, row

#: What the manifest says in the place of a compute model.
COMPUTE: Final = {
    "model": "real",
    "encode_ms": "per frame, on this machine, while the session runs",
    "decode_ms": "per frame, on this machine, while the session runs",
    "note": "aiortc encodes and decodes by itself",
}
_TIME_BASE: Final = Fraction(1, VIDEO_CLOCK_HZ)


class Camera(MediaStreamTrack):
    """The clip at its frame rate.

    A picture that nobody took before the next one was due is dropped, as a camera does.

    Args:
        make: the session's ends.
        log: gets how late pictures were taken, and which were dropped.
    """

    kind = "video"

    def __init__(self, make: EndFactory, log: PeerLog) -> None:
        super().__init__()
        self.clock: asyncio.Future[SessionClock] = asyncio.get_running_loop().create_future()
        self._make = make
        self._log = log
        self._next = 0
        self._pictures: dict[int, int] = {}
        picture(make.clip, 0)  # the clip may have to be prepared, and that takes its time

    def index_of(self, pts: int) -> int:
        """The source frame of a picture that was given out."""
        return self._pictures[pts]

    async def recv(self) -> Any:
        """The next picture, when it is due; after the last one nothing comes any more."""
        clock = await asyncio.shield(self.clock)
        count = self._make.clip.frame_count
        if self._next >= count:
            await asyncio.get_running_loop().create_future()
        index = await self._due(clock, count)
        at_ns = self._make.capture_ns(index)
        self._log.captures_late.add(clock.now_ns() - at_ns)
        self._next = index + 1
        frame = picture(self._make.clip, index)
        frame.pts = round(index * VIDEO_CLOCK_HZ / self._make.clip.fps)
        frame.time_base = _TIME_BASE
        self._pictures[frame.pts] = index
        return frame

    async def _due(self, clock: SessionClock, count: int) -> int:
        """Wait for the next picture; which one it is."""
        index, now_ns = self._next, clock.now_ns()
        while index + 1 < count and self._make.capture_ns(index + 1) <= now_ns:
            self._log.events.append((now_ns, FrameAbandoned(index, "encoder-busy")))
            index += 1
        wait_ns = self._make.capture_ns(index) - now_ns
        if wait_ns > 0:
            await asyncio.sleep(wait_ns / 1e9)
            self._log.late.add(clock.now_ns() - self._make.capture_ns(index))
        return index


def picture(clip: Clip, index: int) -> Any:
    """Source frame `index` for PyAV."""
    planes = clip.frame(index).reshape(clip.height * 3 // 2, clip.width)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


class RtpWatch:
    """Tells the tap which frame a packet of aiortc's sender belongs to.

    Args:
        sender: aiortc's.
        encoder: knows what was encoded last.
        tap: of this peer's socket.

    Attributes:
        frames: source frame by RTP timestamp.
    """

    def __init__(self, sender: RTCRtpSender, encoder: MeteredEncoder, tap: Wiretap) -> None:
        self.frames: dict[int, int] = {}
        self._sender = sender
        self._encoder = encoder
        self._tap = tap
        self._known: dict[int, tuple[int, int]] = {}  # RTP sequence number: token, frame
        self._tokens = 0
        self._place = 0

    def about(self, data: bytes) -> Sent | None:
        """What an RTP or RTCP packet is, before it is encrypted; None: unknown."""
        if is_rtcp(data):
            return _known("feedback")
        try:
            packet = parse_rtp(data)
        except RemoteProtocolError:
            return None
        if packet.ssrc == self._sender._rtx_ssrc:
            return self._repeated(int.from_bytes(packet.payload[:RTX_HEADER_BYTES], "big"))
        if self._known.get(packet.sequence, (0, -1))[1] == self.frames.get(packet.timestamp):
            return self._repeated(packet.sequence)
        return self._first(packet)

    def _first(self, packet: RtpPacket) -> Sent:
        encoding = self._encoder.latest
        assert encoding is not None
        if packet.timestamp not in self.frames:
            self.frames[packet.timestamp] = encoding.index
            self._place = 0
        known = _known("media", encoding.index)
        known.media_bytes = encoding.payload_bytes[self._place]
        known.token = self._tokens
        self._known[packet.sequence] = (self._tokens, encoding.index)
        self._tokens += 1
        self._place += 1
        return known

    def _repeated(self, sequence: int) -> Sent:
        token, frame = self._known.get(sequence, (-1, -1))
        known = _known("retransmission", frame)
        known.retransmission_of = token
        return known

    def install(self, dtls: Any) -> None:
        """Look at everything that aiortc sends, just before it does."""
        encrypt_and_send = dtls._send_rtp

        async def send_rtp(data: bytes) -> None:
            self._tap.about = self.about(data)
            try:
                await encrypt_and_send(data)
            finally:
                self._tap.about = None

        dtls._send_rtp = send_rtp


def _known(kind: str, frame: int = -1) -> Sent:
    return Sent(0, kind, frame, 0, -1, -1, 1, 0, 0, None)


class Ticks:
    """The sender's control rows, every 100 ms."""

    def __init__(
        self,
        make: EndFactory,
        clock: SessionClock,
        encoder: MeteredEncoder,
        tap: Wiretap,
        log: PeerLog,
    ) -> None:
        self._make, self._encoder, self._tap, self._log = make, encoder, tap, log
        self._clock = clock
        self._counted = 0
        self._encodings = 0
        self._sent_bytes = 0
        self._encoded_bytes = 0
        self._alarm = RealAlarm(asyncio.get_running_loop(), clock, self._tick)
        self._alarm.arm(TICK_NS)

    def stop(self) -> None:
        """No more."""
        self._alarm.cancel()

    def _tick(self, at_ns: int) -> None:
        encoder, sent = self._encoder, self._tap.sent
        for wire in sent[self._counted :]:
            if wire.at_ns >= self._clock.epoch_ns:
                self._sent_bytes += wire.size + LINK_OVERHEAD_BYTES
        self._counted = len(sent)
        for encoding in encoder.done[self._encodings :]:
            self._encoded_bytes += sum(encoding.payload_bytes)
            self._encodings += 1
        view = (
            at_ns, encoder.estimate_kbps, None, None, "aiortc", self._make.transport.name,
            encoder.target_bitrate / 1000,
        )  # fmt: skip
        self._log.ticks.append((*view, self._encoded_bytes, self._sent_bytes))
        if at_ns + TICK_NS <= self._make.duration_ns:
            self._alarm.arm(at_ns + TICK_NS)


def media_sender_main(pipe: Connection, *, spec: SessionSpec, base: Path, keep_data: bool) -> None:
    """The sender's process."""
    make = EndFactory(spec, base=base)
    # aiortc encodes in threads, which are scheduled as usual: only the loop keeps time.
    log, scheduling = punctually(_session(pipe, make, keep_data), priority=True)
    log.facts["scheduling"] = scheduling
    pipe.send(("done", log))


async def _session(pipe: Connection, make: EndFactory, keep_data: bool) -> PeerLog:
    log, tap = PeerLog(), Wiretap(keep_data=keep_data)
    camera = Camera(make, log)
    start_kbps = _start_kbps(make.spec)
    encoder = MeteredEncoder(make.transport.codec, start_kbps=start_kbps, index_of=camera.index_of)
    use_encoder(encoder)
    peer = peer_connection(tap)
    try:
        transceiver = peer.addTransceiver(camera, direction="sendonly")
        transceiver.setCodecPreferences(_only(MIME_TYPES[make.transport.codec]))
        watch = RtpWatch(transceiver.sender, encoder, tap)
        watch.install(transceiver.sender.transport)
        await offer(peer, pipe)
        await until(lambda: bool(peer.connectionState == "connected"), "the connection")
        pipe.send(("ready", None))
        epoch_ns = await started(pipe)
        clock = SessionClock(epoch_ns)
        ticks = Ticks(make, clock, encoder, tap, log)
        camera.clock.set_result(clock)
        await asyncio.sleep((make.end_ns - clock.now_ns()) / 1e9)
        ticks.stop()
        _conclude(log, tap, encoder, epoch_ns)
        log.facts = {
            "endpoint": encoder.rates(start_kbps),
            "compute": COMPUTE,
            "frames": watch.frames,
        }
        return log
    finally:
        await farewell(peer)


def _start_kbps(spec: SessionSpec) -> float | None:
    """The rate to begin with: the session's, where it has a fixed one."""
    return float(spec.rate_options["kbps"]) if spec.rate_control == "fixed" else None


def _only(mime_type: str) -> list[Any]:
    """One codec and its retransmissions, out of what aiortc can do."""
    return [
        codec
        for codec in RTCRtpSender.getCapabilities("video").codecs
        if codec.mimeType in (mime_type, "video/rtx")
    ]


def _conclude(log: PeerLog, tap: Wiretap, encoder: MeteredEncoder, epoch_ns: int) -> None:
    """Everything that was noted, in the form in which the other worlds have it."""
    log.sent = [row(wire, epoch_ns) for wire in tap.departures(epoch_ns)]
    log.arrived = tap.arrivals(epoch_ns)
    for one in encoder.done:
        log.encoding.add(one.end_ns - one.start_ns)
        event = FrameEncoded(
            one.index, one.key, one.target_kbps, one.start_ns - epoch_ns, one.end_ns - epoch_ns,
            sum(one.payload_bytes),
        )  # fmt: skip
        log.events.append((one.end_ns - epoch_ns, event))
