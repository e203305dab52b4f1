"""Options of `grace-original`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from testbed.transports.checks import check_choice, check_flags, check_ranges
from testbed.transports.sized.options import SizedOptions

#: Models of the repository by the name that its evaluation script gives them, and the factor by
#: which that script scales the picture for motion; a model is one rate.
SCALE_FACTORS: Final = {
    "64": 0.25,
    "128": 0.5,
    "256": 0.5,
    "512": 0.5,
    "1024": 0.5,
    "2048": 1.0,
    "4096": 1.0,
    "6144": 1.0,
    "8192": 1.0,
    "12288": 1.0,
    "16384": 1.0,
}


@dataclass(frozen=True, slots=True)
class GraceOriginalOptions(SizedOptions):
    """What a scenario may say about `grace-original`.

    Attributes:
        checkout: folder of your own copy of github.com/UChi-JCL/Grace, with weights; required.
        model: which of its models, "64" to "16384"; a model is one rate, there is no rate control.
        device: "cuda" or "cpu" (slow).
        retransmission: packets of intra frames are asked for again; of other frames GRACE decodes
            what has arrived.
        key_requests: the receiver asks for an intra frame (PLI) when nothing of a frame came.
        key_interval_ms: at least this between requested intra frames, 0-10000.
        sizes_from: not for this transport.
    """

    checkout: str = ""
    model: str = "4096"
    device: str = "cuda"
    key_requests: bool = True
    key_interval_ms: int = 300

    def __post_init__(self) -> None:
        SizedOptions.__post_init__(self)
        if not isinstance(self.checkout, str) or not self.checkout:
            raise ValueError(
                "checkout: give the folder of your own copy of github.com/UChi-JCL/Grace, with "
                f"its weights (got {self.checkout!r})"
            )
        check_choice(self, "model", tuple(SCALE_FACTORS))
        check_choice(self, "device", ("cuda", "cpu"))
        check_ranges(self, ("key_interval_ms", 0, 10_000))
        check_flags(self, "key_requests")
        if self.sizes_from:
            raise ValueError("sizes_from: this codec makes its own sizes")
