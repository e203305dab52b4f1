"""The loss stage and what every model has to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError, UnknownNameError
from testbed.network.loss import LOSS_MODELS, LossStage, make_loss
from testbed.network.packet import Packet
from testbed.network.spec import LossSpec

#: Every model that draws, with one set of options each.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bernoulli": ("bernoulli", {"rate": 0.3}),
    "ge": ("gilbert-elliott", {"p": 0.2, "r": 0.4, "h": 0.1, "k": 0.95}),
    "ge-burst": ("gilbert-elliott", {"rate": 0.2, "mean_burst": 3}),
    "ge-frame": ("gilbert-elliott", {"rate": 0.2, "mean_burst": 3, "per": "frame"}),
    "conditional": ("conditional", {"pattern": [0.1, 0.6, 0.0]}),
    "mask": ("mask", {"bits": "0110"}),
    "outage": ("outage", {"mean_up_s": 0.01, "mean_down_s": 0.01}),
    "periodic": ("periodic-outage", {"period_s": 0.02, "duration_s": 0.005}),
}


def fates(
    kind: str, options: Mapping[str, Any], packets: list[tuple[int, int, int]], seed: int = 3
) -> dict[int, bool]:
    """Lost or not by number, for (number, frame, ms) packets."""
    model = make_loss(LossSpec(kind, options), np.random.default_rng(seed))
    return {
        number: model.lost(Packet(100, number=number, frame=frame), ms * 1_000_000)
        for number, frame, ms in packets
    }


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_same_losses(name: str) -> None:
    packets = [(n, n // 4, n) for n in range(3000)]
    kind, options = MODELS[name]
    lost = fates(kind, options, packets)
    assert lost == fates(kind, options, packets)
    assert 0 < sum(lost.values()) < len(lost)


@pytest.mark.parametrize("name", ["bernoulli", "ge", "ge-burst", "conditional", "outage"])
def test_another_seed_loses_others(name: str) -> None:
    packets = [(n, n // 4, n) for n in range(3000)]
    kind, options = MODELS[name]
    assert fates(kind, options, packets) != fates(kind, options, packets, seed=4)


@pytest.mark.parametrize("name", MODELS)
@given(kept=st.sets(st.integers(0, 2500), min_size=1, max_size=40), shift_ms=st.integers(0, 50))
def test_mask_depends_on_its_index_alone(name: str, kept: set[int], shift_ms: int) -> None:
    kind, options = MODELS[name]
    indexed_by = make_loss(LossSpec(kind, options), np.random.default_rng(0)).indexed_by
    everyone = [(n, n // 4, n) for n in range(2501)]
    full = fates(kind, options, everyone)
    # Most packets never get here (dropped by the queue, say).
    some = [everyone[n] for n in sorted(kept)]
    assert fates(kind, options, some) == {n: full[n] for n in kept}
    if indexed_by == "packet":  # neither time nor frame matters
        moved = [(n, 7, ms + shift_ms) for n, _, ms in some]
        assert fates(kind, options, moved) == {n: full[n] for n in kept}
    if indexed_by == "time":  # neither number nor frame matters
        renumbered = [(n + 5, 7, ms) for n, _, ms in some]
        assert list(fates(kind, options, renumbered).values()) == [full[n] for n in sorted(kept)]
    if indexed_by == "frame":  # time does not matter
        moved = [(n, frame, ms + shift_ms) for n, frame, ms in some]
        assert fates(kind, options, moved) == {n: full[n] for n in kept}


def test_stage_reports_what_happened() -> None:
    model = make_loss(LossSpec("mask", {"bits": "0110001"}), np.random.default_rng(0))
    stage = LossStage([model])
    packets = [Packet(10, number=n) for n in range(14)]
    for packet in packets:
        stage.enqueue(packet, now_ns=packet.number)
    # 0110001 0110001: bursts of 2, 1, 2 and, still open, 1.
    assert stage.realised() == {
        "packets": 14,
        "lost": 6,
        "rate": 6 / 14,
        "bursts": {1: 2, 2: 2},
        "indexed_by": ["packet"],
    }
    assert [p.number for p in packets if p.drop == "loss"] == [1, 2, 6, 8, 9, 13]
    assert [p.number for _, p in stage.take(99)] == [0, 3, 4, 5, 7, 10, 11, 12]
    assert stage.next_time() is None


def test_no_packets_is_no_loss() -> None:
    assert LossStage([]).realised()["rate"] == 0.0


def test_models_act_one_after_the_other_without_moving_each_other() -> None:
    def model(bits: str) -> Any:
        return make_loss(LossSpec("mask", {"bits": bits}), np.random.default_rng(0))

    stage = LossStage([model("0100"), model("0010")])
    packets = [Packet(10, number=n) for n in range(8)]
    for packet in packets:
        stage.enqueue(packet, now_ns=0)
    assert [p.number for p in packets if p.drop == "loss"] == [1, 2, 5, 6]


def test_none_loses_nothing() -> None:
    assert not any(fates("none", {}, [(n, 0, n) for n in range(100)]).values())


@pytest.mark.parametrize("kind", LOSS_MODELS.names())
def test_unknown_option_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match="unknown option 'colour'"):
        make_loss(LossSpec(kind, {"colour": 1}), np.random.default_rng(0))


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"bernoulli.*gilbert-elliott"):
        make_loss(LossSpec("bernouli"), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("bernoulli", {}, "rate is missing"),
        ("bernoulli", {"rate": -0.1}, r"rate is -0.1; must be >= 0 and <= 1"),
        ("bernoulli", {"rate": 1.5}, r"rate is 1.5; must be >= 0 and <= 1"),
        ("bernoulli", {"rate": "5%"}, "must be a number"),
        ("bernoulli", {"rate": True}, "must be a number"),
        ("bernoulli", {"rate": float("nan")}, "must be a number"),
        ("gilbert-elliott", {"p": 0.1}, "r is missing"),
        ("gilbert-elliott", {"p": 0, "r": 0}, "p and r are both 0"),
        ("gilbert-elliott", {"p": 0.1, "r": 2}, "r is 2"),
        ("gilbert-elliott", {"p": 0.1, "r": 0.1, "per": "gop"}, "must be packet or frame"),
        ("gilbert-elliott", {"rate": 0.1}, "mean_burst is missing"),
        ("gilbert-elliott", {"rate": 0.1, "mean_burst": 0.5}, "mean_burst is 0.5; must be >= 1"),
        ("gilbert-elliott", {"rate": 0.6, "mean_burst": 1}, r"needs mean_burst >= .* = 1.5"),
        ("gilbert-elliott", {"rate": 1, "mean_burst": 9}, "rate is 1; .* must be < 1"),
        ("gilbert-elliott", {"rate": 0.1, "mean_burst": 2, "p": 0.1}, "p cannot go with"),
        ("conditional", {}, "must be a non-empty list"),
        ("conditional", {"pattern": []}, "must be a non-empty list"),
        ("conditional", {"pattern": [0.1, 1.1]}, "pattern entry 2 is 1.1"),
        ("mask", {}, "either bits or file"),
        ("mask", {"bits": "01", "file": "x"}, "either bits or file"),
        ("mask", {"bits": []}, "non-empty list of 0 and 1"),
        ("mask", {"bits": [0, 2]}, "non-empty list of 0 and 1"),
        ("mask", {"bits": "01x"}, "'x'; must be 0 or 1"),
        ("mask", {"file": "no/such/file"}, "no/such/file: No such file"),
        ("outage", {"mean_up_s": 1}, "mean_down_s is missing"),
        ("outage", {"mean_up_s": 0, "mean_down_s": 1}, "mean_up_s is 0"),
        (
            "periodic-outage",
            {"period_s": 1, "duration_s": 2},
            "duration_s is 2; must be <= period_s",
        ),
        ("periodic-outage", {"offset_s": -1}, "offset_s is -1"),
    ],
)
def test_bad_values_name_field_and_range(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_loss(LossSpec(kind, options), np.random.default_rng(0))
    assert "\n" not in str(caught.value)
