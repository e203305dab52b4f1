"""Weights files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grace_style.errors import WeightsError
from grace_style.models import Model, load_model, save_model, shipped


def test_a_saved_model_comes_back_in_half_precision(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    save_model(path, model.network, model.entropy, {"steps": 7})
    again = load_model(str(path))
    assert again.facts == {"steps": 7}
    for name, value in model.network.state_dict().items():
        np.testing.assert_allclose(again.network.state_dict()[name], value.half().float())
    for name, array in model.entropy.arrays().items():
        np.testing.assert_array_equal(again.entropy.arrays()[name], array)
    assert not list(tmp_path.glob("*.part"))


def test_the_shipped_weights_load() -> None:
    assert shipped() == ["grace", "grace-seen"]
    assert all(load_model(name).facts["steps"] > 0 for name in shipped())


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x10" + bytes(40)])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.safetensors: no GRACE-style weights"):
        load_model(str(path))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(WeightsError, match="neither one of grace, grace-seen nor a file"):
        load_model("elsewhere")
