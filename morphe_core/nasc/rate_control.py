"""Which mode the next GoP is sent in: Algorithm 1 of the paper, with hysteresis.

The paper has two anchors. Below R_3x the tokens of 3x do not all fit, and some are left out; from
R_3x on they fit, and what is left is the residual's; from R_2x on there are tokens of 2x. Here the
anchors are bytes of a GoP and are measured from the stream itself: what the tokens of the GoP
before came to, at the quality that they had, tells what they come to at another one. A third
anchor, R_1x, is ours, for links that the paper did not think of.

A mode is left only when the budget is beyond an anchor by `hysteresis`, and a scale that was
changed to only after `dwell_gops` GoPs. The dwell does not hold back a fall to where even the scale
below would have too little: what was chosen for another link is then of no use.

Nothing here reads a clock: time is counted in GoPs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from morphe_core.errors import CodecConfigError
from morphe_core.vgc.tokens import INDICES_PER_OCTAVE

#: Octaves of bits per octave of the step: the usual of our tokens. The rate control starts from it.
BITS_SLOPE: Final = 0.75
#: Bytes of whole tokens at 2x over those at 3x of one quality: 1.9 and 2.1 on two test clips. Known
#: better as soon as both have been seen.
ANCHOR_RATIO: Final = 2.0
_LEAST_RATIO, _MOST_RATIO = 1.4, 3.0
#: Bits per source pixel of the first GoP from which 2x and 1x are begun with; our choice, tuned by
#: hand.
SCALE_LIMITS: Final = ((2, 0.0065), (1, 0.055))


class Mode(Enum):
    """How a GoP is sent. Lines 1, 5 and 9 of Algorithm 1, and 1x."""

    SELECT_3X = "3x-select"
    ALL_3X = "3x"
    ALL_2X = "2x"
    ALL_1X = "1x"

    @property
    def scale(self) -> int:
        """Source pixels per coded pixel."""
        return _SCALES[self]


#: The mode of a scale, as long as its tokens fit.
_WHOLE: Final = {3: Mode.ALL_3X, 2: Mode.ALL_2X, 1: Mode.ALL_1X}
_SCALES: Final = {Mode.SELECT_3X: 3, Mode.ALL_3X: 3, Mode.ALL_2X: 2, Mode.ALL_1X: 1}


class Zone(Enum):
    """Where the budget is among the anchors, hysteresis included."""

    BELOW_3X = "below R_3x"
    FROM_3X = "from R_3x on"
    FROM_2X = "from R_2x on"
    FROM_1X = "from R_1x on"


#: What becomes of a mode in each zone. Up it goes one scale at a time, as an anchor two scales away
#: is hardly known; down it goes at once.
TRANSITIONS: Final[Mapping[tuple[Mode, Zone], Mode]] = MappingProxyType(
    {
        (Mode.SELECT_3X, Zone.BELOW_3X): Mode.SELECT_3X,
        (Mode.SELECT_3X, Zone.FROM_3X): Mode.ALL_3X,
        (Mode.SELECT_3X, Zone.FROM_2X): Mode.ALL_2X,
        (Mode.SELECT_3X, Zone.FROM_1X): Mode.ALL_2X,
        (Mode.ALL_3X, Zone.BELOW_3X): Mode.SELECT_3X,
        (Mode.ALL_3X, Zone.FROM_3X): Mode.ALL_3X,
        (Mode.ALL_3X, Zone.FROM_2X): Mode.ALL_2X,
        (Mode.ALL_3X, Zone.FROM_1X): Mode.ALL_2X,
        (Mode.ALL_2X, Zone.BELOW_3X): Mode.SELECT_3X,
        (Mode.ALL_2X, Zone.FROM_3X): Mode.ALL_3X,
        (Mode.ALL_2X, Zone.FROM_2X): Mode.ALL_2X,
        (Mode.ALL_2X, Zone.FROM_1X): Mode.ALL_1X,
        (Mode.ALL_1X, Zone.BELOW_3X): Mode.SELECT_3X,
        (Mode.ALL_1X, Zone.FROM_3X): Mode.ALL_3X,
        (Mode.ALL_1X, Zone.FROM_2X): Mode.ALL_2X,
        (Mode.ALL_1X, Zone.FROM_1X): Mode.ALL_1X,
    }
)

#: Zones, from the fewest bytes up, and the modes that are at home in each.
_ORDER: Final = (Zone.BELOW_3X, Zone.FROM_3X, Zone.FROM_2X, Zone.FROM_1X)
_HOME: Final = {
    Mode.SELECT_3X: Zone.BELOW_3X,
    Mode.ALL_3X: Zone.FROM_3X,
    Mode.ALL_2X: Zone.FROM_2X,
    Mode.ALL_1X: Zone.FROM_1X,
}

#: Quality indices of P at which a stream whose quality is free is at R_3x, R_2x and R_1x, when it
#: is measured at 3x, at 2x and at 1x. The middle of each row is where the two scales beside it
#: look alike; they are our choice, tuned by hand (VMAF of development clips at 100 to 1600 kbps).
#: At the same bytes 2x has 21 indices less than 3x, and 1x 35 less than 2x.
ANCHOR_QUALITIES: Final[Mapping[int, tuple[int, int, int]]] = MappingProxyType(
    {3: (4, 35, 103), 2: (-17, 14, 82), 1: (-52, -21, 47)}
)


@dataclass(frozen=True, slots=True)
class Anchors:
    """The bytes of a GoP, with all of its units' headers, from which on there is a mode for them.

    Attributes:
        r3x: all tokens of 3x fit.
        r2x: tokens of 2x are the better use.
        r1x: tokens of 1x are; infinite where the form has none.
    """

    r3x: float
    r2x: float
    r1x: float

    @classmethod
    def of_quality(cls, scale: int, whole_bytes: float, p_quality: int) -> Anchors:
        """Of a stream whose quality is free.

        Args:
            scale: of the GoP that was measured.
            whole_bytes: what all of its tokens come to, > 0.
            p_quality: their P tokens' quality index.
        """
        pace = BITS_SLOPE / INDICES_PER_OCTAVE
        return cls(*(whole_bytes * 2 ** (pace * (q - p_quality)) for q in ANCHOR_QUALITIES[scale]))

    @classmethod
    def of_tokens(cls, scale: int, whole_bytes: float, ratio: float = ANCHOR_RATIO) -> Anchors:
        """Of tokens of a given quality, as in the paper: what all of them come to at each scale.

        Args:
            scale: of the GoP that was measured, 3 or 2.
            whole_bytes: what all of its tokens come to, > 0.
            ratio: bytes at 2x over those at 3x.
        """
        r3x = whole_bytes if scale == 3 else whole_bytes / ratio
        return cls(r3x, r3x * ratio, math.inf)


class ModeControl:
    """Decides the mode of each GoP; see the module.

    Args:
        hysteresis: share by which the budget must be beyond an anchor, 0 or more. Our choice: the
            paper says that there is hysteresis, not how much.
        dwell_gops: GoPs at a scale, once it was changed, before another one; 0 or more. Our choice.

    Raises:
        CodecConfigError: a value outside these.
    """

    def __init__(self, *, hysteresis: float = 0.1, dwell_gops: int = 3) -> None:
        if not 0 <= hysteresis < math.inf:
            raise CodecConfigError(f"hysteresis {hysteresis}: must be 0 or more")
        if dwell_gops < 0:
            raise CodecConfigError(f"dwell_gops {dwell_gops}: must be 0 or more")
        self._margin = 1 + hysteresis
        self._dwell_gops = dwell_gops
        self._gops = 0
        #: The mode of the GoP before; None at the start.
        self.mode: Mode | None = None
        #: Changes of scale so far.
        self.switches = 0

    def choose(self, budget_bytes: float, anchors: Anchors) -> Mode:
        """The mode of the next GoP; nothing is kept before `record`.

        Args:
            budget_bytes: of that GoP.
            anchors: as the GoP before has them.

        Raises:
            CodecConfigError: there was no GoP before.
        """
        if self.mode is None:
            raise CodecConfigError("there was no GoP before: the first mode is not chosen here")
        before = self.mode
        after = TRANSITIONS[before, self._zone(budget_bytes, anchors)]
        if after.scale != before.scale and self._gops < self._dwell_gops:
            far_below = after.scale > before.scale + 1 or after is Mode.SELECT_3X
            if not far_below:
                return before
        return after

    def record(self, mode: Mode) -> None:
        """A GoP was sent in this mode."""
        if self.mode is None:
            self._gops = self._dwell_gops  # the first one was a guess
        elif mode.scale == self.mode.scale:
            self._gops += 1
        else:
            self.switches += 1
            self._gops = 1
        self.mode = mode

    def _zone(self, budget_bytes: float, anchors: Anchors) -> Zone:
        """An anchor below the mode holds until it is missed by the margin, one above from there."""
        assert self.mode is not None
        home = _ORDER.index(_HOME[self.mode])
        found = 0
        for number, anchor in enumerate((anchors.r3x, anchors.r2x, anchors.r1x), start=1):
            needed = anchor / self._margin if number <= home else anchor * self._margin
            if budget_bytes >= needed:
                found = number
        return _ORDER[found]


class StreamModes:
    """The modes of one stream: a control, and the anchors that it is measured by.

    Args:
        scale: 1, 2 or 3 where it is given; 0 = the budget decides.
        quality_is_given: tokens of one quality, as in the paper; otherwise the budget decides it.
        control: decides.
    """

    def __init__(self, *, scale: int, quality_is_given: bool, control: ModeControl) -> None:
        self._scale = scale
        self._quality_is_given = quality_is_given
        self._ratio = ANCHOR_RATIO
        self._whole_bytes = 0.0
        self.control = control
        #: Measured on the GoP before; None at the start.
        self.anchors: Anchors | None = None

    def choose(self, budget_bytes: float, source_pixels: int) -> Mode:
        """The mode of the next GoP; nothing is kept before `learn`.

        Args:
            budget_bytes: of that GoP.
            source_pixels: luma samples of all of its pictures, > 0.
        """
        if self._scale:
            few = self.anchors is not None and budget_bytes < self.anchors.r3x
            return Mode.SELECT_3X if self._scale == 3 and few else _WHOLE[self._scale]
        if self.anchors is not None:
            return self.control.choose(budget_bytes, self.anchors)
        if self._quality_is_given:
            return Mode.ALL_3X  # nothing is known of R_2x
        return first_mode(8 * budget_bytes / source_pixels)

    def learn(self, mode: Mode, whole_bytes: float, p_quality: int) -> None:
        """A GoP was sent.

        Args:
            mode: its mode.
            whole_bytes: what all of its tokens come to, those left out as well; > 0.
            p_quality: its P tokens' quality index.
        """
        before = self.control.mode
        if before is not None and {before.scale, mode.scale} == {3, 2}:
            self._ratio = ratio_of(before.scale, self._whole_bytes, whole_bytes)
        self._whole_bytes = whole_bytes
        self.control.record(mode)
        if self._quality_is_given:
            self.anchors = Anchors.of_tokens(mode.scale, whole_bytes, self._ratio)
        else:
            self.anchors = Anchors.of_quality(mode.scale, whole_bytes, p_quality)


def ratio_of(scale_before: int, bytes_before: float, bytes_after: float) -> float:
    """Bytes of whole tokens at 2x over those at 3x, from two GoPs on both sides of a switch.

    Args:
        scale_before: of the earlier one, 3 or 2; the later one has the other.
        bytes_before: of the earlier one, > 0.
        bytes_after: of the later one, > 0.
    """
    ratio = bytes_after / bytes_before if scale_before == 3 else bytes_before / bytes_after
    # The content changes too; beyond these it has, not the ratio.
    return min(max(ratio, _LEAST_RATIO), _MOST_RATIO)


def first_mode(bits_per_pixel: float) -> Mode:
    """The mode to begin with, by the budget per source luma pixel."""
    chosen = Mode.ALL_3X
    for scale, limit in SCALE_LIMITS:
        if bits_per_pixel >= limit:
            chosen = _WHOLE[scale]
    return chosen
