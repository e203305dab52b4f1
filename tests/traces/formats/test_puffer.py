"""Puffer's two forms and the megabyte trap."""

from pathlib import Path

import numpy as np
import pytest

from testbed.errors import TraceError
from testbed.network.trace import RateTrace
from testbed.traces.formats import detect, read_file
from testbed.traces.formats.puffer import looks_like_bytes

NAME = "traceA4wJZKt0htABFsQR+gGLafmXC41pphWoEUv671wp8vs=_16"
TWO_COLUMNS = "0.0\t7.328913\n2.0\t4.168876\n4.0\t4.168876\n7.0\t0.051234\n"
SENT_HEADER = (
    "time (ns GMT),session_id,index,expt_id,channel,video_ts,format,size,"
    "ssim_index,cwnd,in_flight,min_rtt,rtt,delivery_rate\n"
)
ACKED_HEADER = "time (ns GMT),session_id,index,expt_id,channel,video_ts,buffer,cum_rebuf\n"


def rates(path: Path, **options: str) -> RateTrace:
    trace = read_file(path, format_name="puffer", options=options)[1][0].trace
    assert isinstance(trace, RateTrace)
    return trace


def sent_row(time_s: float, session: str, video_ts: int, *, size=250_000, rtt=40_000, rate=1e6):
    return (
        f"{int(time_s * 1e9)},{session},0,7,abc,{video_ts},1280x720-22,{size},"
        f"0.97,100,0,{rtt // 2},{rtt},{rate}\n"
    )


def acked_row(time_s: float, session: str, video_ts: int):
    return f"{int(time_s * 1e9)},{session},0,7,abc,{video_ts},5.0,0.0\n"


def test_two_columns_are_megabytes_per_second_and_say_so(tmp_path):
    path = tmp_path / NAME
    path.write_text(TWO_COLUMNS)
    name, series = read_file(path)
    assert name == "puffer"
    trace = series[0].trace
    assert trace.rates_kbps[0] == pytest.approx(7.328913 * 8000)
    assert trace.durations_us.tolist() == [2_000_000, 2_000_000, 3_000_000, 2_000_000]
    assert "megabytes per second" in series[0].notes[0]


def test_an_explicit_unit_is_an_eighth_and_silent(tmp_path):
    path = tmp_path / NAME
    path.write_text(TWO_COLUMNS)
    _, series = read_file(path, options={"unit": "Mbps"})
    assert series[0].trace.rates_kbps[0] == pytest.approx(7328.913)
    assert series[0].notes == ()


def test_found_by_whole_bytes_without_the_name(tmp_path):
    assert detect(TWO_COLUMNS, tmp_path / "some.txt") == "puffer"
    # Pensieve's cooked traces carry more digits; integers are somebody's Mbit/s.
    assert detect("0.0\t0.299654253502\n2.7\t0.406229284904\n", Path("x")) == "pensieve"
    assert detect("0 65.0\n1 58.0\n", Path("x")) == "pensieve"
    assert not looks_like_bytes("0 1.25\n")


def test_of_samples_at_one_time_the_last_counts(tmp_path):
    path = tmp_path / NAME
    path.write_text("0\t1.111111\n0\t2.222222\n2\t3.333333\n")
    assert rates(path).rates_kbps.tolist() == pytest.approx([17777.776, 26666.664])


def test_a_long_silence_is_said(tmp_path):
    path = tmp_path / NAME
    path.write_text("0\t1.111111\n2\t1.111111\n90\t2.222222\n")
    notes = read_file(path)[1][0].notes
    assert any("30 s" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0\t1\n2\t3\n1\t4\n", "line 3: time goes back"),
        ("0\t1\n", "two samples at different times"),
        ("0\t1\nx\t2\n", "line 2: 'x\\t2' is not 2 numbers"),
        ("0\t1\n1\t2\t3\n", "line 2"),
        ("0\t-1\n1\t2\n", "must be finite and >= 0"),
        ("0\t0\n1\t0\n", "no capacity"),
    ],
)
def test_bad_two_columns(tmp_path, content, message):
    path = tmp_path / NAME
    path.write_text(content)
    with pytest.raises(TraceError, match=r".+") as caught:
        read_file(path, format_name="puffer")
    assert message in str(caught.value)


def test_video_sent_holds_delivery_rates_forward_by_stream(tmp_path):
    path = tmp_path / "video_sent.csv"
    rows = [sent_row(100 + 2 * k, "b/a=", 180180 * k, rate=1e6 * (k + 1)) for k in range(3)]
    other = [sent_row(101 + 2 * k, "c=", 180180 * k, rate=5e5) for k in range(2)]
    # Rows of several streams are mixed in the daily files.
    path.write_text(SENT_HEADER + rows[0] + other[0] + rows[1] + other[1] + rows[2])
    name, series = read_file(path)
    assert name == "puffer"
    assert [part.segment for part in series] == ["b-a=_0", "c=_0"]
    first = series[0].trace
    assert first.rates_kbps.tolist() == [8000.0, 16000.0, 24000.0]  # bytes/s * 8 / 1000
    assert first.durations_us.tolist() == [2_000_000] * 3
    assert len(read_file(path, options={"stream": "c=_0"})[1]) == 1


def test_a_silence_cuts_a_stream(tmp_path):
    path = tmp_path / "video_sent.csv"
    times = [0, 2, 4, 100, 102]
    path.write_text(SENT_HEADER + "".join(sent_row(t, "s", k) for k, t in enumerate(times)))
    assert [part.segment for part in read_file(path)[1]] == ["s_0.0", "s_0.1"]
    assert len(read_file(path, options={"max_gap_s": "200"})[1]) == 1


def test_joined_with_acked_it_is_size_over_transmission_time(tmp_path):
    sent, acked = tmp_path / "sent.csv", tmp_path / "acked.csv"
    # 250 kB in 0.52 s, of which 20 ms are min_rtt: 2 Mbit / 0.5 s. RTT 40 ms.
    times = [0.0, 2.0, 4.0]
    took = [0.52, 0.52, 0.1]  # the last is under three RTTs and left out
    sent.write_text(SENT_HEADER + "".join(sent_row(t, "s", k) for k, t in enumerate(times)))
    acked.write_text(
        ACKED_HEADER
        + "".join(
            acked_row(t + d, "s", k) for k, (t, d) in enumerate(zip(times, took, strict=True))
        )
        + acked_row(9, "somebody else", 0)
    )
    trace = rates(sent, acked="acked.csv")
    assert trace.rates_kbps == pytest.approx(np.array([4000.0, 4000.0]))
    assert trace.durations_us.tolist() == [2_000_000, 2_000_000]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (SENT_HEADER, {}, "no rows"),
        ("session_id,video_ts\n1,2\n", {}, "no column index"),
        (SENT_HEADER + sent_row(0, "s", 1, rate="x"), {}, "line 2: delivery_rate is 'x'"),
        (SENT_HEADER + sent_row(0, "s", 1), {}, "two chunks"),
        (SENT_HEADER + sent_row(0, "s", 1), {"stream": "t_0"}, "no stream t_0"),
        (SENT_HEADER + sent_row(0, "s", 1), {"acked": "nowhere.csv"}, "acked=nowhere.csv"),
        (SENT_HEADER + sent_row(0, "s", 1), {"max_gap_s": "-1"}, "max_gap_s"),
        (SENT_HEADER + sent_row(0, "s", 1), {"carrier": "x"}, "no option 'carrier'"),
    ],
)
def test_bad_csv(tmp_path, content, options, message):
    path = tmp_path / "video_sent.csv"
    path.write_text(content)
    with pytest.raises(TraceError) as caught:
        read_file(path, format_name="puffer", options=options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
