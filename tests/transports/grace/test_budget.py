"""The byte budget of each picture."""

from __future__ import annotations

import pytest

from testbed.transports.grace.budget import CREDIT_S, PictureBudget


def test_what_is_spent_as_budgeted_meets_the_rate() -> None:
    budget = PictureBudget(400.0, 30.0)
    total = budget.key(6.0)
    budget.spent(total)
    budget.passed()
    for _ in range(299):
        wanted = budget.next()
        total += wanted
        budget.spent(wanted)
        budget.passed()
    assert total * 8 / 10 / 1e3 == pytest.approx(400.0, rel=0.005)


def test_an_encoder_that_always_takes_less_still_comes_near() -> None:
    budget = PictureBudget(400.0, 30.0)
    total = 0
    for _ in range(300):
        taken = round(0.93 * budget.next())
        total += taken
        budget.spent(taken)
        budget.passed()
    assert total * 8 / 10 / 1e3 == pytest.approx(400.0, rel=0.015)


def test_credit_of_a_still_scene_is_bounded() -> None:
    budget = PictureBudget(400.0, 30.0)
    for _ in range(100):
        budget.passed()
    extra = 0
    worth = 400e3 / 8 / 30
    for _ in range(30):
        wanted = budget.next()
        extra += wanted - worth
        budget.spent(wanted)
        budget.passed()
    assert extra <= CREDIT_S * 400e3 / 8 * 1.01


def test_an_intra_picture_never_gets_less_than_its_time_is_worth() -> None:
    budget = PictureBudget(240.0, 30.0)
    assert budget.key(6.0) == 6000
    budget.spent(50_000)
    assert budget.key(6.0) == 1000
