"""The hybrid loss policy as a table."""

import pytest

from morphe_core.errors import CodecConfigError
from morphe_core.nasc.loss_policy import Action, LossPolicy, Situation, decide

MS = 1_000_000
DECODE, ASK, WAIT = Action.DECODE, Action.ASK, Action.WAIT
PLAIN = LossPolicy()


def situation(
    missing: int, *, tokens: int = 12, left_ms: int = 300, asked: bool = False, overdue_ms: int = 0
) -> Situation:
    return Situation(
        tokens=tokens,
        missing=range(100, 100 + missing),
        round_trip_ns=100 * MS,
        left_ns=left_ms * MS,
        asked=asked,
        overdue_in_ns=overdue_ms * MS,
    )


@pytest.mark.parametrize(
    ("case", "policy", "expected"),
    [
        # Nothing is missing, a little, exactly half (not more than half), more, everything.
        (situation(0), PLAIN, DECODE),
        (situation(1), PLAIN, DECODE),
        (situation(6), PLAIN, DECODE),
        (situation(7), PLAIN, ASK),
        (situation(12), PLAIN, ASK),
        # An answer takes 100 ms.
        (situation(7, left_ms=100), PLAIN, ASK),
        (situation(7, left_ms=99), PLAIN, DECODE),
        (situation(7, left_ms=-5), PLAIN, DECODE),
        # Once asked, wait for all answers until they are overdue or the GoP is due.
        (situation(7, asked=True, overdue_ms=80), PLAIN, WAIT),
        (situation(3, asked=True, overdue_ms=80), PLAIN, WAIT),
        (situation(0, asked=True, overdue_ms=80), PLAIN, DECODE),
        (situation(7, asked=True, overdue_ms=0), PLAIN, DECODE),
        (situation(7, asked=True, overdue_ms=80, left_ms=0), PLAIN, DECODE),
        # Thresholds: always, a quarter, never; and no retransmission at all.
        (situation(1), LossPolicy(0.0), ASK),
        (situation(0), LossPolicy(0.0), DECODE),
        (situation(3), LossPolicy(0.25), DECODE),
        (situation(4), LossPolicy(0.25), ASK),
        (situation(12), LossPolicy(1.0), DECODE),
        (situation(12), LossPolicy(0.0, retransmission=False), DECODE),
        # The smallest GoP.
        (situation(1, tokens=1), PLAIN, ASK),
    ],
)
def test_the_table(case: Situation, policy: LossPolicy, expected: Action) -> None:
    decision = decide(case, policy)
    assert decision.action is expected
    assert decision.ask == (tuple(case.missing) if expected is ASK else ())


def test_what_hurts_most_is_asked_for_first() -> None:
    case = Situation(tokens=4, missing=[7, 9, 8], round_trip_ns=1, left_ns=1)
    assert decide(case, PLAIN).ask == (7, 9, 8)


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_is_a_share(threshold: float) -> None:
    with pytest.raises(CodecConfigError, match="threshold"):
        LossPolicy(threshold)
