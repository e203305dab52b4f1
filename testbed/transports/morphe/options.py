"""Options of the Morphe transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from testbed.codec.core import PROFILES, SCALES, Settings
from testbed.transports.checks import check_flags, check_ranges

PACKINGS: Final = ("", "interleaved", "rows")
SELECTIONS: Final = ("", "energy", "similarity", "random")
RESIDUALS: Final = ("", "none", "pixel", "transform")
BOUNDARIES: Final = ("all", "switches")
ENCODERS: Final = ("auto", "live", "ladder")
#: Missing share of a GoP's tokens beyond which they are asked for: paper, section 6.2, and ours.
PAPER_THRESHOLD: Final = 0.5
THRESHOLD: Final = 0.75
#: Known values of `probe_fill`.
PROBE_FILLS: Final = ("media", "redundancy", "padding")


@dataclass(frozen=True, slots=True)
class MorpheOptions:
    """What a scenario may say about the Morphe transport.

    Of the codec's settings, "" or -1 leaves what the profile says; docs/codec.md explains them.

    Attributes:
        profile: settings of the codec: morphe, morphe-keep (leaves out what the receiver has, and
            is told of losses) or morphe-paper.
        scale: source pixels per coded pixel, 1-3; 0: chosen by the codec.
        hysteresis: how far beyond an anchor the budget must be before the mode changes, 0-1; -1:
            the profile's.
        dwell_gops: GoPs at a scale before another one, 0-1000; -1: the profile's.
        packing: interleaved (several rows a packet) or rows (one row of one matrix, Figure 6).
        unit_bytes: size that an interleaved unit aims at, 64-1400; -1: the profile's.
        least_units: an interleaved GoP is cut into at least so many units, 1-255; -1: the
            profile's.
        selection: P tokens that are left out first: energy, similarity (Eq. 3) or random.
        free_quality: let the budget choose the tokens' step where the profile fixes it
            (`morphe-paper`); tokens are then left out only where the coarsest step is too much.
        residual: what is sent of what the tokens lost: none, pixel or transform.
        residual_share: share of the budget that tokens leave to the residual, 0-0.9; -1: the
            profile's.
        smoothing: pictures that the decoder blends over the boundary of two GoPs (Eq. 2), 0-8.
        smoothing_at: all boundaries, or switches of the scale alone (paper, section 6.1).
        payload_bytes: largest RTP payload, 200-1460; larger units are cut.
        pacing_factor: pacing rate over target rate, 1-50. A GoP is ready at once, and leaves within
            its duration divided by this.
        retransmission: ask again for tokens.
        retransmit_threshold: ask when more than this share of a GoP's tokens is missing, 0-1; 1:
            never; -1: 0.5 for morphe-paper ("typically 50%"), 0.75 for the others, which by
            measurement keeps delays under clustered loss (docs/guides/morphe-transport.md).
        reorder_ms: how long after the last packet of a GoP earlier ones may still come, 0-1000.
        catch_up: how many times faster than captured pictures may follow each other after a stall,
            1-100; 1: the delay stays.
        report_interval_ms: time between the receiver's reports, 10-1000 (paper: 100).
        probe_fill: what fills a probe of the rate control for bandwidth: media (a GoP that is
            encoded meanwhile gets so much more: a residual, where the profile has one, else finer
            tokens; then redundancy), redundancy (the latest GoP's packets once more, I tokens
            first; then padding) or padding.
        encoder: live (the codec's own encoder, exactly), ladder (switches between constant-rate
            encodes; quick under a changing target, without pixels only) or auto (ladder where the
            target changes and no pixels are looked at).
        weights: of the codec: a shipped model or a file.
    """

    profile: str = "morphe"
    scale: int = 0
    hysteresis: float = -1.0
    dwell_gops: int = -1
    packing: str = ""
    unit_bytes: int = -1
    least_units: int = -1
    selection: str = ""
    free_quality: bool = False
    residual: str = ""
    residual_share: float = -1.0
    smoothing: int = 0
    smoothing_at: str = "all"
    payload_bytes: int = 1440
    pacing_factor: float = 5.0
    retransmission: bool = True
    retransmit_threshold: float = -1.0
    reorder_ms: float = 5.0
    catch_up: float = 1.1
    report_interval_ms: int = 100
    probe_fill: str = "media"
    encoder: str = "auto"
    weights: str = "small"

    def __post_init__(self) -> None:
        bounds: tuple[tuple[str, float, float], ...] = (
            ("scale", 0, 3),
            ("smoothing", 0, 8),
            ("payload_bytes", 200, 1460),
            ("pacing_factor", 1, 50),
            ("reorder_ms", 0, 1000),
            ("catch_up", 1, 100),
            ("report_interval_ms", 10, 1000),
        )
        unless_default: tuple[tuple[str, float, float], ...] = (
            ("retransmit_threshold", 0, 1),
            ("hysteresis", 0, 1),
            ("dwell_gops", 0, 1000),
            ("unit_bytes", 64, 1400),
            ("least_units", 1, 255),
            ("residual_share", 0, 0.9),
        )
        given = tuple(bound for bound in unless_default if getattr(self, bound[0]) != -1)
        check_ranges(self, *bounds, *given)
        for name, known in (
            ("profile", PROFILES),
            ("packing", PACKINGS),
            ("selection", SELECTIONS),
            ("residual", RESIDUALS),
            ("smoothing_at", BOUNDARIES),
            ("probe_fill", PROBE_FILLS),
            ("encoder", ENCODERS),
        ):
            if getattr(self, name) not in known:
                allowed = ", ".join(value for value in known if value)
                raise ValueError(f"{name}: must be one of {allowed} (got {getattr(self, name)!r})")
        check_flags(self, "retransmission", "free_quality")
        if not isinstance(self.weights, str) or not self.weights:
            raise ValueError(f"weights: must be a name or a file (got {self.weights!r})")
        assert self.scale in SCALES.values()

    @property
    def ask_above(self) -> float:
        """Share of a GoP's tokens that has to be missing before they are asked for."""
        if self.retransmit_threshold != -1:
            return self.retransmit_threshold
        return PAPER_THRESHOLD if self.profile == "morphe-paper" else THRESHOLD

    def settings(self) -> Settings:
        """Of the codec."""
        given: dict[str, Any] = {
            "hysteresis": self.hysteresis,
            "dwell_gops": self.dwell_gops,
            "packing": self.packing,
            "unit_bytes": self.unit_bytes,
            "least_units": self.least_units,
            "selection": self.selection,
            "residual": self.residual,
            "residual_share": self.residual_share,
        }
        changes = {name: value for name, value in given.items() if value not in ("", -1)}
        if self.free_quality:
            changes["fixed_quality"] = -1
        return Settings(self.profile, self.scale, changes=changes)
