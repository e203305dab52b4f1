"""What each metric is called, its unit, which direction is better, and its definition in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from testbed.analysis.metrics.delay import FAST_MS, PERCENTILES
from testbed.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of a summary.

    Attributes:
        key: its name in `summary.json` and `summary.csv`.
        title: its name in tables and figures, without the unit.
        unit: "" for counts and plain ratios; "share" is a number in 0..1 shown in percent.
        better: which direction is better, or "neither".
        definition: one sentence that names numerator, denominator and scope.
    """

    key: str
    title: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    definition: str


def _delays() -> list[Metric]:
    found: list[Metric] = []
    for key, title, what in (
        (
            "frame_delay_ms",
            "Frame delay",
            "encode end → decodable at the receiver (transmission delay)",
        ),
        ("latency_ms", "Latency", "capture → render"),
    ):
        for middle, scope in (
            ("", "over rendered frames"),
            ("_censored", "over all frames, one never rendered counting as the playout deadline"),
        ):
            found.extend(
                Metric(
                    f"{key}{middle}_p{p}",
                    f"{title} p{p}{' censored' if middle else ''}",
                    "ms",
                    "lower",
                    f"{what}; {p}th percentile (numpy linear) {scope}",
                )
                for p in PERCENTILES
            )
    found.append(
        Metric(
            "frame_delay_under_150ms_share",
            "Frame delay under 150 ms",
            "share",
            "higher",
            f"frames rendered (or concealed) in time whose frame delay is below {FAST_MS:g} ms / "
            "all source frames",
        )
    )
    return found


def _outcomes() -> list[Metric]:
    return [
        Metric(
            f"{name}_share",
            title,
            "share",
            "higher" if name == "rendered" else "lower",
            f"source frames {what} / all source frames",
        )
        for name, title, what in (
            ("rendered", "Rendered", "decoded whole and shown in time"),
            ("concealed", "Concealed", "shown in time with the decoder's concealment"),
            ("late", "Late", "decoded after the playout deadline"),
            ("undecodable", "Undecodable", "that lacked data or a reference"),
            ("not_sent", "Not sent", "that the sender never sent"),
            ("non_rendered", "Non-rendered", "neither rendered nor concealed in time"),
        )
    ]


_WIRE: Final = "of the IP bytes sent in the media direction after the warm-up"

#: Every metric by its key, in the order of `summary.csv`.
DEFINITIONS: Final[dict[str, Metric]] = {
    metric.key: metric
    for metric in [
        Metric("frames", "Frames", "", "neither", "source frames of the run"),
        *_delays(),
        Metric(
            "rendered_fps",
            "Rendered FPS",
            "fps",
            "higher",
            "frames rendered (or concealed) in time / media duration",
        ),
        Metric(
            "harmonic_fps",
            "Harmonic FPS",
            "fps",
            "higher",
            "T / Σ gap² · 1 s over the gaps between rendered frames, T = Σ gap",
        ),
        Metric(
            "freeze_w3c_count",
            "Freezes (w3c)",
            "",
            "lower",
            "gaps ≥ max(3·mean, mean + 150 ms), mean over the 30 gaps before",
        ),
        Metric(
            "freeze_w3c_share",
            "Freeze time (w3c)",
            "share",
            "lower",
            "sum of the w3c freezes / sum of all gaps",
        ),
        Metric("freeze_gap200_count", "Freezes (gap200)", "", "lower", "gaps > 200 ms"),
        Metric(
            "freeze_gap200_share",
            "Freeze time (gap200)",
            "share",
            "lower",
            "sum of the gap200 freezes / sum of all gaps",
        ),
        *_outcomes(),
        Metric(
            "utilisation",
            "Utilisation",
            "share",
            "higher",
            "bytes that left the bottleneck / bytes of offered delivery opportunities, without "
            "the warm-up",
        ),
        Metric(
            "capacity_kbps", "Capacity", "kbit/s", "neither", "mean offered, without the warm-up"
        ),
        Metric("media_share", "Media", "share", "higher", f"coded pictures, first time, {_WIRE}"),
        Metric("header_share", "Headers", "share", "lower", f"headers of media packets {_WIRE}"),
        Metric("fec_share", "FEC", "share", "lower", f"FEC packets {_WIRE}"),
        Metric(
            "retransmission_share",
            "Retransmission",
            "share",
            "lower",
            f"retransmitted packets {_WIRE}",
        ),
        Metric("padding_share", "Padding", "share", "lower", f"padding packets {_WIRE}"),
        Metric("other_share", "Other", "share", "lower", f"packets of any other kind {_WIRE}"),
        Metric(
            "goodput_share",
            "Goodput",
            "share",
            "higher",
            f"coded-picture bytes of rendered frames as a share {_WIRE}",
        ),
        Metric(
            "wire_kbps",
            "Sent",
            "kbit/s",
            "neither",
            "IP bits sent in the media direction / time, warm-up to end of media",
        ),
        Metric(
            "target_kbps",
            "Target",
            "kbit/s",
            "neither",
            "mean target of the rate control (headers included), warm-up to end of media",
        ),
        Metric("wire_over_target", "Sent / target", "", "neither", "wire_kbps / target_kbps"),
        Metric(
            "tracking_error",
            "Tracking error",
            "share",
            "lower",
            "mean of abs(encoded − target) / target over 1 s windows, coded-picture bits",
        ),
        Metric(
            "overshoot_share",
            "Overshoot",
            "share",
            "lower",
            "1 s windows with encoded > target / all 1 s windows",
        ),
        Metric(
            "mode_switches",
            "Mode switches",
            "",
            "lower",
            "changes of the encoder's mode from one frame to the next, after the warm-up",
        ),
        Metric(
            "queue_delay_ms_p95",
            "Queueing delay p95",
            "ms",
            "lower",
            "entry into the bottleneck → out of it, waiting and transmission; 95th percentile "
            "(numpy linear) over media-direction packets sent from warm-up to end of media",
        ),
        Metric(
            "realised_loss",
            "Realised loss",
            "share",
            "neither",
            "media-direction packets lost by the loss model / packets that the queue let through",
        ),
        Metric(
            "queue_drop_share",
            "Queue drops",
            "share",
            "lower",
            "media-direction packets dropped by the queue / packets sent",
        ),
        Metric(
            "jain_index",
            "Jain's index",
            "",
            "higher",
            "(Σ x)² / (n · Σ x²) over the bytes x that each of the n flows got through while all "
            "were there, without the warm-up of that time; only where others compete",
        ),
        Metric(
            "fair_share_ratio",
            "Share of a fair share",
            "",
            "neither",
            "bytes that the session got through / mean of all flows, over the same time",
        ),
        Metric("vmaf_mean", "VMAF", "", "higher", "mean over displayed frames, frozen included"),
        Metric(
            "vmaf_p5", "VMAF p5", "", "higher", "5th percentile (numpy linear), displayed frames"
        ),
        Metric("ssim_mean", "SSIM", "", "higher", "mean over displayed frames, frozen included"),
        Metric("ssim_db", "SSIM", "dB", "higher", "−10·log10(1 − mean SSIM), at most 60 dB"),
        Metric(
            "psnr_mean",
            "PSNR",
            "dB",
            "higher",
            "mean over displayed frames, each at most 60 dB, frozen included",
        ),
    ]
}


def definition(key: str) -> Metric:
    """The metric called `key`.

    Raises:
        UnknownNameError: no such metric; the message lists the known ones.
    """
    try:
        return DEFINITIONS[key]
    except KeyError:
        raise UnknownNameError(f"unknown metric {key!r}; known: {', '.join(DEFINITIONS)}") from None
