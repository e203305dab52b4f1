"""Forward error correction end to end: real x264 and x265, the simulator's path, real losses."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "worlds"))
from helpers import path, run, session

from testbed.analysis.metrics.columns import frame_columns
from testbed.errors import InputError
from testbed.network.packet import LINK_OVERHEAD_BYTES
from testbed.network.spec import LossSpec
from testbed.protocol.fec.wire import Repair, pack_repair
from testbed.protocol.outlet import IP_UDP_HEADER_BYTES
from testbed.protocol.rtp import pack_rtp
from testbed.transports import TRANSPORTS, parse_options
from testbed.transports.base import ReceiverContext
from testbed.transports.h26x.receiver import H26xReceiver

CODES = ["rs-frame", "rs-window", "streaming"]
SSRC = 0x4D6F7270
#: The small clip does not fill more.
KBPS = 150.0


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def tables(
    loss: float, *, transport: str = "h264", duration_s: float = 6.0, **options: Any
) -> dict[str, pd.DataFrame]:
    down = path(loss=LossSpec("bernoulli", {"rate": loss}) if loss else None)
    made, _ = run(
        session(transport=transport, down=down, duration_s=duration_s, kbps=KBPS, options=options)
    )
    return made


def rendered(made: dict[str, pd.DataFrame]) -> float:
    return float((made["frames"].outcome == "rendered").mean())


def wire_kbps(made: dict[str, pd.DataFrame], duration_s: float) -> float:
    down = made["packets"].query("direction == 'down' and kind != 'feedback'")
    ip_bytes = (down.size_bytes - LINK_OVERHEAD_BYTES + IP_UDP_HEADER_BYTES).sum()
    return float(ip_bytes * 8 / duration_s / 1e3)


@pytest.mark.parametrize("code", CODES)
def test_repairs_keep_rendering_where_nothing_else_does(code: str) -> None:
    bare = {"retransmission": False, "payload_bytes": 400}
    assert rendered(tables(0.1, **bare)) < 0.4
    assert rendered(tables(0.1, **bare, fec=code)) > 0.9


@pytest.mark.parametrize("code", CODES)
def test_beyond_its_redundancy_there_is_the_cliff(code: str) -> None:
    fixed = {"retransmission": False, "payload_bytes": 400, "fec": code, "fec_share": 0.5}
    assert rendered(tables(0.03, **fixed)) > 0.95
    assert rendered(tables(0.45, **fixed)) < 0.3


@pytest.mark.parametrize("transport", ["h264", "h265"])
@pytest.mark.parametrize("loss", [0.0, 0.25])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"arq": "none"},
        {"fec": "rs-frame"},
        {"fec": "rs-frame", "fec_share": 0.5, "arq": "none"},
        {"fec": "rs-window"},
        {"fec": "streaming"},
        {"arq": "hybrid"},
    ],
    ids=lambda options: "+".join(str(value) for value in options.values()) or "plain",
)
def test_the_wire_carries_the_target_whatever_repairs_cost(
    transport: str, loss: float, options: dict[str, Any]
) -> None:
    made = tables(loss, transport=transport, duration_s=10.0, **options)
    assert wire_kbps(made, 10.0) == pytest.approx(KBPS, rel=0.03)


def test_repairs_can_come_on_top() -> None:
    given = {"fec": "rs-frame", "fec_share": 0.5, "count_repairs": False}
    assert wire_kbps(tables(0.0, **given), 6.0) > KBPS * 1.4


def test_the_log_counts_repair_packets() -> None:
    made = tables(0.0, fec="streaming", fec_share=0.5)
    packets = made["packets"].query("kind == 'fec'")
    by_frame = (packets.size_bytes - LINK_OVERHEAD_BYTES + IP_UDP_HEADER_BYTES).groupby(
        packets.frame
    )
    frames = made["frames"].set_index("frame")
    assert len(packets) > 20
    assert (frames.fec_bytes[frames.fec_bytes > 0] == by_frame.sum()).all()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("loss", [0.1, 0.3, 0.5])
def test_the_log_holds_together(code: str, loss: float) -> None:
    """Frames of which nothing came but repairs over several frames have an arrival as well."""
    made = tables(loss, fec=code, arq="hybrid", duration_s=10.0)
    frames = frame_columns(made["frames"])
    assert len(frames.capture_ns) == 150
    shown = made["frames"].query("outcome == 'rendered'")
    assert shown.first_arrival_ns.notna().all()


@pytest.mark.parametrize("code", CODES)
def test_what_repairs_bring_is_not_asked_for(code: str) -> None:
    plain = tables(0.05, payload_bytes=400)
    protected = tables(0.05, payload_bytes=400, fec=code, fec_share=1.0)
    repeats = [(made["packets"].kind == "retransmission").sum() for made in (plain, protected)]
    assert repeats[0] > 10
    assert repeats[1] <= repeats[0] * 0.1
    assert rendered(protected) > 0.97


@pytest.mark.parametrize("code", CODES)
def test_what_repairs_cannot_bring_is_asked_for(code: str) -> None:
    weak = {"payload_bytes": 400, "fec": code, "fec_share": 0.25}
    made = tables(0.25, **weak)
    assert (made["packets"].kind == "retransmission").sum() > 10
    assert rendered(made) > rendered(tables(0.25, **weak, arq="none")) + 0.2


def test_the_same_session_twice_gives_the_same_tables() -> None:
    first, second = (tables(0.2, duration_s=3.0, fec="streaming") for _ in range(2))
    for name in first:
        pd.testing.assert_frame_equal(first[name], second[name])


@pytest.mark.parametrize("code", CODES)
def test_what_the_decoder_gets_is_what_the_encoder_made(code: str) -> None:
    down = path(loss=LossSpec("bernoulli", {"rate": 0.1}))
    options = {"fec": code, "fec_share": 1.0, "payload_bytes": 300, "arq": "none"}
    lossy = run(session(down=down, kbps=KBPS, duration_s=4.0, options=options))[1]
    clean = run(session(kbps=KBPS, duration_s=4.0, options=options))[1]
    same = [a.data == b.data for a, b in zip(lossy.received, clean.received, strict=True)]
    first_key = next((i for i, f in enumerate(lossy.received) if i and f.key), len(same))
    assert all(same[: first_key - 1])
    assert first_key > 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fec": "xor"}, "fec: must be one of none, rs-frame, rs-window, streaming"),
        ({"fec_share": -1}, r"fec_share: must be in 0..4 \(got -1\)"),
        ({"fec_window_frames": 9}, r"fec_window_frames: must be in 1..8"),
        ({"fec_window_frames": 1.5}, "fec_window_frames: must be a whole number"),
        ({"arq": "twice"}, "arq: must be one of nack, hybrid, none"),
        ({"arq": "hybrid", "retransmission": False}, "hybrid needs retransmission: true"),
        ({"count_repairs": 1}, "count_repairs: must be true or false"),
    ],
)
def test_bad_options_are_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_options(TRANSPORTS.get("h264"), given)


def receiver(**options: Any) -> H26xReceiver:
    transport = TRANSPORTS.get("h264")
    parsed = parse_options(transport, options)
    made = transport.make_receiver(ReceiverContext(30, lambda: 0, 400_000_000, parsed))  # type: ignore[arg-type]
    assert isinstance(made, H26xReceiver)
    return made


def repair_packet(payload: bytes, sequence: int = 0) -> bytes:
    return pack_rtp(
        payload, payload_type=100, marker=True, sequence=sequence, timestamp=0, ssrc=SSRC + 2
    )


def test_repair_packets_without_a_code_are_of_nobody() -> None:
    data = repair_packet(pack_repair(Repair(0, 0, 1, 0, 1, bytes(8))))
    plain, coded = receiver(), receiver(fec="rs-frame")
    plain.receive_datagram(data, now_ns=0)
    coded.receive_datagram(data, now_ns=0)
    assert (plain.malformed_datagrams, coded.malformed_datagrams) == (1, 0)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=20), st.sampled_from(CODES))
def test_garbage_on_the_repairs_source_is_counted_and_ignored(
    payloads: list[bytes], code: str
) -> None:
    made = receiver(fec=code)
    for number, payload in enumerate(payloads):
        now_ns = number * 1_000_000
        made.receive_datagram(repair_packet(payload, number), now_ns=now_ns)
        made.receive_datagram(
            repair_packet(b"\0" + payload[:1] + b"\0" + payload[1:], number), now_ns=now_ns
        )
        made.on_timer(now_ns=now_ns)
    made.received_frames(3)
