"""Pensieve, NYU-METS, 5Gophers and plain CSV."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import TraceError
from testbed.network.trace import OpportunityTrace, RateTrace
from testbed.traces.formats import read_file, write_text


def write(tmp_path, content, name="trace.txt"):
    path = tmp_path / name
    path.write_text(content, newline="")
    return path


def only(path, format_name=None, **options):
    series = read_file(path, format_name=format_name, options=options)[1]
    assert len(series) == 1
    return series[0]


def test_pensieve_value_covers_the_interval_before_it(tmp_path):
    # Sabre's samples (1001 ms, 1116) and (1018 ms, 1249.62), cooked.
    path = write(tmp_path, "1.001\t1.116\r\n2.019\t1.24962\r\n")
    trace = only(path).trace
    assert read_file(path)[0] == "pensieve"
    assert trace.durations_us.tolist() == [1_001_000, 1_018_000]
    assert trace.rates_kbps.tolist() == pytest.approx([1116.0, 1249.62])


def test_pensieve_first_row_at_zero_covers_nothing(tmp_path):
    trace = only(write(tmp_path, "0 65.0\n1 58.0\n2 61.0\n")).trace
    assert trace.durations_us.tolist() == [1_000_000, 1_000_000]
    assert trace.rates_kbps.tolist() == [58_000.0, 61_000.0]


def test_pensieve_round_trip(tmp_path):
    trace = RateTrace(np.array([1_001_000, 7]), np.array([1116.0, 0.0]))
    back = only(write(tmp_path, write_text(trace, "pensieve")), "pensieve").trace
    assert back.durations_us.tolist() == trace.durations_us.tolist()
    assert back.rates_kbps.tolist() == pytest.approx(trace.rates_kbps.tolist())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("-1 5\n2 5\n", "time is negative"),
        ("1 5\n3 5\n2 5\n", "line 3: time goes back"),
        ("0 5\n", "empty"),
        ("1 nan\n", "line 1"),
        ("\n", "empty"),
    ],
)
def test_pensieve_refuses(tmp_path, content, message):
    with pytest.raises(TraceError) as caught:
        read_file(write(tmp_path, content), format_name="pensieve")
    assert message in str(caught.value)


def test_nyumets_units_and_noise(tmp_path):
    content = (
        "Value,Unit\r\n4.09,Mbits/sec,,,\r\n791,Kbits/sec\r\nthe,connection\r\n0,bits/sec\r\n"
        "1.5,Gbits/sec\r\n65.1,Kbits/sec\r\n"
    )
    path = write(tmp_path, content)
    assert read_file(path)[0] == "nyumets"
    series = only(path)
    assert series.trace.rates_kbps.tolist() == pytest.approx([4090, 791, 0, 1_500_000, 65.1])
    assert series.notes == ("2 lines without a report skipped",)
    with pytest.raises(TraceError, match=r"no line of the form"):
        read_file(write(tmp_path, "nothing\n"), format_name="nyumets")


GOPHERS = (
    "protocol,num_tcp_conn,seq_num,Sprint_throughput_mbps,TMobile_throughput_mbps\n"
    "TCP,8,0,25.5,145.0\nTCP,8,1,65.0,87.0\n"
)


def test_5gophers_has_a_series_a_carrier(tmp_path):
    path = write(tmp_path, GOPHERS)
    name, series = read_file(path)
    assert name == "5gophers"
    assert [part.segment for part in series] == ["Sprint", "TMobile"]
    assert only(path, carrier="tmobile").trace.rates_kbps.tolist() == [145_000.0, 87_000.0]
    with pytest.raises(TraceError, match=r"not one of Sprint, TMobile"):
        read_file(path, options={"carrier": "Verizon"})


def test_5gophers_walking_has_one_series(tmp_path):
    path = write(tmp_path, "protocol,num_tcp_conn,seq_num,throughput_mbps\nTCP,8,1,92.1\n")
    assert only(path).segment == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "no column ends with throughput_mbps"),
        (GOPHERS + "TCP,8,2,x,1\n", "line 4: no number in column 4"),
        (GOPHERS + "TCP\n", "line 4"),
        (GOPHERS + "TCP,8,2,-1,1\n", "must be finite and >= 0"),
    ],
)
def test_5gophers_refuses(tmp_path, content, message):
    with pytest.raises(TraceError) as caught:
        read_file(write(tmp_path, content), format_name="5gophers")
    assert message in str(caught.value)


def test_csv_recognises_columns_and_drops_positions(tmp_path):
    content = "time_s,lat,lon,rate_mbps\n10,59.9,10.7,1.5\n11.5,59.8,10.6,3\n13,59.7,10.5,2\n"
    path = write(tmp_path, content, "drive.csv")
    assert read_file(path)[0] == "csv"
    series = only(path)
    assert series.trace.durations_us.tolist() == [1_500_000] * 3
    assert series.trace.rates_kbps.tolist() == [1500.0, 3000.0, 2000.0]
    assert series.notes == ("columns left out: lat, lon",)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("duration_ms;capacity_kbps\n1000;500\n1000;700\n", {}),
        ("t,bw\n0,0.5\n1,0.7\n", {"rate": "bw", "unit": "Mbps", "time": "t"}),
        (
            "ms,bw\n1000,500\n1000,700\n",
            {"rate": "bw", "unit": "kbps", "duration": "ms", "time_unit": "ms"},
        ),
        ("bw\n500\n700\n", {"rate": "bw", "unit": "kbps", "step_s": "1"}),
        ("Timestamp,Bandwidth (kbit/s)\n1e9,500\n1000000001,700\n", {}),
    ],
)
def test_csv_ways_to_say_the_same(tmp_path, content, options):
    trace = only(write(tmp_path, content, "x.csv"), "csv", **options).trace
    assert trace.durations_us.tolist() == [1_000_000, 1_000_000]
    assert trace.rates_kbps.tolist() == [500.0, 700.0]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("time_s,x\n0,1\n", {}, "no single rate column among time_s, x"),
        ("time_s,rate\n0,1\n1,1\n", {}, "does not tell its unit"),
        ("rate_kbps\n1\n", {}, "no time column"),
        ("time_s,rate_kbps\n0,1\n1,x\n", {}, "line 3: no number in column 'rate_kbps'"),
        ("time_s,rate_kbps\n0,1\n1,inf\n", {}, "line 3: rate_kbps is 'inf'"),
        ("time_s,rate_kbps\n0,1\n1,-5\n", {}, "must be finite and >= 0"),
        ("time_s,rate_kbps\n5,1\n1,1\n", {}, "line 3: time goes back"),
        ("duration_s,rate_kbps\n-5,1\n", {}, "line 2: duration is negative"),
        ("time_s,rate_kbps\n", {}, "at least two samples"),
        ("duration_s,rate_kbps\n", {}, "empty"),
        ("time_s,rate_kbps\n0,1\n", {"rate": "z"}, "the columns are time_s, rate_kbps"),
        ("time_s,rate_kbps\n0,1\n", {"unit": "furlongs"}, "unknown rate unit"),
        ("time_s,rate_kbps\n0,1\n", {"time": "time_s", "time_unit": "d"}, "unknown time unit"),
        ("time_s,rate_kbps\n0,1\n", {"step_s": "zero"}, "step_s"),
        ("", {}, "empty"),
    ],
)
def test_csv_refuses(tmp_path, content, options, message):
    with pytest.raises(TraceError) as caught:
        read_file(write(tmp_path, content, "x.csv"), format_name="csv", options=options)
    assert message in str(caught.value)


rate_traces = st.lists(
    st.tuples(st.integers(1, 10**9), st.floats(0, 1e8, allow_nan=False)), min_size=1, max_size=20
).filter(lambda parts: any(rate > 0 for _, rate in parts))


@given(rate_traces)
@settings(deadline=None)
def test_csv_export_reads_back_digit_for_digit(tmp_path_factory, parts):
    trace = RateTrace(
        np.array([d for d, _ in parts], dtype=np.int64), np.array([r for _, r in parts])
    )
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_text(write_text(trace, "csv"))
    name, series = read_file(path)
    assert name == "csv"
    back = series[0].trace
    assert back.durations_us.tolist() == trace.durations_us.tolist()
    assert back.rates_kbps.tolist() == trace.rates_kbps.tolist()


def test_opportunities_are_binned_for_a_format_of_rates(tmp_path):
    trace = OpportunityTrace(np.array([0, 1, 1000, 1001, 2500]))
    path = write(tmp_path, write_text(trace, "csv"), "x.csv")
    back = only(path).trace
    assert back.durations_us.tolist() == [1_000_000, 1_000_000, 500_000]
    # (0, 1 s] holds three, 1001 ms is in the second second, the last in the half.
    assert back.rates_kbps.tolist() == pytest.approx([3 * 12.032, 12.032, 2 * 12.032])


def test_nothing_known_lists_the_formats(tmp_path):
    with pytest.raises(TraceError, match=r"one of 5gophers, alphartc, csv"):
        read_file(write(tmp_path, "hello\nworld\n"))
