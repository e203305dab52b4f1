"""A codec without networks in the place of the core."""

from __future__ import annotations

import pytest

from testbed.codec import core, evaluate
from testbed.codec.core import Settings
from tests.codec.fakecodec import FakeConfig, FakeCore


@pytest.fixture
def fake_core(monkeypatch: pytest.MonkeyPatch) -> FakeCore:
    """Every `load_core` gives this one."""
    fake = FakeCore()

    def load(weights: str = "small", *, device: str = "cpu") -> FakeCore:
        return fake

    monkeypatch.setattr(core, "load_core", load)
    monkeypatch.setattr(evaluate, "load_core", load)
    monkeypatch.setattr(core, "shipped_models", lambda: ["small"])
    monkeypatch.setattr(Settings, "config", lambda self: FakeConfig)
    return fake
