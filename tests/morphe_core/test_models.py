from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from morphe_core.errors import WeightsError
from morphe_core.models import BACKENDS, Model, load_model, save_model, shipped
from morphe_core.vgc.entropy import Part, encode_rows
from morphe_core.vgc.packing import empty_tokens
from morphe_core.vgc.pictures import Picture
from morphe_core.vgc.quantiser import quantise
from morphe_core.vgc.tokens import Grid


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("small")


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    facts = {"seed": 7, "steps": 3}
    save_model(path, name="small", network=model.network, entropy=model.entropy, facts=facts)
    return path


def parts(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(str(path), framework="pt") as file:
        metadata = dict(file.metadata() or {})
    return load_file(path), metadata


def i_tokens(model: Model) -> torch.Tensor:
    noise = torch.Generator().manual_seed(3)
    luma = torch.rand((1, 1, 32, 48), generator=noise) * 200 - 100
    chroma = torch.rand((1, 2, 16, 24), generator=noise) * 100 - 50
    return quantise(model.network.tokenizer.analyse_i(Picture(luma, chroma)), 4.0)


def payload(model: Model) -> bytes:
    """Bytes of pseudo-random tokens with this model's tables."""
    tokens = empty_tokens(model.entropy, Grid(2, 6), 40, 40)
    noise = np.random.default_rng(2)
    for values, sent in ((tokens.i, tokens.i_sent), (tokens.p, tokens.p_sent)):
        values[:] = noise.geometric(0.5, values.shape) - 1
        sent[:] = True
    return encode_rows(model.entropy, tokens, [0, 1], part=Part.JOINT)


def test_what_is_saved_in_half_precision_loads_as_the_same_codec(
    model: Model, saved: Path, tmp_path: Path
) -> None:
    assert not list(tmp_path.glob("*.part"))
    once = load_model(str(saved))
    again = tmp_path / "again.safetensors"
    save_model(again, name="small", network=once.network, entropy=once.entropy, facts=once.facts)
    twice = load_model(str(again))
    assert again.read_bytes() == saved.read_bytes()
    wanted = i_tokens(model)
    assert wanted.count_nonzero() > 100
    for loaded in (once, twice):
        # The shipped file is in half precision already, so nothing is lost.
        assert torch.equal(i_tokens(loaded), wanted)
        assert payload(loaded) == payload(model)
        assert loaded.facts == {"seed": 7, "steps": 3}
        assert (loaded.name, loaded.backend) == ("small", BACKENDS["small"])
    assert once.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    tensors, _ = parts(saved)
    network = [value for name, value in tensors.items() if name.startswith("network.")]
    assert {value.dtype for value in network} == {torch.float16}


def test_a_model_is_ready_to_code_and_says_what_it_is(model: Model) -> None:
    assert not model.network.training
    assert not any(value.requires_grad for value in model.network.parameters())
    assert model.device == torch.device("cpu")
    facts = model.describe()
    assert facts["name"] == "small"
    assert facts["parameters"] == sum(v.numel() for v in model.network.parameters())
    assert len(facts["sha256"]) == 64
    assert "small" in shipped()


def message(path: str | Path) -> str:
    """The one line that loading `path` is refused with."""
    with pytest.raises(WeightsError) as caught:
        load_model(str(path))
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_an_unknown_name_lists_the_known_ones() -> None:
    assert "small" in message("enormous").replace("enormous", "")


@pytest.mark.parametrize("data", [b"", b"garbage" * 40, b"\xff" * 4096])
def test_files_of_something_else_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(data)
    assert "not a usable weights file" in message(path)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    assert "not a usable weights file" in message(saved)


def changed_metadata(path: Path, metadata: dict[str, str] | None) -> Path:
    tensors, _ = parts(path)
    save_file(tensors, str(path), metadata=metadata)
    return path


@pytest.mark.parametrize(
    "metadata",
    [None, {"other": "{}"}, {"morphe": "{"}, {"morphe": "{}"}, {"morphe": "[]"}, {"morphe": "7"}],
)
def test_metadata_that_are_missing_or_damaged(saved: Path, metadata: dict[str, str] | None) -> None:
    message(changed_metadata(saved, metadata))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"width": 160', '"width": 96'),
        ('"i_channels": 64', '"i_channels": 48'),
        ('"decoder_blocks": 4', '"decoder_blocks": 5'),
        ('"sr_blocks": 2', '"sr_blocks": "x"'),
        ('"sr_width"', '"sr_widht"'),
        ('"width": 160', '"width": 160, "depth": 3'),
        ('"name": "small"', '"name": "tiny"'),
    ],
)
def test_sizes_and_names_that_do_not_fit_the_tensors(saved: Path, old: str, new: str) -> None:
    _, metadata = parts(saved)
    text = metadata["morphe"]
    assert old in text
    text = message(changed_metadata(saved, {"morphe": text.replace(old, new)}))
    if "tiny" in new:
        assert "'tiny'" in text
        assert "small, base" in text


def without(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, Any]:
    return {name: value for name, value in tensors.items() if not name.startswith(prefix)}


@pytest.mark.parametrize("prefix", ["entropy.", "network.", "network.tokenizer.p_basis"])
def test_tensors_that_are_missing(saved: Path, prefix: str) -> None:
    tensors, metadata = parts(saved)
    left = without(tensors, prefix)
    assert len(left) < len(tensors)
    save_file(left, str(saved), metadata=metadata)
    message(saved)


def test_each_entropy_table_is_needed(saved: Path) -> None:
    tensors, metadata = parts(saved)
    for name in [name for name in tensors if name.startswith("entropy.")][::7]:
        save_file({k: v for k, v in tensors.items() if k != name}, str(saved), metadata=metadata)
        message(saved)
