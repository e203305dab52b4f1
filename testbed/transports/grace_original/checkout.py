"""Loads the user's checkout of UChi-JCL/Grace: says what is missing, and calls its interface.

Its licence allows academic use and no transfer to others, so nothing of it is part of the testbed:
what is used of it are the names of files, classes and functions and the shapes of what they take
and give, as the repository (commit 1eb36f1) has them.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from testbed.errors import InputError
from testbed.transports.grace_original.codec import Latent, PCode, Rgb
from testbed.transports.grace_original.options import SCALE_FACTORS

#: The file that holds the interface, those that it needs, and the intra coder's libraries.
SOURCES: Final = ("grace/grace_gpu_interface.py", "grace/grace_model.py", "grace/net.py")
BPG_ENCODER: Final = "libs/bpgenc.so"
BPG_DECODER: Final = "libs/bpgdec.so"
_MODULE: Final = "grace.grace_gpu_interface"


def weights_of(model: str) -> str:
    """Where a model's weights lie in the checkout."""
    return f"models/grace/{model}_freeze.model"


def check_files(checkout: str, model: str) -> Path:
    """The checkout's folder, if all of its files that are needed are there.

    Raises:
        InputError: one line that says what is missing.
    """
    folder = Path(checkout).expanduser()
    if not folder.is_dir():
        raise InputError(f"transport grace-original: checkout: no such folder: {checkout}")
    for name in (*SOURCES, BPG_ENCODER, BPG_DECODER):
        if not (folder / name).is_file():
            raise InputError(
                f"transport grace-original: checkout: {checkout} is no copy of UChi-JCL/Grace: it "
                f"lacks {name}"
            )
    weights = weights_of(model)
    if not (folder / weights).is_file():
        raise InputError(
            f"transport grace-original: checkout: {checkout} lacks the weights {weights}; its "
            "README says where they are"
        )
    return folder.resolve()


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        InputError: one line that says what is missing.
    """
    try:
        import torch
    except ImportError:
        raise InputError(
            "transport grace-original: needs PyTorch, which is not installed"
        ) from None
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "transport grace-original: device: CUDA is not available; `device: cpu` is slow"
        )


def checkout_sha256(checkout: str, model: str) -> str:
    """Of code, libraries and weights, for a run's name.

    Raises:
        InputError: something is missing.
    """
    folder = check_files(checkout, model)
    digest = hashlib.sha256()
    for name in (*SOURCES, BPG_ENCODER, BPG_DECODER, weights_of(model)):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def open_checkout(checkout: str, model: str, device: str) -> GraceCheckout:
    """The codec of a checkout.

    Args:
        checkout: its folder.
        model: a key of `SCALE_FACTORS`.
        device: "cuda" or "cpu".

    Raises:
        InputError: one line that says what is missing.
    """
    folder = check_files(checkout, model)
    check_device(device)
    module = _import_interface(folder)
    with _on_path(folder):
        try:
            interface = module.GraceInterface(
                {"path": str(folder / weights_of(model)), "device": device},
                use_half=device == "cuda",
                scale_factor=SCALE_FACTORS[model],
            )
        except Exception as error:  # whatever code that is not ours raises
            raise _broken(folder, f"GraceInterface: {_first_line(error)}") from None
    return GraceCheckout(module, interface, Bpg(folder))


def _import_interface(folder: Path) -> Any:
    """The interface's module, and no other one of the same name."""
    with _on_path(folder):
        try:
            module = importlib.import_module(_MODULE)
        except ImportError as error:
            raise _broken(folder, f"its packages are not all installed: {error}") from None
        except Exception as error:  # whatever code that is not ours raises
            raise _broken(folder, _first_line(error)) from None
    if not str(module.__file__).startswith(str(folder)):
        raise _broken(folder, f"a package of its name is already loaded: {module.__file__}")
    for name in ("GraceInterface", "GraceBasicCode"):
        if not hasattr(module, name):
            raise _broken(folder, f"{SOURCES[0]} has no {name}")
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """The checkout is first on the import path, as when its own scripts run in it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _broken(folder: Path, why: str) -> InputError:
    return InputError(f"transport grace-original: checkout: {folder} cannot be loaded: {why}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


class Bpg:
    """The checkout's intra coder, two C libraries with a handful of functions.

    Args:
        folder: the checkout.

    Raises:
        InputError: a library cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._encoder = ctypes.CDLL(str(folder / BPG_ENCODER))
            self._decoder = ctypes.CDLL(str(folder / BPG_DECODER))
            self._encoder.get_buf.restype = ctypes.c_void_p
            self._encoder.free_memory.argtypes = [ctypes.c_void_p]
            self._decoder.bpg_decode_bytes.restype = ctypes.c_void_p
        except (OSError, AttributeError) as error:
            raise _broken(
                folder, f"{_first_line(error)} (LD_LIBRARY_PATH must name its folder libs)"
            ) from None

    def encode(self, picture: Rgb) -> bytes:
        """Bytes of a picture."""
        _, height, width = picture.shape
        pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
        raw = np.ascontiguousarray(pixels).tobytes()
        self._encoder.bpg_encode_bytes(ctypes.create_string_buffer(raw, len(raw)), height, width)
        size = int(self._encoder.get_buf_length())
        buffer = self._encoder.get_buf()
        data = ctypes.string_at(buffer, size)
        self._encoder.free_memory(buffer)
        return data

    def decode(self, data: bytes, *, height: int, width: int) -> Rgb:
        """The picture again.

        Raises:
            InputError: nothing comes out.
        """
        buffer = ctypes.create_string_buffer(data, len(data))
        decoded = self._decoder.bpg_decode_bytes(buffer, len(data), height, width)
        if not decoded:
            raise InputError("transport grace-original: the intra decoder gives no picture")
        raw = ctypes.string_at(decoded, height * width * 3)
        self._encoder.free_memory(decoded)
        pixels = np.frombuffer(raw, np.uint8).reshape(height, width, 3).transpose(2, 0, 1)
        return np.ascontiguousarray(pixels.astype(np.float32) / 255)


class GraceCheckout:
    """An `OriginalCodec` over the checkout's `GraceInterface`.

    Args:
        module: the interface's module.
        interface: a `GraceInterface`.
        intra: its intra coder.
    """

    def __init__(self, module: Any, interface: Any, intra: Bpg) -> None:
        self._module, self._interface, self._intra = module, interface, intra

    def encode_i(self, picture: Rgb) -> bytes:
        """By its intra coder."""
        return self._intra.encode(picture)

    def decode_i(self, data: bytes, *, height: int, width: int) -> Rgb:
        """By its intra coder."""
        return self._intra.decode(data, height=height, width=width)

    def encode_p(self, picture: Rgb, reference: Rgb) -> PCode:
        """`encode`, and the estimate of `entropy_encode`."""
        import torch

        with torch.no_grad():
            made = self._interface.encode(torch.from_numpy(picture), torch.from_numpy(reference))
            size_bytes = float(self._interface.entropy_encode(made))
        flat = made.code.detach().float().cpu().numpy()
        border = int(np.prod(made.shapex))
        return PCode(
            _latent(flat[:border], made.shapex), _latent(flat[border:], made.shapey), size_bytes
        )

    def decode_p(self, code: PCode, reference: Rgb) -> Rgb:
        """`decode`."""
        import torch

        flat = np.concatenate([code.motion.reshape(-1), code.residual.reshape(-1)])
        latents = torch.from_numpy(flat.astype(np.float32))
        shapes = (torch.Size((1, *part.shape)) for part in (code.motion, code.residual))
        basic = self._module.GraceBasicCode(latents, *shapes, None)
        with torch.no_grad():
            picture = self._interface.decode(basic, torch.from_numpy(reference))
        return np.ascontiguousarray(picture.detach().float().cpu().numpy())


def _latent(flat: Any, shape: Any) -> Latent:
    """Whole numbers of shape (channels, rows, columns)."""
    limits = np.iinfo(np.int16)
    whole: Latent = np.clip(np.rint(flat), limits.min, limits.max).astype(np.int16)
    return whole.reshape(tuple(int(side) for side in shape)[1:])
