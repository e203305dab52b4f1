"""The relay world for real: three processes, real sockets, against the simulator."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import MemorySink, path, run, session

from testbed.errors import InputError
from testbed.network.spec import LossSpec
from testbed.worlds.realtime.world import (
    BUSY_VARIABLE,
    MachineBusyError,
    busy_bound_ms,
    run_relay_session,
)
from testbed.worlds.session import SessionResult, SessionSpec

#: Lateness is not the point of these tests, and CI's machines are busy.
NEVER_MIND_MS = "10000"


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUSY_VARIABLE, NEVER_MIND_MS)


def run_relay(spec: SessionSpec) -> tuple[dict[str, pd.DataFrame], SessionResult]:
    sink = MemorySink()
    result = run_relay_session(spec, sink, base=Path.cwd())
    return sink.tables(), result


def lost(tables: dict[str, pd.DataFrame]) -> list[int]:
    packets = tables["packets"]
    return packets[(packets.direction == "down") & (packets["drop"] == "loss")].seq.tolist()


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_the_relay_shows_what_the_simulator_shows(transport: str) -> None:
    # A mask that hits one packet in thirty. Nothing is sent again, so that both worlds number the
    # same datagrams in the same way; the deadline is far, so that a busy machine is no matter.
    lossy = path(loss=LossSpec("mask", {"bits": "0" * 20 + "1" + "0" * 9}), kbps=4000)
    spec = session(
        transport=transport, down=lossy, deadline_ms=2_000, seed=3,
        options={"retransmission": False},
    )  # fmt: skip
    ours, simulated = run(spec)
    theirs, emulated = run_relay(spec)
    assert emulated.displayed == simulated.displayed
    for column in ("frame", "key", "gop", "outcome", "media_bytes", "packets_sent", "packets_lost"):
        assert theirs["frames"][column].tolist() == ours["frames"][column].tolist(), column
    media = [
        tables["packets"][
            (tables["packets"].direction == "down") & (tables["packets"].kind == "media")
        ]
        for tables in (ours, theirs)
    ]
    for column in ("size_bytes", "frame"):
        assert media[1][column].tolist() == media[0][column].tolist()
    assert lost(theirs) == lost(ours) != []
    assert [one.data for one in emulated.received] == [one.data for one in simulated.received]
    # Every time is at least the simulator's: a real machine is never early.
    arrived = [part[part.arrival_ns.notna()] for part in media]
    shared = arrived[1].merge(arrived[0], on="seq", suffixes=("", "_model"))
    delay = shared.arrival_ns - shared.sent_ns
    assert (delay >= 50_000_000).all()
    assert list(theirs["link"].capacity_bytes) == list(ours["link"].capacity_bytes)
    assert len(theirs["control"]) == len(ours["control"])


def test_the_facts_say_how_punctual_everybody_was() -> None:
    spec = session(duration_s=1.0, down=path(loss=LossSpec("bernoulli", {"rate": 0.1})))
    tables, result = run_relay(spec)
    facts = result.facts["realtime"]
    down = tables["packets"][tables["packets"].direction == "down"]
    assert facts["bound_p99_ms"] == 10_000
    assert facts["sender_late"]["count"] == len(down)
    assert facts["network_late"]["count"] > len(down)  # both directions' datagrams
    for name in ("sender_late", "receiver_late", "captures_late", "network_late"):
        assert 0 <= facts[name]["p50_ms"] <= facts[name]["p99_ms"] <= facts[name]["max_ms"]
    assert facts["captures_late"]["count"] == 15
    assert facts["host_delay_down"]["count"] == down.arrival_ns.notna().sum()
    assert facts["strangers"] == {"sender": 0, "receiver": 0}
    assert facts["network"]["strangers"] == facts["network"]["overflowed"] == 0
    assert result.facts["loss_down"]["lost"] == (down["drop"] == "loss").sum()
    assert result.facts["loss_down"]["packets"] == len(down)


def test_a_busy_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUSY_VARIABLE, "0.001")  # a microsecond: no machine is that good
    sink = MemorySink()
    with pytest.raises(
        MachineBusyError,
        match=r"^machine too busy: the sender's datagrams left \d+\.\d ms late at the 99th "
        r"percentile, the bound is 0\.001 ms \(TESTBED_BUSY_P99_MS sets another\)$",
    ):
        run_relay_session(session(duration_s=0.5, deadline_ms=100), sink, base=Path.cwd())
    assert not any(sink.rows.values())


@pytest.mark.parametrize("text", ["fast", "0", "-1", "nan", "inf", "2 ms"])
def test_a_bound_that_is_none_is_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUSY_VARIABLE, text)
    with pytest.raises(InputError, match="must be a positive number of milliseconds") as caught:
        run_relay_session(session(), MemorySink(), base=Path.cwd())
    assert str(caught.value).startswith(f"{BUSY_VARIABLE} is {text!r}; ")


def test_without_a_bound_the_default_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BUSY_VARIABLE)
    assert busy_bound_ms() == 2.0
    monkeypatch.setenv(BUSY_VARIABLE, " 7.5")
    assert busy_bound_ms() == 7.5


def test_nothing_stays_open(tmp_path: Path) -> None:
    def state() -> tuple[list[str], list[str]]:
        gc.collect()
        found = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # the listing's own is gone again
                found.append(str(entry.readlink()))
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return sorted(one for one in found if one.startswith(("socket:", "pipe:"))), children

    spec = session(duration_s=0.4, deadline_ms=100)
    run_relay(spec)  # multiprocessing's own tracker starts with the first
    before = state()
    run_relay(spec)
    assert state() == before
