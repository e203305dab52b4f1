"""What a session's receiver kept, made again from what arrived: the two must be equal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
from helpers import MemorySink, path, session

from testbed.errors import BrokenLogError
from testbed.live.rebuild import rebuild, recorded_decode_ns
from testbed.media.types import ReceivedFrame
from testbed.network.packet import Packet
from testbed.network.spec import LossSpec
from testbed.worlds.session import SessionSpec
from testbed.worlds.simulator import Session

BURSTS = path(kbps=400.0, loss=LossSpec("gilbert-elliott", {"rate": 0.25, "mean_burst": 2}))


class Recorded(Session):
    """A session that writes down what arrives at its receiver."""

    def __init__(self, spec: SessionSpec) -> None:
        self.arrivals: list[tuple[int, bytes]] = []
        super().__init__(spec, MemorySink(), base=Path.cwd())

    def _deliver_down(self, packet: Packet, now_ns: int) -> None:
        self.arrivals.append((now_ns, packet.payload.data))  # type: ignore[attr-defined]
        super()._deliver_down(packet, now_ns)


def again(session: Recorded, arrivals: Any = None) -> list[ReceivedFrame]:
    made = session.make
    return rebuild(
        session.arrivals if arrivals is None else arrivals,
        made.transport,
        made.options,
        fps=made.clip.fps,
        frame_count=made.clip.frame_count,
        deadline_ns=made.deadline_ns,
        end_ns=made.end_ns,
        decode_ns=recorded_decode_ns(made.compute.facts()),
    )


@pytest.mark.parametrize(
    ("transport", "options", "compute"),
    [
        ("h264", {}, "zero"),
        ("h264", {"conceal": True, "slices": 3}, "zero"),
        ("h264", {"retransmission": False}, "zero"),
        ("h265", {}, "measured"),
        ("morphe", {}, "zero"),
        ("morphe", {"scale": 2}, "a100"),
        ("morphe", {"retransmit_threshold": 0.0, "scale": 2}, "jetson-orin"),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_frames_come_out(
    transport: str, options: dict[str, Any], compute: str, seed: int
) -> None:
    recorded = Recorded(
        session(
            transport=transport, options=options, compute=compute, seed=seed, down=BURSTS,
            kbps=150.0, duration_s=3.0, deadline_ms=1500.0,
        )
    )  # fmt: skip
    result = recorded.run()
    frames = again(recorded)
    assert frames == result.received
    assert result.facts["loss_down"]["lost"] > 0
    assert sum(bool(frame.data) for frame in frames) > (2 if transport == "morphe" else 20)


def test_another_set_of_arrivals_gives_other_frames() -> None:
    recorded = Recorded(session(down=BURSTS))
    result = recorded.run()
    thinned = [packet for n, packet in enumerate(recorded.arrivals) if n % 3]
    assert again(recorded, thinned) != result.received


def test_garbage_among_the_arrivals_changes_nothing() -> None:
    recorded = Recorded(session(down=BURSTS))
    result = recorded.run()

    def noisy() -> Iterator[tuple[int, bytes]]:
        for time_ns, data in recorded.arrivals:
            yield time_ns, b"\x80 garbage"
            yield time_ns, data
            yield time_ns, b""

    assert again(recorded, noisy()) == result.received


def test_what_comes_after_the_end_does_not_count() -> None:
    recorded = Recorded(session(duration_s=1.0))
    result = recorded.run()
    late = [*recorded.arrivals, (recorded.end_ns + 1, recorded.arrivals[0][1])]
    assert again(recorded, late) == result.received


def test_arrivals_do_not_go_back() -> None:
    recorded = Recorded(session(duration_s=1.0))
    recorded.run()
    with pytest.raises(BrokenLogError, match="a packet at 5 ns follows one at 9 ns"):
        again(recorded, [(9, b""), (5, b"")])


def test_a_receiver_that_keeps_nothing() -> None:
    recorded = Recorded(session(duration_s=1.0))

    class Forgetful:
        name = "forgetful"

        def make_receiver(self, _context: object) -> object:
            receiver = recorded.make.receiver()
            calls = ("next_timer", "on_timer", "events", "datagrams_to_send", "receive_datagram")
            return type("Receiver", (), {c: staticmethod(getattr(receiver, c)) for c in calls})()

    with pytest.raises(BrokenLogError, match="forgetful: its receiver keeps no frames"):
        rebuild(
            [], Forgetful(), None,  # type: ignore[arg-type]
            fps=recorded.clip.fps, frame_count=1, deadline_ns=0, end_ns=10**9,
        )  # fmt: skip


def test_decoding_times_out_of_a_manifest() -> None:
    assert recorded_decode_ns({"decode_ms": 1.5})() == 1_500_000
    by_scale = recorded_decode_ns({"decode_ms": {"2x": 3.0, "3x": 2.25}})
    assert [by_scale(2), by_scale(3), by_scale(1)] == [3_000_000, 2_250_000, 0]


@pytest.mark.parametrize("told", [None, "x", True, {"2x": "y"}, {"two": 1}])
def test_a_manifest_without_decoding_times(told: object) -> None:
    with pytest.raises(BrokenLogError, match="decode_ms"):
        recorded_decode_ns({"decode_ms": told})
