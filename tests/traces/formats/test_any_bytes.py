"""Whatever a file holds, a format gives a trace or one clear line."""

import gzip

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from testbed.errors import TraceError
from testbed.network.trace import RateTrace
from testbed.traces.formats import FORMATS, read_file, write_text

FRAGMENTS = [
    "0", "1", "-1", "1e308", "1e-320", "nan", "inf", "2.5", " ", "\t", "\n", "\r\n", ",", ";",
    "Mbits/sec", "bits/sec", '"', "[", "]", "{", "}", ":", '"bandwidth_kbps"', '"duration_ms"',
    '"uplink"', '"trace_pattern"', '"capacity"', '"duration"', "time_s", "rate_kbps", "duration_us",
    "time (ns GMT)", "session_id", "index", "video_ts", "delivery_rate", "throughput_mbps",
    "num_tcp_conn", "99999999999999999999", "\x00", "\ufeff", "é", "1_0", "\x1c", "\x85",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "file"


def gives_a_trace_or_one_line(place, data, format_name):
    place.write_bytes(data)
    message, series = "", []
    try:
        _, series = read_file(place, format_name=format_name)
    except TraceError as error:
        message = str(error)
    assert bool(message) != bool(series)
    assert "\n" not in message
    assert message.startswith(str(place) if message else "")
    for part in series:
        assert part.trace.mean_kbps > 0


@pytest.mark.parametrize("format_name", [None, *FORMATS.names()])
@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_bytes(place, format_name, data):
    gives_a_trace_or_one_line(place, data, format_name)


@pytest.mark.parametrize("format_name", [None, *FORMATS.names()])
@given(parts=st.lists(st.sampled_from(FRAGMENTS), max_size=40))
@example(parts=["0", "\t", "1e308", "\n", "1", "\t", "1", "\n"])
@example(parts=["1e308", "\t", "1", "\n"])
@settings(max_examples=150, deadline=None)
def test_text_that_is_nearly_right(place, format_name, parts):
    gives_a_trace_or_one_line(place, "".join(parts).encode(), format_name)


def test_gzip_is_unpacked_and_broken_gzip_is_one_line(tmp_path):
    path = tmp_path / "link.down.gz"
    path.write_bytes(gzip.compress(b"1\n2\n"))
    assert read_file(path)[0] == "mahimahi"
    path.write_bytes(gzip.compress(b"1\n2\n")[:-4])
    with pytest.raises(TraceError, match=r"cannot be read"):
        read_file(path)


def test_missing_folder_and_binary(tmp_path):
    with pytest.raises(TraceError, match=r"cannot be read \(No such file or directory\)"):
        read_file(tmp_path / "nothing")
    with pytest.raises(TraceError, match=r"cannot be read"):
        read_file(tmp_path)
    path = tmp_path / "picture"
    path.write_bytes(b"12\n\xff\xfe")
    with pytest.raises(TraceError, match=r"not a text file \(byte 3\)"):
        read_file(path)


def test_unknown_and_read_only_formats():
    trace = RateTrace(np.array([1]), np.array([1.0]))
    with pytest.raises(TraceError, match=r"unknown trace format 'x'; known: 5gophers"):
        write_text(trace, "x")
    with pytest.raises(TraceError, match=r"only read; writable: alphartc, csv, mahimahi, pensieve"):
        write_text(trace, "sabre")
