from __future__ import annotations

import pytest

from testbed.errors import LocalProtocolError
from testbed.protocol.session.timeouts import Retry, Timeouts


@pytest.mark.parametrize(
    "durations",
    [
        {"first_ns": 0},
        {"phase_ns": -1},
        {"idle_ns": 0},
        {"sync_spacing_ns": 0},
        {"first_ns": 2, "longest_ns": 1},
    ],
)
def test_impossible_durations_are_refused(durations: dict[str, int]) -> None:
    with pytest.raises(LocalProtocolError, match="impossible durations"):
        Timeouts(**durations)


def test_a_question_waits_twice_as_long_each_time() -> None:
    retry = Retry(Timeouts(first_ns=3, longest_ns=20, phase_ns=100))
    assert (retry.due_ns, retry.deadline_ns) == (None, None)
    retry.begin(now_ns=1000)
    dues = []
    for _ in range(6):
        assert retry.due_ns is not None
        dues.append(retry.due_ns)
        retry.again(now_ns=retry.due_ns)
    assert dues == [1003, 1009, 1021, 1041, 1061, 1081]
    assert retry.deadline_ns == 1100
    retry.stop()
    assert (retry.due_ns, retry.deadline_ns) == (None, None)


def test_after_a_pause_it_starts_over_within_the_phase() -> None:
    retry = Retry(Timeouts(first_ns=4, longest_ns=16, phase_ns=100, sync_spacing_ns=7))
    retry.begin(now_ns=0)
    retry.again(now_ns=4)
    retry.pause(now_ns=10)
    assert retry.due_ns == 17
    retry.again(now_ns=17)
    assert retry.due_ns == 21
    retry.again(now_ns=21)
    assert retry.due_ns == 29
    assert retry.deadline_ns == 100


def test_staying_alive_has_a_pace_and_no_end() -> None:
    retry = Retry(Timeouts(first_ns=4, longest_ns=16))
    retry.keep_alive(now_ns=0)
    assert (retry.due_ns, retry.deadline_ns) == (16, None)
    retry.again(now_ns=16)
    assert retry.due_ns == 32
