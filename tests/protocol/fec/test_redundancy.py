import pytest
from scipy.stats import binom

from testbed.errors import LocalProtocolError
from testbed.protocol.fec.redundancy import (
    FIRST_LOSS,
    AdaptiveShare,
    FixedShare,
    LossEstimate,
    block_failure,
    rows_needed,
)

MS = 1_000_000


@pytest.mark.parametrize("sources", [1, 2, 7, 40, 128])
@pytest.mark.parametrize("loss", [0.0, 0.01, 0.1, 0.25, 1.0])
def test_block_failure_is_scipys_binomial_tail(sources: int, loss: float) -> None:
    for rows in (0, 1, 5, 20):
        expected = binom.sf(rows, sources + rows, loss)
        assert block_failure(sources, rows, loss) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("sources", [1, 3, 10, 60])
@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3])
def test_the_least_number_of_rows_that_does(sources: int, loss: float) -> None:
    rows = rows_needed(sources, loss, 0.01, 127)
    assert binom.sf(rows, sources + rows, loss) <= 0.01
    assert rows == 0 or binom.sf(rows - 1, sources + rows - 1, loss) > 0.01
    assert rows_needed(sources, loss, 0.01, 1) <= 1


def test_a_longer_block_needs_a_smaller_share() -> None:
    shares = [rows_needed(k, 0.1, 0.01, 127) / k for k in (2, 8, 32, 128)]
    assert shares == sorted(shares, reverse=True)


def test_a_fixed_share_is_kept_over_blocks_too_short_for_it() -> None:
    share = FixedShare(1 / 3)
    assert [share.rows(1) for _ in range(9)] == [0, 0, 1] * 3
    assert sum(FixedShare(0.2).rows(k) for k in [10] * 5) == 10


def adaptive(loss: float, **options: float) -> AdaptiveShare:
    estimate = LossEstimate()
    estimate.on_report(loss, now_ns=0)
    return AdaptiveShare(estimate, **{"residual": 0.01, "most_share": 1.0, **options})


def test_adaptive_follows_the_reports() -> None:
    loss = LossEstimate()
    share = AdaptiveShare(loss, residual=0.01, most_share=1.0)
    assert loss.share == FIRST_LOSS
    first = share.rows(10)
    loss.on_report(0.2, now_ns=0)
    assert loss.share == 0.2
    assert share.rows(10) > first > 0
    for report in range(1, 200):
        loss.on_report(0.0, now_ns=report * 100 * MS)
    assert share.rows(10) == 0


def test_loss_is_smoothed_over_two_seconds() -> None:
    loss = LossEstimate()
    loss.on_report(0.0, now_ns=0)
    for report in range(1, 21):
        loss.on_report(0.1, now_ns=report * 100 * MS)
    assert loss.share == pytest.approx(0.1 * (1 - 2.718281828**-1))
    assert loss.rounded == pytest.approx(17 / 256)


def test_the_share_to_expect_is_what_blocks_get() -> None:
    assert FixedShare(0.3).share(5) == 0.3
    share = adaptive(0.1)
    assert share.share(10) == share.rows(10) / 10
    assert adaptive(0.0).share(10) == 0.0


def test_more_packets_than_a_block_may_have_are_several_blocks() -> None:
    share = adaptive(0.25)
    assert share.share(2000) == share.share(128) > 0.25


def test_adaptive_is_clipped() -> None:
    assert adaptive(1.0, residual=0.001, most_share=0.5).rows(10) == 5


def test_a_part_of_a_block_gets_its_part_of_the_rows() -> None:
    share = adaptive(0.1)
    needed = rows_needed(40, 26 / 256, 0.01, 40)
    assert sum(share.rows(10, block=40) for _ in range(4)) == needed


@pytest.mark.parametrize("share", [0.0, -1.0, float("inf"), float("nan")])
def test_a_share_is_positive(share: float) -> None:
    with pytest.raises(LocalProtocolError, match="share of repair packets"):
        FixedShare(share)


@pytest.mark.parametrize(("residual", "most"), [(0.0, 1.0), (1.0, 1.0), (0.1, 0.0)])
def test_adaptive_refuses(residual: float, most: float) -> None:
    with pytest.raises(LocalProtocolError, match="residual loss"):
        AdaptiveShare(LossEstimate(), residual=residual, most_share=most)
