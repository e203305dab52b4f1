"""Loading and saving models: the network, the entropy tables and what is known about them.

One safetensors file, as the codec core's: tensors under `network.`, tables under `entropy.`, and as
metadata a JSON text with the sizes and how it was made.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from grace_style.errors import WeightsError
from grace_style.network import GraceConfig, Network
from grace_style.tables import EntropyModel

_NETWORK: Final = "network."
_ENTROPY: Final = "entropy."
SUFFIX: Final = ".safetensors"


@dataclass(frozen=True)
class Model:
    """A network with its tables, ready to code.

    Attributes:
        sha256: hash of the weights file.
        network: in evaluation mode.
        entropy: integer tables.
        facts: how it was made (JSON values).
    """

    sha256: str
    network: Network
    entropy: EntropyModel
    facts: dict[str, Any]


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    folder = files("grace_style") / "weights"
    return sorted(
        entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX)
    )


def path_of(name_or_path: str) -> Path:
    """The weights file of a shipped name, or the path itself.

    Raises:
        WeightsError: there is no such file.
    """
    if name_or_path in shipped():
        return Path(str(files("grace_style") / "weights" / f"{name_or_path}{SUFFIX}"))
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(shipped())
        raise WeightsError(
            f"GRACE-style weights {name_or_path!r}: neither one of {known} nor a file"
        )
    return path


def sha256_of(name_or_path: str) -> str:
    """Hash of the weights file."""
    path = path_of(name_or_path)
    return _sha256(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256(path: Path, mtime_ns: int) -> str:
    del mtime_ns
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_model(name_or_path: str = "grace-seen") -> Model:
    """The model of a shipped name, or of a weights file; loaded once a process.

    Raises:
        WeightsError: no such name or file, a damaged file, or one of another form.
    """
    path = path_of(name_or_path)
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load(path: Path, mtime_ns: int) -> Model:
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["grace-style"])
        tensors = load_file(path)
        network = Network(GraceConfig(**facts.pop("config")))
        network.load_state_dict(
            {
                name.removeprefix(_NETWORK): value.float()
                for name, value in tensors.items()
                if name.startswith(_NETWORK)
            }
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0]
        raise WeightsError(f"{path}: no GRACE-style weights ({reason})") from None
    arrays = {
        name.removeprefix(_ENTROPY): value.numpy().astype(np.uint16)
        for name, value in tensors.items()
        if name.startswith(_ENTROPY)
    }
    network.eval()
    network.requires_grad_(False)
    return Model(_sha256(path, mtime_ns), network, EntropyModel.from_arrays(arrays), facts)


def save_model(path: Path, network: Network, entropy: EntropyModel, facts: dict[str, Any]) -> None:
    """Write a model, the network in half precision; to a temporary name, then renamed."""
    tensors = {
        _NETWORK + name: value.detach().half().contiguous()
        for name, value in network.state_dict().items()
    }
    for name, array in entropy.arrays().items():
        tensors[_ENTROPY + name] = torch.from_numpy(array.astype(np.int32))
    text = json.dumps({**facts, "config": network.config.as_dict()}, sort_keys=True)
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"grace-style": text})
    part.replace(path)
