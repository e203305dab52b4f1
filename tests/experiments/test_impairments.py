"""The spelled-out kinds are those that the network has, with the same keywords."""

from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.experiments.impairments import LOSS_KINDS, QUEUE_KINDS
from testbed.experiments.scenario import load_scenario
from testbed.experiments.suite import expand
from testbed.network.loss import LOSS_MODELS
from testbed.network.queues import QUEUES

Write = Callable[..., Path]

QUEUE_EXAMPLES = [
    "infinite",
    "{kind: infinite}",
    "{kind: droptail, packets: 5, bytes: 9000}",
    "{kind: drophead, bytes: [3000, 9000]}",
    "{kind: codel, packets: 100, target_ms: 5, interval_ms: 100}",
    "codel",
    "pie",
    "{kind: pie, packets: 100, target_ms: 15, burst_ms: [0, 150]}",
]
LOSS_EXAMPLES = [
    "none",
    "{kind: bernoulli, rate: 0.1}",
    "{kind: gilbert-elliott, rate: [0, 0.1], mean_burst: [2, 4]}",
    "{kind: gilbert-elliott, p: 0.068, r: 0.852, h: 0.5, k: 0.96, per: frame}",
    "{kind: conditional, pattern: [0.05, 0.5, 0]}",
    "{kind: outage, mean_up_s: 5, mean_down_s: [0.1, 0.5]}",
    "{kind: periodic-outage}",
    "{kind: periodic-outage, period_s: 15, duration_s: 0.5, offset_s: 3}",
    "{kind: mask, bits: [0, 0, 1]}",
]


def test_the_kinds_are_those_of_the_network() -> None:
    assert set(QUEUES.names()) == QUEUE_KINDS
    assert set(LOSS_MODELS.names()) == LOSS_KINDS


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("example", QUEUE_EXAMPLES)
def test_every_queue_is_understood_by_the_network(write: Write, example: str) -> None:
    path = write("{kind: droptail, packets: 60}", example)
    assert expand(load_scenario(path))


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("example", LOSS_EXAMPLES)
def test_every_loss_model_is_understood_by_the_network(write: Write, example: str) -> None:
    path = write("{kind: bernoulli, rate: [0, 0.05]}", example)
    assert expand(load_scenario(path))


def test_the_examples_show_every_kind() -> None:
    for kinds, examples in ((QUEUE_KINDS, QUEUE_EXAMPLES), (LOSS_KINDS, LOSS_EXAMPLES)):
        assert all(any(kind in example for example in examples) for kind in kinds)
