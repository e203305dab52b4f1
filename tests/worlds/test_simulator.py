import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from helpers import MemorySink, path, run, session

from testbed.capture.reading import open_capture
from testbed.capture.tap import Tap
from testbed.errors import InputError
from testbed.media.clips import open_clip
from testbed.media.decoding import decode
from testbed.media.encoders import EncoderConfig, open_encoder
from testbed.media.types import ReceivedFrame
from testbed.network.packet import LINK_OVERHEAD_BYTES
from testbed.network.spec import LossSpec
from testbed.worlds.compute import measured_decode_ns
from testbed.worlds.session import CompetingSpec
from testbed.worlds.simulator import run_session

LOSSY = path(loss=LossSpec("bernoulli", {"rate": 0.15}))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_over_a_clean_link_every_frame_is_rendered_after_the_closed_form_delay() -> None:
    tables, result = run(session(kbps=80.0))
    frames, packets = tables["frames"], tables["packets"]
    assert (frames.outcome == "rendered").all()
    assert result.displayed == list(range(len(frames)))
    # One packet, no queue: transmission time plus propagation, rounded up to the nanosecond.
    # A sender report goes out with every 15th frame and takes its share; leave those aside.
    single = frames[(frames.packets_sent == 1) & (frames.frame % 15 != 0)].iloc[5:]
    assert len(single) > 5
    media = packets[(packets.direction == "down") & (packets.kind == "media")]
    sizes = media.groupby("frame").size_bytes.sum()
    expected_ns = sizes[single.frame].to_numpy().astype(float) * 4000 + 50_000_000
    delay_ns = (single.decodable_ns - single.encode_end_ns).to_numpy()
    assert np.allclose(delay_ns.astype(float), expected_ns, atol=1000)


def test_the_wire_carries_the_target_rate_headers_included() -> None:
    tables, _ = run(session(duration_s=8.0, kbps=200.0))
    down = tables["packets"].query("direction == 'down' and kind == 'media'")
    ip_bytes = (down.size_bytes - LINK_OVERHEAD_BYTES + 28).sum()
    assert ip_bytes * 8 / 8.0 / 1e3 == pytest.approx(200.0, rel=0.08)


def test_the_same_session_twice_gives_the_same_tables() -> None:
    first, _ = run(session(down=LOSSY))
    second, _ = run(session(down=LOSSY))
    for name in first:
        pd.testing.assert_frame_equal(first[name], second[name])


def test_all_transports_meet_the_same_losses() -> None:
    masks = []
    for transport in ("h264", "h265", "morphe"):
        tables, _ = run(session(transport=transport, down=LOSSY))
        down = tables["packets"].query("direction == 'down' and drop != 'queue'")
        masks.append((down["drop"] == "loss").to_numpy())
    shared = min(len(mask) for mask in masks)
    assert shared > 50
    assert np.array_equal(masks[0][:shared], masks[1][:shared])
    assert masks[0].any()


def test_frames_and_packets_tell_the_same_story() -> None:
    tables, _ = run(session(down=LOSSY))
    frames = tables["frames"].set_index("frame")
    down = tables["packets"].query("direction == 'down' and frame >= 0")
    by_frame = down.groupby("frame")
    assert (by_frame.size() == frames.packets_sent).all()
    lost = down[down["drop"] != "none"].groupby("frame").size()
    assert (lost.reindex(frames.index, fill_value=0) == frames.packets_lost).all()
    resent = down[down.kind == "retransmission"]
    assert len(resent) > 3
    originals = tables["packets"].query("direction == 'down'").set_index("seq")
    of = originals.loc[resent.retransmission_of]
    assert (of.frame.to_numpy() == resent.frame.to_numpy()).all()
    assert (of.sent_ns.to_numpy() < resent.sent_ns.to_numpy()).all()
    assert (of.kind == "media").all()
    arrived = down[down["drop"] == "none"].dropna(subset=["arrival_ns"])
    assert (arrived.arrival_ns - arrived.link_out_ns >= 50_000_000).all()


def test_no_packet_row_is_lost_between_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(session(down=LOSSY))
    monkeypatch.setattr("testbed.worlds.direction.CHUNK_ROWS", 7)
    chunked, _ = run(session(down=LOSSY))
    key = ["direction", "seq"]
    pd.testing.assert_frame_equal(
        whole["packets"].sort_values(key, ignore_index=True),
        chunked["packets"].sort_values(key, ignore_index=True),
    )


def test_retransmission_repairs_and_costs_a_round_trip() -> None:
    tables, _ = run(session(down=LOSSY, duration_s=6.0))
    frames = tables["frames"]
    repaired = frames[(frames.packets_lost > 0) & (frames.outcome == "rendered")]
    assert len(repaired) > 3
    assert (repaired.decodable_ns - repaired.encode_end_ns >= 150_000_000).all()


def test_without_any_recovery_the_first_loss_is_the_end() -> None:
    options = {"retransmission": False, "key_requests": False}
    tables, result = run(session(down=LOSSY, options=options))
    frames = tables["frames"]
    first_hit = int(frames[frames.packets_lost > 0].frame.iloc[0])
    assert (frames.outcome[:first_hit] == "rendered").all()
    assert (frames.outcome[first_hit:] == "undecodable").all()
    assert result.displayed[-1] == first_hit - 1


def test_key_requests_bring_the_picture_back() -> None:
    options = {"retransmission": False}
    tables, _ = run(session(down=LOSSY, options=options, duration_s=6.0))
    frames = tables["frames"]
    assert frames.key.sum() > 2
    broken = frames[frames.outcome == "undecodable"]
    assert len(broken) > 0
    after_first_break = frames[frames.frame > broken.frame.iloc[0]]
    assert (after_first_break.outcome == "rendered").any()


def test_a_dead_link_renders_nothing_and_still_ends() -> None:
    dead = path(loss=LossSpec("bernoulli", {"rate": 1.0}))
    tables, result = run(session(down=dead))
    assert (tables["frames"].outcome == "undecodable").all()
    assert (tables["frames"].reason == "nothing-arrived").all()
    assert result.displayed == [-1] * len(tables["frames"])


def test_dead_feedback_leaves_the_media_alone() -> None:
    dead = path(loss=LossSpec("bernoulli", {"rate": 1.0}))
    tables, _ = run(session(up=dead))
    assert (tables["frames"].outcome == "rendered").all()


def test_late_frames_serve_as_references_and_are_not_shown() -> None:
    tables, _ = run(session(down=LOSSY, options={"give_up_ms": 2000}, deadline_ms=120.0))
    frames = tables["frames"]
    late = frames[frames.outcome == "late"]
    assert len(late) > 0
    assert late.render_ns.isna().all()
    assert (late.decode_end_ns - late.capture_ns > 0).all()


def test_concealment_shows_frames_that_are_not_whole() -> None:
    options = {"conceal": True, "retransmission": False, "slices": 4, "payload_bytes": 300}
    tables, result = run(session(down=LOSSY, options=options))
    frames = tables["frames"]
    assert (frames.outcome == "concealed").any()
    assert (frames.outcome != "undecodable").mean() > 0.8
    assert any(f.data and not f.complete for f in result.received)


@pytest.mark.parametrize("transport", ["h264", "h265"])
def test_what_is_rendered_is_what_the_encoder_meant(transport: str) -> None:
    """The real decoder over what arrived gives the encoder's own pictures, bit by bit."""
    spec = session(
        transport=transport, down=path(loss=LossSpec("bernoulli", {"rate": 0.3})), duration_s=4.0
    )
    tables, result = run(spec)
    frames = tables["frames"]
    assert (frames.outcome == "undecodable").any()
    clip = open_clip(spec.clip, base=Path.cwd())
    shown = {
        f.index: f.picture.tobytes()
        for f in decode(transport, result.received, width=160, height=96, conceal=False)
    }
    decodable = set(frames[frames.outcome.isin(["rendered", "late"])].frame)
    assert decodable <= set(shown)
    # The same decisions on a clean link: a full decode of everything that was encoded.
    encoder = open_encoder(transport, clip, EncoderConfig(), None)
    keys = set(frames[frames.key].frame) - {0}
    whole = []
    for index in range(clip.frame_count):
        encoded = encoder.encode(
            index, target_kbps=float(frames.target_kbps[index]), force_key=index in keys
        )
        whole.append(ReceivedFrame(index, encoded.key, encoded.data, complete=True))
    for picture in decode(transport, whole, width=160, height=96, conceal=False):
        if picture.index in decodable:
            assert shown[picture.index] == picture.picture.tobytes()


def test_encoding_time_delays_the_frame() -> None:
    tables, _ = run(session(compute="measured"))
    frames = tables["frames"]
    assert (frames.encode_end_ns > frames.encode_start_ns).all()
    assert (frames.first_sent_ns >= frames.encode_end_ns).all()
    assert (frames.decode_end_ns > frames.decodable_ns).all()


@pytest.mark.parametrize("content", ["", "[]", '{"h264 160x96": "fast"}', '{"h264 160x96": null}'])
def test_a_damaged_store_of_decoding_times_is_made_anew(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path))
    monkeypatch.setattr("testbed.worlds.compute._time_decoder", lambda _codec, _clip: 4711)
    (tmp_path / "decode-times.json").write_text(content)
    clip = open_clip(session().clip, base=Path.cwd())
    assert measured_decode_ns("h264", clip) == 4711


def test_the_link_table_adds_up() -> None:
    tables, _ = run(session(down=LOSSY))
    link = tables["link"].query("direction == 'down'")
    assert (link.time_ns.diff().dropna() == 100_000_000).all()
    assert link.capacity_bytes.sum() == pytest.approx(2_000_000 / 8 * 3, rel=1e-3)
    assert (link.delivered_bytes <= link.capacity_bytes).all()
    lost = (tables["packets"].query("direction == 'down'")["drop"] == "loss").sum()
    assert lost - 3 <= link.loss_drops.sum() <= lost


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transport": "mpeg2"}, "unknown transport 'mpeg2'; known: aiortc-h264, aiortc-vp8, "),
        ({"options": {"speed": 1}}, "unknown option 'speed'"),
        ({"compute": "abacus"}, "unknown compute model 'abacus'; known: a100"),
    ],
)
def test_unknown_names_are_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run(session(**change))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "states"),
    [
        ({"control": "bbr"}, ("startup", "probe-bw-cruise", "probe-bw-up")),
        ({"control": "bbr", "variant": "draft"}, ("startup",)),
        ({"control": "gcc"}, ("increase",)),
        ({"control": "gcc", "variant": "libwebrtc"}, ("increase",)),
    ],
    ids=str,
)
def test_a_controller_finds_the_rate_and_says_what_it_does(
    rate: dict[str, object], states: tuple[str, ...]
) -> None:
    spec = session(
        down=path(kbps=300.0, delay_ms=20.0),
        up=path(delay_ms=20.0),
        duration_s=12.0,
        rate={**rate, "start_kbps": 150.0},
    )
    tables, _ = run(spec)
    control, packets = tables["control"], tables["packets"]
    assert set(states) <= set(control.controller_state)
    late = control[control.time_ns > 8 * 10**9]
    assert 180 < late.estimate_kbps.mean() < 360
    assert (control.target_kbps >= 50).all()
    assert (control.min_rtt_ms.dropna() >= 40).all()
    down = packets[packets.direction == "down"]
    assert (down["drop"] == "none").all()
    assert ("padding" in set(down.kind)) == (rate["control"] == "bbr")
    again, _ = run(spec)
    for name in tables:
        pd.testing.assert_frame_equal(tables[name], again[name])


@pytest.mark.parametrize("transport", ["h264", "morphe"])
def test_a_tap_hears_the_sessions_own_packets_and_changes_nothing(
    transport: str, tmp_path: Path
) -> None:
    spec = session(
        transport=transport, down=LOSSY, kbps=150.0,
        competing=(CompetingSpec("tcp"), CompetingSpec("media")),
    )  # fmt: skip
    plain, tapped = MemorySink(), MemorySink()
    alone = run_session(spec, plain, base=Path.cwd())
    with Tap(tmp_path / "c") as tap:
        result = run_session(spec, tapped, base=Path.cwd(), tap=tap)
    assert tapped.rows == plain.rows
    assert result.received == alone.received
    assert result.facts == alone.facts
    assert len(plain.rows["flows"]) > 30
    packets = tapped.tables()["packets"]
    with open_capture(tmp_path / "c") as capture:
        seen = Counter((packet.interface, packet.inbound) for packet in capture)
    for direction, sending, receiving in (
        ("down", "sender", "receiver"), ("up", "receiver", "sender"),
    ):  # fmt: skip
        rows = packets[packets.direction == direction]
        assert seen[sending, False] == len(rows)
        # A packet that is still on its way when the session ends has its arrival in the table.
        end_ns = (3 + 0.4 + 0.2) * 1e9
        assert seen[receiving, True] == (rows.arrival_ns < end_ns).sum()
