"""What went over the wire: rates, shares, losses, and how well the encoder follows its target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from testbed.analysis.metrics.columns import Floats, Frames, Ints, Link, Packets, Session
from testbed.errors import BrokenLogError
from testbed.network.trace import OPPORTUNITY_BYTES

if TYPE_CHECKING:
    import pandas as pd

_NS: Final = 1e9
#: A bin's packets may have begun to leave before it, and the log rounds to bins: so much more
#: than the offered opportunities may be delivered before we call the log broken.
_EXCESS_SHARE: Final = 0.01
_EXCESS_BYTES: Final = 2 * OPPORTUNITY_BYTES


def utilisation(link: Link, session: Session) -> tuple[float | None, float | None]:
    """Bytes that left the bottleneck / bytes of offered opportunities, and mean capacity (kbit/s).

    Over link bins that start in [warm-up, end of media). mahimahi's mm-throughput-graph forms the
    same ratio. Losses behind the bottleneck have used the capacity and count. None without a
    capacity: an unlimited link, or a total outage.

    Raises:
        BrokenLogError: more was delivered than offered.
    """
    start, end = session.warmup_s * _NS, session.duration_s * _NS
    inside = (link.time_ns >= start) & (link.time_ns < end)
    offered = int(np.sum(link.capacity_bytes[inside]))
    delivered = int(np.sum(link.delivered_bytes[inside]))
    if offered == 0:
        return None, None
    if delivered > offered * (1 + _EXCESS_SHARE) + _EXCESS_BYTES:
        raise BrokenLogError(f"link: {delivered} bytes delivered where only {offered} were offered")
    seconds = (end - start) / _NS
    return delivered / offered, offered * 8 / 1e3 / seconds


def byte_shares(frames: Frames, packets: Packets, session: Session) -> dict[str, float | None]:
    """What the sent IP bytes were: shares that sum to 1, and goodput.

    Counted over packets of frames captured at or after the warm-up, and packets of no frame sent
    then. *media*: coded-picture bytes, first transmission. *header*: IP, UDP, RTP and payload
    headers of those packets. *fec*, *retransmission*, *padding*, *other*: whole packets of that
    kind. *goodput*: coded-picture bytes of frames that were rendered, over the same whole.

    Raises:
        BrokenLogError: the frame table claims more header bytes than media packets had.
    """
    warmup_ns = session.warmup_s * _NS
    counted_frame = frames.capture_ns >= warmup_ns
    of_frame = packets.frame >= 0
    if np.any(packets.frame >= frames.count):
        raise BrokenLogError(
            f"packets: frame {int(packets.frame.max())} where the clip has {frames.count}"
        )
    counted = np.where(
        of_frame, counted_frame[np.maximum(packets.frame, 0)], packets.sent_ns >= warmup_ns
    )
    sizes: Ints = packets.ip_bytes[counted]
    kinds = packets.kind[counted].astype(str)
    total = int(np.sum(sizes))
    # Picture bytes as packets carry them: an access unit is a little longer, by its start codes.
    picture = -frames.header_bytes
    first_time = of_frame & (packets.kind.astype(str) == "media")
    np.add.at(picture, packets.frame[first_time], packets.ip_bytes[first_time])
    if np.any(picture < 0):
        at = int(np.flatnonzero(picture < 0)[0])
        raise BrokenLogError(
            f"frames: frame {at} has header_bytes {int(frames.header_bytes[at])}, more than all "
            "its media packets"
        )
    media = int(np.sum(picture[counted_frame]))
    rendered = counted_frame & (frames.outcome == "rendered")
    parts = {"media": media, "header": int(np.sum(sizes[kinds == "media"])) - media}
    for kind in ("fec", "retransmission", "padding"):
        parts[kind] = int(np.sum(sizes[kinds == kind]))
    parts["other"] = total - sum(parts.values())
    parts["goodput"] = int(np.sum(picture[rendered]))
    return {f"{name}_share": part / total if total else None for name, part in parts.items()}


def window_rates(frames: Frames, session: Session) -> tuple[Floats, Floats]:
    """Encoded bitrate and mean encoder target (kbit/s) in whole 1 s windows of capture time.

    Both are coded-picture bits, without any header. A window whose frames name no target is NaN.

    Raises:
        BrokenLogError: a target that is not positive.
    """
    if np.any(frames.target_kbps <= 0):
        at = int(np.flatnonzero(frames.target_kbps <= 0)[0])
        raise BrokenLogError(
            f"frames: frame {at} has target_kbps {frames.target_kbps[at]}; must be > 0"
        )
    count = int(session.duration_s + 1e-9)
    window = ((frames.capture_ns - frames.capture_ns[0]) // _NS).astype(np.int64)
    inside = window < count
    encoded: Floats = np.zeros(count)
    np.add.at(encoded, window[inside], frames.media_bytes[inside] * 8 / 1e3)
    known = inside & ~np.isnan(frames.target_kbps)
    totals = np.bincount(window[known], weights=frames.target_kbps[known], minlength=count)
    numbers = np.bincount(window[known], minlength=count)
    target: Floats = np.full(count, np.nan)
    np.divide(totals, numbers, out=target, where=numbers > 0)
    return encoded, target


def tracking(frames: Frames, session: Session) -> dict[str, float | None]:
    """How closely the encoder follows its target, over 1 s windows.

    tracking_error = mean(abs(encoded − target) / target); overshoot_share = share of windows with
    encoded > target. None for a run shorter than a window.
    """
    encoded, target = window_rates(frames, session)
    known = ~np.isnan(target)
    if not np.any(known):
        return {"tracking_error": None, "overshoot_share": None}
    encoded, target = encoded[known], target[known]
    return {
        "tracking_error": float(np.mean(np.abs(encoded - target) / target)),
        "overshoot_share": float(np.mean(encoded > target)),
    }


def queue_delay_ms_p95(packets: Packets, session: Session) -> float | None:
    """95th percentile (numpy linear) of the time from entry into the bottleneck to leaving it, ms.

    Waiting and transmission, over media-direction packets sent from the warm-up to the end of
    media; what the queue dropped never left. None over nothing.
    """
    start, end = session.warmup_s * _NS, session.duration_s * _NS
    inside = (packets.sent_ns >= start) & (packets.sent_ns < end)
    delay = (packets.link_out_ns - packets.link_in_ns)[inside] / 1e6
    delay = delay[~np.isnan(delay)]
    return float(np.percentile(delay, 95, method="linear")) if delay.size else None


def mode_switches(frames: Frames, session: Session) -> int | None:
    """How often the encoder's mode changed from one frame to the next, after the warm-up.

    Over frames captured from the warm-up on that name a mode; modes change between GoPs only. None
    where no frame names one.
    """
    counted = frames.capture_ns >= session.warmup_s * _NS
    modes = frames.mode[counted & (frames.mode != "")]
    return int(np.count_nonzero(modes[1:] != modes[:-1])) if modes.size else None


def losses(packets: Packets) -> dict[str, float | None]:
    """Realised random loss and queue drops of the media direction.

    realised_loss = lost by the loss model / (sent − dropped by the queue), which is what the loss
    stage saw in the default order queue → loss; queue_drop_share = dropped by the queue / sent.
    """
    drop = packets.drop.astype(str)
    sent = drop.size
    lost = int(np.count_nonzero(drop == "loss"))
    queued_out = int(np.count_nonzero(drop == "queue"))
    return {
        "realised_loss": lost / (sent - queued_out) if sent > queued_out else None,
        "queue_drop_share": queued_out / sent if sent else None,
    }


def rates(packets: Packets, control: pd.DataFrame, session: Session) -> dict[str, float | None]:
    """Mean IP bitrate sent, mean target of the rate control, and their ratio.

    Between the warm-up and the end of media. The target counts IP, UDP and RTP headers, as the
    rate control does.

    Raises:
        BrokenLogError: a target that is negative.
    """
    start, end = session.warmup_s * _NS, session.duration_s * _NS
    if end <= start:
        return {"wire_kbps": None, "target_kbps": None, "wire_over_target": None}
    inside = (packets.sent_ns >= start) & (packets.sent_ns < end)
    wire = int(np.sum(packets.ip_bytes[inside])) * 8 / 1e3 / ((end - start) / _NS)
    for column in ("time_ns", "target_kbps"):
        if column not in control.columns:
            raise BrokenLogError(f"control: lacks column {column}")
    time = control["time_ns"].to_numpy(dtype=np.float64, na_value=np.nan)
    target = control["target_kbps"].to_numpy(dtype=np.float64, na_value=np.nan)
    if np.any(target < 0):
        raise BrokenLogError(f"control: target_kbps is {np.nanmin(target)}; must be >= 0")
    # A row speaks of the interval that ends at its time.
    counted = target[(time > start) & (time <= end) & ~np.isnan(target)]
    mean = float(np.mean(counted)) if counted.size else None
    return {
        "wire_kbps": wire,
        "target_kbps": mean,
        "wire_over_target": wire / mean if mean else None,
    }


def wire_metrics(
    frames: Frames, packets: Packets, control: pd.DataFrame, link: Link, session: Session
) -> dict[str, Any]:
    """Everything of this module."""
    share, capacity = utilisation(link, session)
    return {
        "utilisation": share,
        "capacity_kbps": capacity,
        **byte_shares(frames, packets, session),
        **rates(packets, control, session),
        **tracking(frames, session),
        "mode_switches": mode_switches(frames, session),
        "queue_delay_ms_p95": queue_delay_ms_p95(packets, session),
        **losses(packets),
    }
