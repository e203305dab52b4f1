import multiprocessing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scapy.layers.inet import UDP
from scapy.utils import rdpcap

from testbed.analysis.metrics import summarise
from testbed.capture.tap import Tap
from testbed.errors import InputError
from testbed.network.spec import LossSpec
from testbed.tables import KINDS
from testbed.worlds.session import CompetingSpec, SessionResult, SessionSpec
from testbed.worlds.webrtc.world import (
    PAYLOAD_BYTES,
    check_losses,
    fitted,
    run_webrtc_session,
)
from tests.worlds.helpers import MemorySink, path, session

#: What a message of `PAYLOAD_BYTES` becomes on the link: RTP, SCTP with padding, DTLS, link.
MOST_BYTES = PAYLOAD_BYTES + 12 + 2 + 28 + 3 + 37 + 32


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test machines are busy; what is tested here does not depend on it."""
    monkeypatch.setenv("TESTBED_BUSY_P99_MS", "500")


def run(
    spec: SessionSpec, *, tap: Tap | None = None
) -> tuple[dict[str, pd.DataFrame], SessionResult, dict[str, Any]]:
    pytest.importorskip("aiortc")
    sink = MemorySink()
    result = run_webrtc_session(spec, sink, base=Path.cwd(), tap=tap)
    assert multiprocessing.active_children() == []
    tables = sink.tables()
    manifest = {
        "cell": {
            "fps": spec.clip.fps,
            "duration_s": spec.clip.duration_s,
            "playout_deadline_ms": spec.playout_deadline_ms,
        },
        "warmup_s": 0.0,
    }
    # The metrics refuse tables that contradict themselves.
    summary = summarise(
        tables["frames"], tables["packets"], tables["control"], tables["link"], manifest=manifest
    )
    return tables, result, summary


def test_h264_arrives_through_dtls_and_sctp() -> None:
    spec = session(duration_s=5.0, deadline_ms=2000.0)
    tables, result, summary = run(spec)
    frames, packets = tables["frames"], tables["packets"]
    assert set(packets.kind) <= set(KINDS)
    assert list(frames.outcome) == ["rendered"] * 75
    down = packets[packets.direction == "down"]
    assert set(down.kind) >= {"media", "feedback", "sctp"}
    assert set(packets[packets.direction == "up"].kind) >= {"feedback", "sctp"}
    media = down[down.kind == "media"]
    assert set(media.frame) == set(range(75))
    assert media.size_bytes.max() <= MOST_BYTES
    # At most one acknowledgement a message, in the same way back as the endpoint's own feedback.
    assert 0 < sum((packets.direction == "up") & (packets.kind == "sctp")) <= len(down)
    assert result.facts["webrtc"]["payload_bytes"] == PAYLOAD_BYTES
    assert result.facts["webrtc"]["sender"]["pieces_beyond_the_first"] == 0
    assert 65 <= result.facts["webrtc"]["sender"]["record_overhead_bytes"] <= 68
    parts = ("media", "header", "fec", "retransmission", "padding", "other")
    assert sum(summary[f"{part}_share"] for part in parts) == pytest.approx(1)
    assert summary["other_share"] > 0
    assert all(frame.complete for frame in result.received)


def test_morphe_arrives_and_what_the_path_loses_is_seen(tmp_path: Path) -> None:
    lossy = path(loss=LossSpec("bernoulli", {"rate": 0.1}))
    spec = session(transport="morphe", duration_s=5.0, deadline_ms=2000.0, down=lossy)
    with Tap(tmp_path / "capture.pcapng") as tap:
        tables, result, summary = run(spec, tap=tap)
    frames, packets = tables["frames"], tables["packets"]
    assert set(packets.kind) <= set(KINDS)
    assert frames.outcome.isin(["rendered", "concealed"]).mean() > 0.9
    down = packets[packets.direction == "down"]
    lost = down[down["drop"] == "loss"]
    assert result.facts["loss_down"]["lost"] >= len(lost) > 0
    assert lost.arrival_ns.isna().all()
    by_frame = lost.dropna(subset=["frame"]).groupby("frame").size()
    assert frames.packets_lost.sum() == by_frame.sum() > 0
    assert summary["realised_loss"] == pytest.approx(len(lost) / len(down))
    # scapy reads what was on the wire: DTLS and STUN (RFC 7983), once where it left and once more
    # where it came to.
    payloads = [bytes(packet[UDP].payload) for packet in rdpcap(str(tmp_path / "capture.pcapng"))]
    assert len(payloads) == len(packets) + packets.arrival_ns.notna().sum()
    assert {payload[0] for payload in payloads} <= {0, 1, 23}


def test_payloads_are_made_to_fit_into_a_datagram() -> None:
    assert fitted(session()).transport_options == {"payload_bytes": PAYLOAD_BYTES}
    small = session(options={"payload_bytes": 500, "slices": 2})
    assert fitted(small) is small
    morphe = session(transport="morphe", options={"payload_bytes": 1400, "scale": 2})
    assert fitted(morphe).transport_options == {"payload_bytes": PAYLOAD_BYTES, "scale": 2}


def test_losses_that_need_to_see_frames_are_refused() -> None:
    per_frame = LossSpec("gilbert-elliott", {"rate": 0.1, "mean_burst": 3, "per": "frame"})
    with pytest.raises(InputError, match=r"uplink: gilbert-elliott per frame .* use per: packet"):
        check_losses(session(up=path(loss=per_frame)))
    check_losses(session(down=path(loss=LossSpec("bernoulli", {"rate": 0.1}))))


def test_competition_is_refused() -> None:
    pytest.importorskip("aiortc")
    spec = session(competing=(CompetingSpec("tcp"),))
    with pytest.raises(InputError, match="--world webrtc: competing flows"):
        run_webrtc_session(spec, MemorySink(), base=Path.cwd())
