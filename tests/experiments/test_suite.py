from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testbed.errors import InputError
from testbed.experiments.cell import Cell
from testbed.experiments.scenario import load_scenario
from testbed.experiments.suite import expand
from testbed.network.trace import OpportunityTrace, RateTrace

Write = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("fakes")


def cells_of(path: Path, *overrides: str, seeds: int | None = None) -> list[Cell]:
    return expand(load_scenario(path, overrides=overrides, seeds=seeds))


def test_the_matrix_is_the_product_of_every_list(write: Write) -> None:
    cells = cells_of(write(), "rate.kbps=[200, 400]", "downlink.delay_ms=[20, 50]")
    assert len(cells) == 2 * 2 * 2 * 2 * 3  # loss, kbps, delay, transports, seeds
    points = {
        (c.transport, c.seed, c.conditions["loss"], c.conditions["kbps"], c.conditions["delay_ms"])
        for c in cells
    }
    assert len(points) == len(cells)
    assert len({c.run for c in cells}) == len(cells)


def test_cells_are_paired_over_transports_and_seeds(write: Write) -> None:
    cells = cells_of(write())
    pairs = Counter(c.cell_id for c in cells)
    assert sorted(pairs.values()) == [6, 6]
    for cell_id in pairs:
        conditions = [dict(c.conditions) for c in cells if c.cell_id == cell_id]
        assert all(one == conditions[0] for one in conditions)


def test_all_transports_of_a_cell_see_the_same_path_and_phase(write: Write) -> None:
    cells = cells_of(write(), "downlink.phase_ms=random", "downlink.trace=sine:200-500kbps/30s")
    by_cell: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        by_cell.setdefault((cell.cell_id, cell.seed), []).append(cell)
    for pair in by_cell.values():
        h264, h265 = (c.session for c in pair)
        assert h264.downlink == h265.downlink
        assert h264.seed == h265.seed
    phases = {c.seed: c.session.downlink.phase_ms for c in cells}
    assert len(set(phases.values())) == 3
    assert all(0 <= phase < 30_000 for phase in phases.values())


def test_competition_is_an_axis_and_separates_cells(write: Write) -> None:
    path = write(
        "seeds: [1, 2, 3]",
        "seeds: [1]\ncompeting:\n  - {kind: none}\n  - {kind: media, count: [1, 3], every_s: 2}\n"
        "  - [{kind: tcp, start_s: 5}, {kind: media, control: fixed, kbps: 100, reverse: true}]",
    )
    cells = [cell for cell in cells_of(path, "downlink.loss={kind: none}") if cell.seed == 1]
    by_label = {str(cell.conditions["competing"]): cell for cell in cells}
    assert list(by_label) == [
        "none",
        "1 media",
        "3 media every 2 s",
        "1 tcp from 5 s + 1 media the other way fixed 100 kbps",
    ]
    assert len({cell.cell_id for cell in cells}) == 4
    assert by_label["none"].session.competing == ()
    tcp, media = list(by_label.values())[3].session.competing
    assert (tcp.kind, tcp.start_s, tcp.rate_control) == ("tcp", 5, "")
    assert (media.rate_control, media.rate_options, media.reverse) == ("fixed", {"kbps": 100}, True)


def test_combined_losses_act_one_after_the_other(write: Write) -> None:
    path = write(
        "    - {kind: bernoulli, rate: [0, 0.05]}",
        "    - [{kind: bernoulli, rate: [0.1, 0.2]}, {kind: periodic-outage, period_s: 1}]",
    )
    cells = cells_of(path, seeds=1)
    losses = [c.session.downlink.loss for c in cells if c.transport == "h264"]
    assert [[(m.kind, dict(m.options)) for m in loss] for loss in losses] == [
        [("bernoulli", {"rate": rate}), ("periodic-outage", {"period_s": 1.0})]
        for rate in (0.1, 0.2)
    ]
    assert cells[0].conditions["loss"] == "bernoulli 10 % + periodic-outage period_s=1"
    assert cells[0].conditions["loss_rate"] is None


def test_conditions_say_loss_in_words_and_numbers(write: Write) -> None:
    path = write(
        "bernoulli, rate: [0, 0.05]", "gilbert-elliott, p: 0.068, r: 0.852, h: 0.5, k: 0.96"
    )
    conditions = cells_of(path)[0].conditions
    # Tambur's parameters; the closed form of the stationary loss.
    assert conditions["loss_rate"] == pytest.approx(0.068 / 0.92 * 0.5 + 0.852 / 0.92 * 0.04)
    assert conditions["loss_kind"] == "gilbert-elliott"
    conditions = cells_of(
        write("bernoulli, rate: [0, 0.05]", "gilbert-elliott, rate: 0.15, mean_burst: 4")
    )[0].conditions
    assert conditions["loss"] == "gilbert-elliott 15 % burst 4"
    assert (conditions["loss_rate"], conditions["mean_burst"]) == (0.15, 4.0)


def test_what_only_the_label_of_loss_would_hide_still_separates_cells(write: Write) -> None:
    path = write(
        "    - {kind: bernoulli, rate: [0, 0.05]}",
        "    - {kind: mask, bits: [0, 0, 0, 0, 0, 0, 1]}\n"
        "    - {kind: mask, bits: [0, 0, 0, 0, 0, 1, 0]}",
    )
    cells = cells_of(path, seeds=1)
    assert len({c.conditions["loss"] for c in cells}) == 1
    assert len({c.cell_id for c in cells}) == 2


def test_masks_and_delays_are_read_from_files_and_hashed(write: Write, tmp_path: Path) -> None:
    (tmp_path / "mask.txt").write_text("0 1\n0 0\n")
    (tmp_path / "delays.txt").write_text("20\n30.5\n")
    path = write(
        "    - {kind: bernoulli, rate: [0, 0.05]}\n  delay_ms: 50",
        "    - {kind: mask, file: mask.txt}\n  delay_trace: {file: delays.txt, step_ms: 10}",
    )
    before = cells_of(path)
    downlink = before[0].session.downlink
    assert downlink.loss[0].options["bits"] == (0, 1, 0, 0)
    assert (downlink.delay.trace_ms, downlink.delay.trace_step_ms) == ((20.0, 30.5), 10)
    (tmp_path / "mask.txt").write_text("0 1\n0 1\n")
    after = cells_of(path)
    assert {c.run for c in before}.isdisjoint(c.run for c in after)


def test_the_run_name_is_the_hash_of_what_determines_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()
    before = [c.run for c in cells_of(path)]
    assert [c.run for c in cells_of(path)] == before
    assert [c.run for c in cells_of(path, "description=other words")] == before
    for change in (
        "name=other",
        "duration_s=3",
        "downlink.queue.packets=61",
        "uplink.delay_ms=1",
        "playout.deadline_ms=300",
        "warmup_s=1",
        "quality=[psnr]",
        "compute=rtx3090",
        "downlink.order=[loss, queue, delay]",
        "downlink.trace=constant:1999kbps",
        "downlink.scale=0.5",
    ):
        assert set(before).isdisjoint(c.run for c in cells_of(path, change)), change
    monkeypatch.setattr("fakeworld.FakeClip.sha256", "c2" * 32)
    assert set(before).isdisjoint(c.run for c in cells_of(path))


def test_options_spelled_out_are_the_same_run_as_defaults(write: Write) -> None:
    plain = cells_of(write("[h264, h265]", "[h264]"))
    spelled = cells_of(write("[h264, h265]", "[{name: h264, conceal: false, max_tries: 3}]"))
    assert [c.run for c in plain] == [c.run for c in spelled]


def test_variants_of_one_transport_get_labels(write: Write) -> None:
    path = write(
        "[h264, h265]", "[h264, {name: h264, conceal: [true, false]}, {name: h265, label: x}]"
    )
    labels = list(dict.fromkeys(c.transport for c in cells_of(path)))
    assert labels == ["h264", "h264+conceal", "h264+conceal=False", "x"]
    with pytest.raises(InputError, match=r"transports\[1\]: h264 is listed twice; give one"):
        cells_of(write("[h264, h265]", "[h264, h264]"))


def test_a_set_of_traces_is_an_axis(write: Write) -> None:
    cells = cells_of(write("[constant:2000kbps]", "[set:parametric, constant-400]"), seeds=1)
    names = list(dict.fromkeys(c.conditions["trace"] for c in cells))
    assert len(names) == 5
    assert names[-1] == "constant-400"


def test_a_scaled_trace_says_so(write: Write) -> None:
    cell: Any = cells_of(write(), "downlink.scale=0.25")[0]
    trace = cell.session.downlink.trace
    assert isinstance(trace, RateTrace)
    assert np.allclose(trace.rates_kbps, 500)
    assert cell.conditions["trace"] == "constant-2000kbps-x0.25"
    assert "scaled by 0.25" in cell.inputs["trace"]["source"]

    cell = cells_of(write("constant:2000kbps", "model:driving@60s"), "downlink.mean_kbps=500")[0]
    assert cell.session.downlink.trace.mean_kbps == pytest.approx(500, rel=1e-4)
    assert cell.conditions["trace"] == "driving-synthetic-60s-0-mean500kbps"
    assert cell.inputs["trace"]["synthetic"] is True


def test_clips_with_a_form_of_their_own_meet_the_axes_once(write: Write) -> None:
    path = write(
        "clips: [some-clip]",
        "clips: [a, {source: b, fps: 25}]\nfps: [30, 60]\nwidth: 64\nheight: 36",
    )
    clips = [(c.session.clip.source, c.session.clip.fps) for c in cells_of(path, seeds=1)]
    assert list(dict.fromkeys(clips)) == [("a", 30), ("a", 60), ("b", 25)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[h264, h265]",
            "[h264, h277]",
            ":11: transports[1]: unknown transport 'h277'; known: aiortc-h264, aiortc-vp8, ",
        ),
        ("h265]", "{name: h265, concel: 1}]", ":11: transports[1]: transport h265: unknown option"),
        (
            "control: fixed",
            "control: magic",
            ":12: rate: unknown rate control 'magic'; known: bbr, fixed",
        ),
        ("kbps: 400", "kbps: 400, foo: 1", ":12: rate: rate control fixed: unknown option 'foo'"),
        ("droptail", "red", ":7: downlink.queue: unknown queue 'red'; known: "),
        ("bernoulli", "bernouli", ":9: downlink.loss[0]: unknown loss model 'bernouli'; known: "),
        (
            "bernoulli, rate: [0, 0.05]",
            "gilbert-elliott, rate: 0.9, mean_burst: 2",
            ":9: downlink.loss[0]: loss gilbert-elliott: rate 0.9 needs mean_burst >= ",
        ),
        (
            "constant:2000kbps",
            "nothing.txt",
            ":6: downlink.trace[0]: trace 'nothing.txt' is no file",
        ),
        ("constant:2000kbps", "empty.mahi", ":6: downlink.trace[0]: "),
        ("constant:2000kbps", "mahimahi:falling.mahi", ":6: downlink.trace[0]: "),
        ("some-clip", "missing", ":3: clips[0]: missing: no such clip"),
        (
            "seeds: [1, 2, 3]",
            "competing: {kind: media, control: magic}",
            ":13: competing: unknown rate control 'magic'; known: bbr, fixed",
        ),
        (
            "seeds: [1, 2, 3]",
            "compute: abacus",
            ":13: compute: unknown compute model 'abacus'; known: ",
        ),
        ("delay_ms: 50", "scale: 2\n  mean_kbps: 3", ":5: downlink: takes `scale` or `mean_kbps`"),
        ("delay_ms: 50", "delay_trace: {file: none.txt}", ":10: downlink.delay_trace: "),
        ("delay_ms: 50", "delay_trace: {file: bad.txt}", "bad.txt:2: 'x' is not a delay in ms"),
        (
            "    - {kind: bernoulli, rate: [0, 0.05]}",
            "    - {kind: mask, file: bad.txt}",
            ":9: downlink.loss[0]: loss mask ",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_with_file_line_and_field(
    write: Write, tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "empty.mahi").write_text("")
    (tmp_path / "falling.mahi").write_text("1\n5\n3\n")
    (tmp_path / "bad.txt").write_text("1\nx\n")
    path = write(old, new)
    with pytest.raises(InputError) as error:
        cells_of(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_a_decreasing_trace_names_the_line(write: Write, tmp_path: Path) -> None:
    (tmp_path / "falling.mahi").write_text("1\n5\n3\n")
    with pytest.raises(InputError, match=r"line 3.*must not decrease"):
        cells_of(write("constant:2000kbps", "mahimahi:falling.mahi"))


def test_the_simulator_gets_everything(write: Write) -> None:
    path = write("h265]", "{name: h265, conceal: true}]")
    cell: Any = cells_of(path, "playout.deadline_ms=250", "compute=rtx3090")[1]
    session = cell.session
    assert session.transport == "h265"
    assert dict(session.transport_options) == {"conceal": True}
    assert (session.playout_deadline_ms, session.compute, session.seed) == (250, "rtx3090", 1)
    assert (session.rate_control, dict(session.rate_options)) == ("fixed", {"kbps": 400})
    assert session.downlink.queue.packets == 60
    assert session.downlink.delay.delay_ms == 50
    assert session.keep_received is False


def test_clips_go_by_their_file_names_where_that_is_enough() -> None:
    from testbed.experiments.suite import short_names

    assert short_names({"bbb-720p", "/a/b/x.mp4"}) == {
        "bbb-720p": "bbb-720p",
        "/a/b/x.mp4": "x.mp4",
    }
    assert short_names({"/a/x.mp4", "/b/x.mp4"}) == {"/a/x.mp4": "/a/x.mp4", "/b/x.mp4": "/b/x.mp4"}


def test_the_mode_converts_a_trace_of_the_other_form(write: Write, tmp_path: Path) -> None:
    recorded = tmp_path / "link.mahimahi"
    recorded.write_text("\n".join(str(ms) for ms in range(6, 3001, 6)) + "\n")
    trace = f"downlink.trace={recorded}"
    (as_rate, *_) = cells_of(write(), trace, "downlink.mode=rate")
    assert isinstance(as_rate.session.downlink.trace, RateTrace)
    (as_it_is, *_) = cells_of(write(), trace)
    assert isinstance(as_it_is.session.downlink.trace, OpportunityTrace)
    (replayed, *_) = cells_of(
        write(), "downlink.trace=constant:2000kbps", "downlink.mode=opportunities"
    )
    assert isinstance(replayed.session.downlink.trace, OpportunityTrace)
    assert as_rate.run != as_it_is.run
