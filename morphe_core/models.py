"""Loading and saving models: the network, the entropy tables and what is known about them.

A model is one safetensors file: tensors of the network under `network.`, the integer tables of the
entropy coder under `entropy.`, and as metadata a JSON text with the sizes and how it was made.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from morphe_core.errors import WeightsError
from morphe_core.network import Network, NetworkConfig
from morphe_core.vgc.entropy import EntropyModel
from morphe_core.vgc.small import SmallConfig

#: Numbers of the tokenizers in unit headers; a number is never given twice.
BACKENDS = {"small": 0, "base": 1, "cosmos": 2}
_NETWORK, _ENTROPY = "network.", "entropy."


@dataclass(frozen=True)
class Model:
    """A network with its tables, ready to code.

    Attributes:
        name: `small` or `base`.
        sha256: hash of the weights file.
        network: in evaluation mode, on its device.
        entropy: integer tables.
        facts: how it was made (JSON values).
    """

    name: str
    sha256: str
    network: Network
    entropy: EntropyModel
    facts: dict[str, Any]

    @property
    def backend(self) -> int:
        """Number of the backend in unit headers."""
        return BACKENDS[self.name]

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.network.parameters()).device

    def describe(self) -> dict[str, Any]:
        """What a result says about the model (JSON values)."""
        count = sum(value.numel() for value in self.network.parameters())
        return {"name": self.name, "sha256": self.sha256, "parameters": count, **self.facts}


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    folder = files("morphe_core") / "weights"
    return sorted(
        entry.name.removesuffix(".safetensors")
        for entry in folder.iterdir()
        if entry.name.endswith(".safetensors")
    )


def load_model(name_or_path: str = "small", *, device: str = "cpu") -> Model:
    """The model of a shipped name, or of a weights file.

    Raises:
        WeightsError: no such name or file, a damaged file, or one of another form.
    """
    path = Path(name_or_path)
    if name_or_path in shipped():
        path = Path(str(files("morphe_core") / "weights" / f"{name_or_path}.safetensors"))
    elif not path.is_file():
        raise WeightsError(
            f"weights {name_or_path!r}: no such file and no shipped model "
            f"(known: {', '.join(shipped()) or 'none'})"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {})["morphe"])
        tensors = load_file(path)
        network = Network(_config(facts.pop("sizes")))
        network.load_state_dict(_under(_NETWORK, tensors))
        arrays = {name: value.numpy() for name, value in _under(_ENTROPY, tensors).items()}
        entropy = EntropyModel.from_arrays(arrays)
        name = str(facts.pop("name"))
        if name not in BACKENDS:
            raise WeightsError(f"backend {name!r} is none of {', '.join(BACKENDS)}")
        network.eval().requires_grad_(False).to(torch.device(device))
        network.channels_last()
    except (
        OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError,
        WeightsError,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not a usable weights file ({reason})") from None
    return Model(name, _sha256(path), network, entropy, facts)


def save_model(
    path: Path, *, name: str, network: Network, entropy: EntropyModel, facts: dict[str, Any]
) -> None:
    """Write a weights file, to a temporary name first.

    Args:
        path: where.
        name: backend name.
        network: saved in float16: half the size, and below what a picture shows.
        entropy: integer tables.
        facts: how it was made (JSON values).
    """
    tensors = {
        _NETWORK + key: value.cpu().to(torch.float16) for key, value in network.state().items()
    }
    for key, array in entropy.arrays().items():
        tensors[_ENTROPY + key] = torch.from_numpy(np.ascontiguousarray(array))
    text = json.dumps({"name": name, "sizes": network.config.as_dict(), **facts}, sort_keys=True)
    part = path.with_suffix(".part")
    save_file(tensors, str(part), metadata={"morphe": text})
    part.replace(path)


def _config(sizes: dict[str, Any]) -> NetworkConfig:
    return NetworkConfig(
        SmallConfig(**sizes["tokenizer"]), int(sizes["sr_width"]), int(sizes["sr_blocks"])
    )


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
