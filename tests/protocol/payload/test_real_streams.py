"""Real encoders, real decoders, and ffmpeg's own RTP packetisers and depacketisers."""

from __future__ import annotations

import hashlib
import socket
import subprocess
from functools import cache
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from testbed.protocol.assembler import FrameAssembler
from testbed.protocol.payload import PAYLOADS, join_nal_units, split_nal_units
from testbed.protocol.rtp import pack_rtp, parse_rtp
from testbed.protocol.sequence import Unwrapper

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FRAMES = 12
FPS = 30
#: How to get a low-latency stream with a key frame every 8 pictures where the encoder lets us.
ENCODERS = {
    "h264": ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-f", "h264"],
    "h265": ["-c:v", "libx265", "-preset", "ultrafast", "-tune", "zerolatency", "-f", "hevc"],
    "h266": ["-c:v", "libvvenc", "-preset", "faster", "-pix_fmt", "yuv420p10le", "-f", "vvc"],
}
DECODERS = {"h264": "h264", "h265": "hevc", "h266": "vvc"}


@cache
def byte_stream(codec: str) -> bytes:
    """A short clip from a real encoder."""
    command = [FFMPEG, "-v", "error", "-f", "lavfi"]
    command += ["-i", f"testsrc2=s=192x128:r={FPS}", "-frames:v", str(FRAMES), "-g", "8"]
    command += ["-b:v", "600k"]
    if codec == "h265":
        command += ["-x265-params", "log-level=error:slices=2"]
    if codec == "h266":
        low_delay = "picreordering=0:gopsize=8:decodingrefreshtype=none:intraperiod=-1"
        command += ["-vvenc-params", low_delay]
    run = subprocess.run([*command, *ENCODERS[codec], "pipe:1"], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


@cache
def access_units(codec: str) -> list[bytes]:
    """The same, cut into access units by libavformat's parser."""
    parser = av.CodecContext.create(DECODERS[codec], "r")
    packets = [*parser.parse(byte_stream(codec)), *parser.parse(None)]
    units = [bytes(packet) for packet in packets]
    assert len(units) == FRAMES
    return units


def decoded(codec: str, units: list[bytes]) -> list[str]:
    """Digest of every decoded picture."""
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    decoder.thread_count = 1
    pictures = [p for unit in units for p in decoder.decode(av.Packet(unit))]
    pictures += decoder.decode(None)
    return [hashlib.md5(p.to_ndarray().tobytes()).hexdigest() for p in pictures]


@pytest.mark.parametrize("codec", sorted(ENCODERS))
@pytest.mark.parametrize("limit", [100, 1200])
def test_what_arrives_decodes_to_the_same_pictures(codec: str, limit: int) -> None:
    payload_format = PAYLOADS.get(codec)
    again = []
    for unit in access_units(codec):
        payloads = payload_format.packetize(unit, max_payload_bytes=limit)
        assert max(len(payload) for payload in payloads) <= limit
        frame = payload_format.depacketize(payloads)
        assert frame.complete
        assert split_nal_units(frame.data) == split_nal_units(unit)
        again.append(frame.data)
    pictures = decoded(codec, again)
    assert len(pictures) == FRAMES
    assert pictures == decoded(codec, access_units(codec))


@pytest.mark.parametrize(("codec", "keys"), [("h264", [0, 8]), ("h265", [0, 8]), ("h266", [0])])
def test_key_frames_are_where_the_decoder_sees_them(codec: str, keys: list[int]) -> None:
    payload_format = PAYLOADS.get(codec)
    units = access_units(codec)
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    pictures = [p for unit in units for p in decoder.decode(av.Packet(unit))]
    pictures += decoder.decode(None)
    assert [index for index, picture in enumerate(pictures) if picture.key_frame] == keys
    for index, unit in enumerate(units):
        payloads = payload_format.packetize(unit, max_payload_bytes=1200)
        frame = payload_format.depacketize(payloads)
        assert payload_format.is_key(frame.nal_types) is (index in keys)


@pytest.mark.parametrize(("codec", "key"), [("h264", 8), ("h265", 8), ("h266", 0)])
def test_the_first_payload_of_a_key_frame_surely_starts_it(codec: str, key: int) -> None:
    payload_format = PAYLOADS.get(codec)
    payloads = payload_format.packetize(access_units(codec)[key], max_payload_bytes=300)
    starts = [payload_format.starts_frame(payload) for payload in payloads]
    assert starts == [True] + [False] * (len(payloads) - 1)
    assert len(starts) > 2


def udp_socket() -> socket.socket:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    receiver.bind(("127.0.0.1", 0))
    return receiver


@pytest.mark.parametrize("codec", ["h264", "h265"])  # ffmpeg has no RTP packetiser for H.266
def test_we_understand_the_packets_of_ffmpeg(codec: str, tmp_path: Path) -> None:
    clip = tmp_path / f"clip.{codec}"
    clip.write_bytes(byte_stream(codec))
    with udp_socket() as receiver:
        receiver.setblocking(False)
        port = receiver.getsockname()[1]
        command = [FFMPEG, "-v", "error", "-f", DECODERS[codec], "-i", str(clip), "-c", "copy"]
        command += ["-f", "rtp", f"rtp://127.0.0.1:{port}?pkt_size=300"]
        subprocess.run(command, check=True, capture_output=True)
        datagrams = []
        while True:
            try:
                datagrams.append(receiver.recv(2048))
            except BlockingIOError:
                break
    payload_format = PAYLOADS.get(codec)
    assembler = FrameAssembler(starts_frame=payload_format.starts_frame)
    unwrapper = Unwrapper(16)
    for data in datagrams:
        packet = parse_rtp(data)
        sequence = unwrapper.unwrap(packet.sequence)
        assert assembler.push(sequence, packet.timestamp, packet.marker, packet.payload, now_ns=0)
    frames = [payload_format.depacketize(f.payloads) for f in assembler.complete_frames()]
    assert assembler.pending() == []
    assert all(frame.complete for frame in frames)
    units = [unit for frame in frames for unit in split_nal_units(frame.data)]
    assert units == split_nal_units(byte_stream(codec))


def media_units(codec: str, data: bytes) -> list[bytes]:
    """NAL units but delimiters, which ffmpeg may drop or insert."""
    delimiter = {"h264": 9, "h265": 35}[codec]
    payload_format = PAYLOADS.get(codec)
    return [
        unit for unit in split_nal_units(data) if payload_format.nal_types(unit) != (delimiter,)
    ]


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_ffmpeg_understands_our_packets(codec: str, tmp_path: Path) -> None:
    with udp_socket() as taken:
        port = taken.getsockname()[1]
    name = {"h264": "H264", "h265": "H265"}[codec]
    session = tmp_path / "session.sdp"
    session.write_text(
        f"v=0\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 {name}/90000\n"
        + ("a=fmtp:96 packetization-mode=1\n" if codec == "h264" else "")
    )
    command = [FFMPEG, "-v", "error", "-protocol_whitelist", "file,udp,rtp", "-i", str(session)]
    command += ["-c", "copy", "-frames:v", str(FRAMES), "-f", DECODERS[codec], "pipe:1"]
    payload_format = PAYLOADS.get(codec)
    sequence = frame = 0
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for _ in range(100):
            # ffmpeg gives no sign of listening: the clip is played until it has heard enough.
            for unit in access_units(codec):
                payloads = payload_format.packetize(unit, max_payload_bytes=300)
                for payload in payloads:
                    data = pack_rtp(
                        payload,
                        payload_type=96,
                        marker=payload is payloads[-1],
                        sequence=sequence,
                        timestamp=frame * 3000,
                        ssrc=7,
                    )
                    sender.sendto(data, ("127.0.0.1", port))
                    sequence += 1
                frame += 1
            try:
                process.wait(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                continue
        process.terminate()
        assert process.stdout is not None
        heard = media_units(codec, process.stdout.read())
    assert len(heard) >= FRAMES
    played = media_units(codec, byte_stream(codec)) * 3
    assert join_nal_units(heard) in join_nal_units(played)
