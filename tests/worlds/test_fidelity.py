"""The comparison of the simulated link with mm-link: what it accepts, and what it must not."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import InputError
from testbed.network.trace import OpportunityTrace
from testbed.worlds.fidelity import check_log, compare, read_log

GOLDEN = Path(__file__).parents[1] / "golden" / "mahimahi"
LOG = GOLDEN / "steps-1.down.log.gz"  # droptail packets=10


@pytest.fixture
def steps() -> OpportunityTrace:
    return OpportunityTrace(np.loadtxt(GOLDEN / "steps.trace", dtype=np.int64))


def test_queue_comes_from_the_header_or_the_user(steps: OpportunityTrace) -> None:
    result = check_log(LOG, steps, queue=None)
    assert result.queue == "droptail:packets=10"
    assert result.direction == "down"
    assert result.equal == result.departures > 500
    assert result.differences == ()
    assert check_log(LOG, steps, queue="droptail:packets=10").differences == ()


def test_another_queue_differs_and_says_where(steps: OpportunityTrace) -> None:
    result = check_log(LOG, steps, queue="droptail:packets=9")
    assert 0 < result.equal < result.departures
    assert len(result.differences) == 1
    assert result.differences[0].startswith(f"departure {result.equal + 1} of {result.departures}")


def test_another_trace_differs_in_its_opportunities(steps: OpportunityTrace) -> None:
    shifted = OpportunityTrace(steps.times_ms + 1)
    result = check_log(LOG, shifted, queue=None)
    assert [line.split()[0] for line in result.differences] == ["departure", "opportunity"]


@pytest.mark.parametrize("field", ["time", "size", "delay"])
def test_a_single_changed_departure_is_noticed(
    field: str, steps: OpportunityTrace, tmp_path: Path
) -> None:
    lines = gzip.decompress(LOG.read_bytes()).decode().splitlines()
    # The last one, so that its time can move without passing the next line's.
    at = max(n for n, line in enumerate(lines) if " - " in line)
    time, _, size, delay = lines[at].split()
    values = {"time": int(time), "size": int(size), "delay": int(delay)}
    values[field] += 1
    lines[at] = "{time} - {size} {delay}".format(**values)
    changed = tmp_path / "changed.log"
    changed.write_text("\n".join(lines))
    (difference,) = check_log(changed, steps, queue=None).differences
    assert difference.startswith("departure 686 of 686")


def test_a_missing_departure_is_noticed(steps: OpportunityTrace) -> None:
    log = read_log(LOG)
    del log.departures[-1]
    queue = log.queue
    assert queue is not None
    number, last = len(log.departures) + 1, read_log(LOG).departures[-1]
    (difference,) = compare(log, steps, queue, name="log").differences
    assert difference == f"departure {number} of {number - 1}: mm-link nothing, simulated {last}"


def test_log_without_a_queue_needs_one(steps: OpportunityTrace, tmp_path: Path) -> None:
    text = gzip.decompress(LOG.read_bytes()).decode()
    bare = tmp_path / "bare.log"
    bare.write_text("\n".join(x for x in text.splitlines() if not x.startswith("# queue")))
    with pytest.raises(InputError, match=r"bare.log: names no queue .* --queue"):
        check_log(bare, steps, queue=None)
    assert check_log(bare, steps, queue="droptail:packets=10").differences == ()


def test_unreadable_logs_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.log: No such file"):
        read_log(tmp_path / "none.log")
    broken = tmp_path / "broken.log.gz"
    broken.write_bytes(b"not gzip")
    with pytest.raises(InputError, match=r"broken.log.gz: is not a readable mm-link log"):
        read_log(broken)
    cut = tmp_path / "cut.log.gz"
    cut.write_bytes(LOG.read_bytes()[:100])
    with pytest.raises(InputError, match=r"cut.log.gz: is not a readable mm-link log"):
        read_log(cut)
    binary = tmp_path / "binary.log"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"binary.log: is not a readable mm-link log"):
        read_log(binary)
