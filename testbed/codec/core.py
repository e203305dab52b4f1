"""The way to the codec core: models, encoders and decoders, with the testbed's errors.

The core needs PyTorch and more, which is an extra; nothing is imported before it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed.codec.drops import DropCondition
from testbed.errors import InputError, ToolMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from morphe_core.models import Model
    from morphe_core.vgc.codec import Decoder, Encoder, EncoderConfig

#: Pictures of a GoP (paper, section 4.3); the core has the same constant.
GOP_FRAMES: Final = 9
DEVICES: Final = ("cpu", "cuda")
PROFILES: Final = ("morphe", "morphe-keep", "morphe-paper")
SCALES: Final = {"auto": 0, "1": 1, "2": 2, "3": 3}
#: Modules of the core that no encode depends on.
_PACKETS: Final = tuple(f"nasc/{name}.py" for name in ("packetizer", "reassembly", "loss_policy"))


@dataclass(frozen=True, slots=True)
class Core:
    """A loaded model and how to use it.

    Attributes:
        name: of the model's backend.
        sha256: of its weights, hexadecimal.
        model: the core's own object.
    """

    name: str
    sha256: str
    model: Model

    def encoder(self, *, width: int, height: int, fps: Fraction, settings: Settings) -> Encoder:
        """A fresh encoder.

        Args:
            width: luma width, even.
            height: luma height, even.
            fps: frame rate.
            settings: profile and scale.

        Raises:
            MorpheError: a size that cannot be coded.
        """
        from morphe_core.vgc.codec import Encoder

        return Encoder(self.model, width=width, height=height, fps=fps, config=settings.config())

    def decoder(
        self,
        *,
        width: int,
        height: int,
        smoothing: int | None = None,
        switches_only: bool = False,
    ) -> Decoder:
        """A fresh decoder.

        Args:
            width: luma width.
            height: luma height.
            smoothing: pictures blended at a GoP boundary; None = as the codec thinks best.
            switches_only: blend only where the scale changes; needs a `smoothing`.

        Raises:
            MorpheError: impossible smoothing.
        """
        from morphe_core.vgc.codec import Decoder

        if smoothing is None:
            return Decoder(self.model, width=width, height=height)
        return Decoder(
            self.model,
            width=width,
            height=height,
            smoothing=smoothing,
            switches_only=switches_only,
        )

    def describe(self) -> dict[str, Any]:
        """What is known of the model (JSON values)."""
        return self.model.describe()


@dataclass(frozen=True, slots=True)
class Settings:
    """How to encode.

    Attributes:
        profile: any of `PROFILES`.
        scale: source pixels per coded pixel; 0 = chosen by the budget.
        drop: tokens to leave out besides, for comparing selections.
        changes: further settings of the core that differ from the profile's, by name.
    """

    profile: str = "morphe"
    scale: int = 0
    drop: DropCondition | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise InputError(
                f"profile {self.profile!r} is not known; allowed: {', '.join(PROFILES)}"
            )
        if self.scale not in SCALES.values():
            raise InputError(f"scale {self.scale} is not known; allowed: {', '.join(SCALES)}")

    def config(self) -> EncoderConfig:
        """The core's own settings; needs no PyTorch.

        Raises:
            InputError: the core refuses a value.
        """
        with needing_the_extra():
            from morphe_core.errors import CodecConfigError
            from morphe_core.vgc.config import profile
        try:
            config = replace(profile(self.profile), scale=self.scale, **self.changes)
        except (CodecConfigError, TypeError) as error:
            raise InputError(str(error)) from None
        if (drop := self.drop) is None:
            return config
        return replace(
            config, drop_share=drop.share, selection=drop.selection, drop_scope=drop.scope
        )


def parse_scale(text: str) -> int:
    """The scale that `auto`, `1`, `2` or `3` means.

    Raises:
        InputError: anything else.
    """
    if text not in SCALES:
        raise InputError(f"--scale {text}: is not known; allowed: {', '.join(SCALES)}")
    return SCALES[text]


def weights_sha256(weights: str = "small") -> str:
    """Hash of a weights file, as `Core.sha256` has it, without loading it or PyTorch.

    Args:
        weights: as for `load_core`.

    Raises:
        InputError: no such model or file.
    """
    return hash_of_weights("morphe_core", weights, what="weights")


def hash_of_weights(package: str, weights: str, *, what: str) -> str:
    """Hash of a model that `package` ships, or of a file.

    Args:
        package: its `weights` folder has the models.
        weights: name of a shipped model, or path.
        what: how an error calls them.

    Raises:
        InputError: no such model or file.
    """
    shipped = files(package) / "weights" / f"{weights}.safetensors"
    for path in (Path(str(shipped)), Path(weights)):
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    raise InputError(f"{what} {weights!r}: no such file and no shipped model")


@cache
def hash_of_sources(package: str, without: tuple[str, ...] = ()) -> str:
    """First 16 hex digits of SHA-256 over the sources of a codec, training left out.

    Args:
        package: of the codec.
        without: names of files that are left out as well.
    """
    folder = Path(str(files(package)))
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("training/") and name not in without:
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def core_hash(*, coding: bool = False) -> str:
    """First 16 hex digits of SHA-256 over the sources of the core, training left out.

    Args:
        coding: leave out as well what is about packets: encodes do not depend on it.
    """
    return hash_of_sources("morphe_core", _PACKETS if coding else ())


def core_versions(*, coding: bool = False) -> dict[str, str]:
    """What codes besides the weights: hash of the core's sources, version of PyTorch.

    Args:
        coding: as for `core_hash`.
    """
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "none"
    return {"core": core_hash(coding=coding), "torch": torch}


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: the same result whatever else runs, as for every other encoder."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def shipped_models() -> list[str]:
    """Names of the models that come with the package.

    Raises:
        ToolMissingError: PyTorch or another package of the core is not installed.
    """
    with needing_the_extra():
        from morphe_core.models import shipped
    return shipped()


def load_core(weights: str = "small", *, device: str = "cpu") -> Core:
    """Load a model.

    Args:
        weights: name of a shipped model, or path of a weights file.
        device: any of `DEVICES`.

    Raises:
        ToolMissingError: PyTorch or another package of the core is not installed.
        InputError: no such device, or it is not there.
        MorpheError: no such weights, or they are damaged.
    """
    if device not in DEVICES:
        raise InputError(f"--device {device}: is not known; allowed: {', '.join(DEVICES)}")
    with needing_the_extra():
        from morphe_core.models import load_model
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("--device cuda: PyTorch finds no GPU here; allowed: cpu")
    model = load_model(weights, device=device)
    return Core(model.name, model.sha256, model)


@contextmanager
def needing_the_extra(what: str = "the codec core") -> Iterator[None]:
    """Imports inside may lack the extra.

    Raises:
        ToolMissingError: they do.
    """
    try:
        yield
    except ImportError as error:
        raise ToolMissingError(
            f"{what} cannot be loaded ({error}); "
            "get what it needs with: pip install 'morphe-testbed[codec]'"
        ) from None
