from __future__ import annotations

import pytest

from testbed.errors import ScenarioError, UnknownNameError
from testbed.protocol.congestion import CONTROLLERS, FixedRate, OracleRate

SECOND = 10**9


def test_fixed_never_moves() -> None:
    controller = CONTROLLERS.get("fixed")(kbps=400)
    assert [controller.target_kbps(now_ns=t) for t in (0, SECOND)] == [400.0, 400.0]
    controller.on_feedback(None, now_ns=0)
    assert controller.target_kbps(now_ns=2 * SECOND) == 400.0
    assert controller.state == "fixed"


def test_the_oracle_follows_the_capacity() -> None:
    controller = CONTROLLERS.get("oracle")(
        capacity_kbps=lambda now_ns: 200.0 + 100 * (now_ns // SECOND),
        factor=0.5,
        min_kbps=120,
        max_kbps=240,
    )
    targets = [controller.target_kbps(now_ns=t * SECOND) for t in range(5)]
    assert targets == [120, 150, 200, 240, 240]
    controller.on_feedback(None, now_ns=0)
    assert controller.state == "oracle"


def test_an_outage_does_not_stop_the_oracle() -> None:
    controller = OracleRate(capacity_kbps=lambda _: 0.0)
    assert controller.target_kbps(now_ns=0) == 50.0


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="bbr, fixed, gcc, oracle"):
        CONTROLLERS.get("psychic")


@pytest.mark.parametrize("kbps", [0, -1, float("nan"), float("inf")])
def test_a_bad_rate_names_its_field(kbps: float) -> None:
    with pytest.raises(ScenarioError, match=r"rate\.kbps"):
        FixedRate(kbps=kbps)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"factor": 0.0}, r"rate\.factor"),
        ({"factor": 1.1}, r"rate\.factor"),
        ({"min_kbps": 0.0}, r"rate\.min_kbps"),
        ({"min_kbps": 10.0, "max_kbps": 5.0}, r"rate\.max_kbps"),
    ],
    ids=str,
)
def test_bad_bounds_name_their_field(options: dict[str, float], field: str) -> None:
    with pytest.raises(ScenarioError, match=field):
        OracleRate(capacity_kbps=lambda _: 1.0, **options)
