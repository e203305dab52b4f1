"""What the sender makes of arrival reports."""

from hypothesis import given
from hypothesis import strategies as st

from testbed.protocol.rtcp import CongestionFeedback
from testbed.protocol.rtcp.congestion import RECEIVED, FeedbackBlock
from testbed.transports.morphe.losses import LossLedger

SSRC = 10
ROWS = 6


def ledger(gops: int = 3) -> LossLedger:
    """Three packets a GoP, two rows each."""
    made = LossLedger(SSRC)
    for number in range(3 * gops):
        rows = range(number % 3, ROWS, 3)
        made.on_sent(number, gop=number // 3, rows=rows, of_rows=ROWS)
    return made


def feedback(begin: int, came: str, *, ssrc: int = SSRC) -> CongestionFeedback:
    words = tuple(RECEIVED if one == "x" else 0 for one in came)
    return CongestionFeedback(1, 0, (FeedbackBlock(ssrc, begin & 0xFFFF, words),))


def rows(*missing: int) -> tuple[bool, ...]:
    return tuple(row in missing for row in range(ROWS))


def test_a_packet_is_lost_when_three_later_ones_came() -> None:
    made = ledger()
    made.on_feedback(feedback(0, "x.xx"))
    assert made.take() == []
    made.on_feedback(feedback(0, "x.xxx"))
    assert made.take() == [(0, rows(1, 4))]
    made.on_feedback(feedback(0, "x.xxxxxxx"))
    assert made.take() == []  # told once


def test_a_late_packet_is_not_lost() -> None:
    made = ledger()
    made.on_feedback(feedback(0, "x.xxx"))
    made.on_feedback(feedback(0, "xxxxx"))
    assert made.take() == []


def test_a_gop_of_which_nothing_came() -> None:
    made = ledger()
    made.on_feedback(feedback(0, "xxx...xxx"))
    assert made.take() == [(1, None)]


def test_a_repair_that_came_takes_the_loss_back() -> None:
    made = ledger()
    made.on_feedback(feedback(0, "..xxx"))
    made.on_repaired(0, 1)
    made.on_feedback(feedback(0, "x", ssrc=SSRC + 1))
    assert made.take() == [(0, rows(0, 3))]


def test_numbers_wrap() -> None:
    made = LossLedger(SSRC)
    for number in range(65_530, 65_545):
        made.on_sent(number, gop=number // 15, rows=[number % 15], of_rows=15)
    made.on_repaired(70, 65_538 & 0xFFFF)
    made.on_feedback(feedback(65_534, "xxx..xxxx"))
    made.on_feedback(feedback(70, "x", ssrc=SSRC + 1))
    assert [gop for gop, _ in made.take()] == [65_537 // 15]


@given(st.integers(0, 65_535), st.text(alphabet="x.", max_size=40), st.integers(SSRC, SSRC + 2))
def test_any_report_is_taken(begin: int, came: str, ssrc: int) -> None:
    made = ledger()
    made.on_repaired(3, 2)
    made.on_feedback(feedback(begin, came, ssrc=ssrc))
    for gop, missing in made.take():
        assert 0 <= gop < 3
        assert missing is None or len(missing) == ROWS


def test_memory_is_bounded() -> None:
    made = LossLedger(SSRC)
    for number in range(10_000):
        made.on_sent(number, gop=number // 3, rows=[0], of_rows=1)
        made.on_repaired(number, number)
    assert max(len(made._sent), len(made._rows), len(made._repairs)) <= 4097
