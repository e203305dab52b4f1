"""Puffer: the public daily CSV files, and the two-column form that others cut from them.

The two-column files carry MEGABYTES per second (tcp_info's delivery_rate in bytes/s, over 1e6),
although their publisher's README says Mbit/s; read that way the rates come out an eighth of the
truth. Megabytes is the default here, said in a note; `unit=` overrides it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from testbed.traces.formats import puffercsv
from testbed.traces.formats.base import FORMATS, Series, TraceFormat, hold_forward, numeric_rows
from testbed.traces.formats.pensieve import two_columns
from testbed.traces.units import rate_unit

#: `trace<session id, 44 base64-like characters ending in =>_<stream index>`
_NAME: Final = re.compile(r"trace[A-Za-z0-9+\-_=]{40,}=_[0-9]+(\.\w+)?\Z")
#: A longer silence between two chunks is a paused or idle player, not a slow network.
_LONG_GAP_US: Final = 30e6


def looks_like_bytes(head: str) -> bool:
    """Whether every value is a whole number of bytes/s when read as MB/s, and rarely a rounder one.

    Rates measured in Mbit/s and written with all their digits have more than six decimals; hand-
    written ones have fewer.
    """
    try:
        values = [line.split()[1] for line in head.splitlines() if line.strip()]
    except IndexError:
        return False
    decimals = [len(value.partition(".")[2]) for value in values]
    return bool(decimals) and max(decimals) <= 6 and 2 * sum(d >= 5 for d in decimals) > len(values)


class Puffer(TraceFormat):
    """Both forms; the header line of the CSV tells them apart."""

    title: ClassVar[str] = (
        "Puffer: public video_sent CSV, or two columns, seconds and MEGABYTES per second"
    )
    options: ClassVar[Mapping[str, str]] = {
        "unit": "two columns: unit of the second; default MB/s",
        "acked": "CSV: file name of video_acked to join, for size / transmission time",
        "stream": "CSV: one stream only, as <session_id>_<index>; default: every one",
        "max_gap_s": "CSV: a longer silence starts a new trace; default 30",
    }

    def matches(self, head: str, path: Path) -> bool:
        """The CSV header, the publisher's file names, or values that are whole bytes per second."""
        if puffercsv.is_header(head.split("\n", 1)[0]):
            return True
        if not two_columns(head):
            return False
        name = path.name.rpartition("__")[2]
        return _NAME.search(name) is not None or looks_like_bytes(head)

    def read(self, text: str, *, path: Path, options: Mapping[str, str]) -> list[Series]:
        """Hold forward: a delivery rate is taken when a chunk is sent and lasts until the next."""
        if puffercsv.is_header(text.split("\n", 1)[0]):
            return puffercsv.read(text, path=path, options=options)
        rows = numeric_rows(text, 2)
        unit = options.get("unit", "MB/s")
        times_us = rows[:, 0] * 1e6
        trace = hold_forward(times_us, rows[:, 1] * rate_unit(unit))
        notes = []
        if "unit" not in options:
            notes.append(
                "read as megabytes per second, Puffer's two-column unit (its README says Mbit/s); "
                "unit=Mbps reads it otherwise"
            )
        if float(np.diff(times_us).max()) > _LONG_GAP_US:
            notes.append("holds a rate over a silence of more than 30 s (a paused or idle player)")
        return [Series("", trace, tuple(notes))]


FORMATS.register("puffer")(Puffer())
