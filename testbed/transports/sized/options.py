"""Options that all sized transports share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SizedOptions:
    """What a scenario may say about any transport of which only sizes are known.

    Attributes:
        sizes_from: a CSV file of sizes (columns frame, bytes and, for disco, unit), from your own
            encodes of this clip; "": sizes as the other options say.
        retransmission: answer NACKs.
        max_tries: how often one packet is asked for, 1-10 (ringmaster: 3).
        give_up_ms: how long after its group is captured a missing packet still matters, 0-60000;
            0: the playout deadline.
        pacing_factor: pacing rate over target rate, 1-10 (libwebrtc: 2.5).
        payload_bytes: largest RTP payload, 200-1460.
        catch_up: how many times faster than captured frames may follow each other on the screen
            after a stall, 1-100.
        count_headers: the rate target includes IP, UDP and RTP headers and the descriptor.
        report_interval_ms: time between the receiver's reports, 10-1000 (Morphe paper: 100).
    """

    sizes_from: str = ""
    retransmission: bool = True
    max_tries: int = 3
    give_up_ms: int = 0
    pacing_factor: float = 2.5
    payload_bytes: int = 1200
    catch_up: float = 2.0
    count_headers: bool = True
    report_interval_ms: int = 100

    def __post_init__(self) -> None:
        check_ranges(
            self,
            ("max_tries", 1, 10),
            ("give_up_ms", 0, 60_000),
            ("pacing_factor", 1, 10),
            ("payload_bytes", 200, 1460),
            ("catch_up", 1, 100),
            ("report_interval_ms", 10, 1000),
        )
        check_flags(self, "retransmission", "count_headers")
        if not isinstance(self.sizes_from, str):
            raise ValueError(f"sizes_from: must be a path (got {self.sizes_from!r})")


def check_ranges(options: Any, *ranges: tuple[str, float, float]) -> None:
    """Refuse, with ValueError, a number outside its range; a field of whole numbers stays whole."""
    for name, low, high in ranges:
        value = getattr(options, name)
        whole = isinstance(type(options).__dataclass_fields__[name].default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{name}: must be {kind} (got {value!r})")
        if not low <= value <= high:
            raise ValueError(f"{name}: must be in {low}..{high} (got {value})")


def check_flags(options: Any, *names: str) -> None:
    """Refuse, with ValueError, what is neither true nor false."""
    for name in names:
        if not isinstance(getattr(options, name), bool):
            raise ValueError(f"{name}: must be true or false (got {getattr(options, name)!r})")


def check_choice(options: Any, name: str, known: tuple[Any, ...]) -> None:
    """Refuse, with ValueError, a value that is not among the known ones."""
    value = getattr(options, name)
    if isinstance(value, bool) or value not in known:
        words = ", ".join(str(one) if one != "" else '""' for one in known)
        raise ValueError(f"{name}: must be one of {words} (got {value!r})")
