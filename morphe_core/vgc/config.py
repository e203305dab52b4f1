"""Settings of the encoder, and the profiles that results name."""

from __future__ import annotations

from dataclasses import dataclass

from morphe_core.errors import CodecConfigError
from morphe_core.vgc.bitstream import SCALES
from morphe_core.vgc.residual import FORMS
from morphe_core.vgc.selection import STRATEGIES
from morphe_core.vgc.tokens import GOP_FRAMES

#: How P tokens are chosen when not all fit (see `vgc.selection`).
SELECTIONS = tuple(STRATEGIES)
#: Names of the profiles.
PROFILE_NAMES = ("morphe", "morphe-keep", "morphe-paper")
#: What one packet carries: interleaved rows of everything, or one row of one matrix (Figure 6).
PACKINGS = ("interleaved", "rows")
#: What `drop_share` is a share of: the P tokens (paper, section 4.3), or all tokens of the GoP.
DROP_SCOPES = ("p", "all")
#: What is sent of what the tokens lost: nothing, or a form of `vgc.residual`.
RESIDUALS = ("none", *FORMS)


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Settings of an encoder.

    Attributes:
        profile: name of the settings, for results; see `PROFILE_NAMES`.
        scale: source pixels per coded pixel (1, 2, 3); 0 = chosen by the budget.
        hysteresis: share by which a budget must be beyond an anchor before the scale changes; see
            `nasc.rate_control.ModeControl`. 0..1.
        dwell_gops: GoPs at a scale before another one, 0..1000.
        unit_bytes: aim for the size of one unit, 64..65000; a packet's payload.
        least_units: a GoP is split into at least this many units, so that one loss is a small one.
        motion: predict P pictures along a motion field.
        lean: let the picture before help to decode the I picture; what it is wrong about fades, as
            all tokens are sent.
        keep: do not send I tokens that the GoP before already shows well enough. Worth most where
            little moves, but what a loss hides then stays hidden until the refresh: for links whose
            losses are repaired or reported.
        refresh_gops: every I token is sent at least once in this many GoPs (bounds how long an
            error lives); 1 = always.
        packing: see `PACKINGS`.
        selection: see `SELECTIONS`.
        fixed_quality: quality index of the tokens; -1 = chosen by the budget. The paper adapts by
            dropping tokens and by residuals alone.
        rounding: token values that cost more than they are worth become zero; the price of a bit,
            in units of `quantiser.LAGRANGIAN` squared steps, 0..4. 0 = off.
        residual: see `RESIDUALS`; it gets what the tokens leave of a GoP's budget.
        residual_share: share of the budget that is kept from the tokens for it, 0..0.9. With 0 it
            gets something only where `fixed_quality` leaves it.
        residual_pictures: pictures that share one averaged residual (T of Eq. 4), 1..9.
        seed: of random selection.
        drop_share: leave out exactly this share of the tokens, by `selection`, in the place of
            what the budget would leave out and at the qualities that it gives without. For
            comparing selections (the ablation in the paper's A.4): the GoP then has other bytes
            than it was given. 0 = off.
        drop_scope: see `DROP_SCOPES`.

    Raises:
        CodecConfigError: a value outside these.
    """

    profile: str = "morphe"
    scale: int = 0
    hysteresis: float = 0.1
    dwell_gops: int = 3
    unit_bytes: int = 1200
    least_units: int = 6
    motion: bool = True
    lean: bool = True
    keep: bool = False
    refresh_gops: int = 8
    packing: str = "interleaved"
    selection: str = "energy"
    fixed_quality: int = -1
    rounding: float = 0.7
    residual: str = "none"
    residual_share: float = 0.0
    residual_pictures: int = GOP_FRAMES
    seed: int = 1
    drop_share: float = 0.0
    drop_scope: str = "p"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("profile", PROFILE_NAMES),
            ("packing", PACKINGS),
            ("selection", SELECTIONS),
            ("drop_scope", DROP_SCOPES),
            ("residual", RESIDUALS),
        ):
            if getattr(self, name) not in allowed:
                raise CodecConfigError(
                    f"{name} {getattr(self, name)!r}: allowed are {', '.join(allowed)}"
                )
        if self.scale not in (0, *SCALES):
            raise CodecConfigError(f"scale {self.scale}: allowed are 0 (by the budget), 1, 2, 3")
        ranges: dict[str, tuple[float, float]] = {
            "hysteresis": (0, 1),
            "dwell_gops": (0, 1000),
            "unit_bytes": (64, 65000),
            "least_units": (1, 255),
            "refresh_gops": (1, 1000),
            "fixed_quality": (-1, 127),
            "rounding": (0, 4),
            "drop_share": (0, 1),
            "residual_share": (0, 0.9),
            "residual_pictures": (1, GOP_FRAMES),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise CodecConfigError(
                    f"{name} {getattr(self, name)}: must be within {low} and {high}"
                )


#: The paper's plain form, as far as the paper states it: every GoP by itself, a row of a matrix a
#: packet, similarity-based selection, no motion field, and samples of the residual for what is left
#: of the budget. The paper does not say how tokens are quantised; the index is our choice, not
#: measured against any of its figures. Nor does it say over how many pictures the residual is
#: averaged; we take a GoP.
_PAPER = EncoderConfig(
    profile="morphe-paper", motion=False, lean=False, packing="rows", selection="similarity",
    fixed_quality=52, rounding=0.0, residual="pixel",
)  # fmt: skip
_KEEP = EncoderConfig(profile="morphe-keep", keep=True)
PROFILES = dict(zip(PROFILE_NAMES, (EncoderConfig(), _KEEP, _PAPER), strict=True))


def profile(name: str) -> EncoderConfig:
    """The settings of a profile.

    Raises:
        CodecConfigError: no such profile.
    """
    if name not in PROFILES:
        raise CodecConfigError(f"profile {name!r}: known are {', '.join(PROFILES)}")
    return PROFILES[name]
