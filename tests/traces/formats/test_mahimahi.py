"""mahimahi traces: what mm-link takes (F14) and what we refuse beyond it."""

from pathlib import Path

import numpy as np
import pytest

from testbed.errors import TraceError
from testbed.network.trace import OpportunityTrace, RateTrace
from testbed.traces.formats import detect, read_file, write_text


def read(tmp_path: Path, content: str) -> OpportunityTrace:
    path = tmp_path / "link.down"
    path.write_text(content, newline="")
    name, series = read_file(path)
    assert name == "mahimahi"
    assert len(series) == 1
    trace = series[0].trace
    assert isinstance(trace, OpportunityTrace)
    return trace


@pytest.mark.parametrize(
    ("content", "times"),
    [
        ("1\n", [1]),
        ("1", [1]),  # the final newline is optional
        ("0\n10\n", [0, 10]),
        ("5\n5\n5\n", [5, 5, 5]),  # equal times are several opportunities
        ("  3\n 4\n", [3, 4]),  # leading blanks
    ],
)
def test_accepts_what_mm_link_accepts(tmp_path, content, times):
    assert read(tmp_path, content).times_ms.tolist() == times


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n", "empty"),
        ("1\n\n2\n", "line 2 is blank"),
        ("1\n2\n\n", "line 3 is blank"),
        ("1\n3\n2\n", "line 3 is 2 after 3"),
        ("0\n", "ends at 0 ms"),
        ("1 \n2\n", "line 1: '1 ' has a trailing blank"),
        ("1\r\n2\r\n", "line 1 ends with CR"),
        ("-1\n", "line 1 is negative"),
        ("1\n2.5\n", "'2.5' is not an integer"),
        ("1\n# comment\n", "'# comment' is not an integer"),
        ("99999999999999999999\n", "not an integer"),
        ("1\n9999999999999\n", "100 days"),
    ],
)
def test_refuses_with_one_line_that_names_file_and_line(tmp_path, content, message):
    path = tmp_path / "link.down"
    path.write_text(content, newline="")
    with pytest.raises(TraceError) as caught:
        read_file(path, format_name="mahimahi")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_negative_line_is_detected_as_mahimahi_and_then_refused():
    assert detect("-1\n", Path("x")) == "mahimahi"


def test_round_trip_is_the_same_file(tmp_path):
    content = "0\n3\n3\n17\n"
    assert write_text(read(tmp_path, content), "mahimahi") == content


def test_export_of_a_rate_carries_the_remainder():
    # 12032 kbit/s is one opportunity a millisecond.
    trace = RateTrace(np.array([4000]), np.array([12032.0]))
    assert write_text(trace, "mahimahi") == "1\n2\n3\n4\n"
    # Half of it: one every other millisecond, also across a segment boundary.
    trace = RateTrace(np.array([3000, 5000]), np.array([6016.0, 6016.0]))
    assert write_text(trace, "mahimahi") == "2\n4\n6\n8\n"
