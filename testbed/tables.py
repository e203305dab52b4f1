"""Schemas of the run tables: the one place that names their columns.

Times are integer nanoseconds since the start of the session; null where a thing never happened.
Sizes are bytes. `packets.size_bytes` is the size on the link (UDP payload + 32, see
`testbed.network.packet`).
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

NS: Final = pa.int64()

#: Outcomes of a source frame.
OUTCOMES: Final = ("rendered", "concealed", "late", "undecodable", "not_sent")
#: Kinds of packets that worlds tell apart; a transport may have more. The last four are of the
#: world webrtc, and belong to no datagram of an endpoint's: SCTP's own, under DTLS; the rest of
#: DTLS; STUN; and what is none of these.
KINDS: Final = (
    "media", "retransmission", "fec", "padding", "feedback", "sctp", "dtls", "ice", "unknown",
)  # fmt: skip
#: Why a packet did not arrive.
DROPS: Final = ("none", "queue", "loss")

FRAMES: Final = pa.schema(
    [
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("gop", pa.int32(), nullable=False),
        pa.field("key", pa.bool_(), nullable=False),
        pa.field("capture_ns", NS, nullable=False),
        ("encode_start_ns", NS),
        ("encode_end_ns", NS),
        ("first_sent_ns", NS),
        ("last_sent_ns", NS),  # last first-time transmission of the frame's packets
        ("first_arrival_ns", NS),
        ("decodable_ns", NS),
        ("decode_end_ns", NS),
        ("render_ns", NS),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # "" where there is nothing to say
        pa.field("mode", pa.string(), nullable=False),
        ("target_kbps", pa.float64()),
        pa.field("media_bytes", pa.int64(), nullable=False),
        pa.field("header_bytes", pa.int64(), nullable=False),
        pa.field("fec_bytes", pa.int64(), nullable=False),
        pa.field("retransmitted_bytes", pa.int64(), nullable=False),
        pa.field("packets_sent", pa.int32(), nullable=False),
        pa.field("packets_lost", pa.int32(), nullable=False),
    ]
)

#: Quality columns that may follow; null for a frame slot without a measurement.
QUALITY: Final = ("vmaf", "ssim", "psnr")

PACKETS: Final = pa.schema(
    [
        pa.field("direction", pa.string(), nullable=False),  # "down" carries media, "up" feedback
        pa.field("seq", pa.int64(), nullable=False),  # order of entry into the direction, from 0
        pa.field("kind", pa.string(), nullable=False),  # one of `KINDS`
        ("frame", pa.int32()),
        pa.field("size_bytes", pa.int32(), nullable=False),
        pa.field("sent_ns", NS, nullable=False),
        ("link_in_ns", NS),
        ("link_out_ns", NS),
        ("arrival_ns", NS),
        pa.field("drop", pa.string(), nullable=False),
        ("retransmission_of", pa.int64()),  # `seq` of the datagram that this one repeats
    ]
)

CONTROL: Final = pa.schema(
    [
        pa.field("time_ns", NS, nullable=False),
        ("estimate_kbps", pa.float64()),
        ("min_rtt_ms", pa.float64()),
        ("loss", pa.float64()),
        pa.field("controller_state", pa.string(), nullable=False),
        pa.field("mode", pa.string(), nullable=False),
        ("target_kbps", pa.float64()),
        ("encoded_kbps", pa.float64()),  # over the interval since the previous report
        ("sent_kbps", pa.float64()),
        ("delivered_kbps", pa.float64()),
        ("capacity_kbps", pa.float64()),  # truth, from the trace
    ]
)

#: One row a direction and 100 ms bin.
LINK: Final = pa.schema(
    [
        pa.field("time_ns", NS, nullable=False),  # start of the bin
        pa.field("direction", pa.string(), nullable=False),
        pa.field("capacity_bytes", pa.int64(), nullable=False),  # offered opportunities
        pa.field("delivered_bytes", pa.int64(), nullable=False),  # left the bottleneck in the bin
        pa.field("queue_packets", pa.int32(), nullable=False),  # waiting at the end of the bin
        pa.field("queue_bytes", pa.int64(), nullable=False),
        pa.field("queue_drops", pa.int32(), nullable=False),
        pa.field("loss_drops", pa.int32(), nullable=False),
    ]
)

#: One row a flow of the media direction and 100 ms bin in which it was there; only where others
#: compete with the session.
#: Bytes are sizes on the link.
FLOWS: Final = pa.schema(
    [
        pa.field("time_ns", NS, nullable=False),  # start of the bin
        pa.field("flow", pa.int32(), nullable=False),  # 0: the session's own
        pa.field("kind", pa.string(), nullable=False),  # "media" or "tcp"
        pa.field("sent_bytes", pa.int64(), nullable=False),
        pa.field("delivered_bytes", pa.int64(), nullable=False),  # came out of the path
        ("target_kbps", pa.float64()),  # null for tcp
    ]
)

TABLES: Final = {"frames": FRAMES, "packets": PACKETS, "control": CONTROL, "link": LINK}

#: Tables that a run has only if there was something to put into them.
OPTIONAL_TABLES: Final = {"flows": FLOWS}
