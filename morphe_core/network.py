"""The whole network of a backend: tokenizer and super resolution for every factor, resident."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from morphe_core.rsa.super_resolution import SCALES, SuperResolution
from morphe_core.vgc.layers import Trunk
from morphe_core.vgc.small import SmallConfig, SmallTokenizer


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes of everything that has weights.

    Attributes:
        tokenizer: sizes of the tokenizer.
        sr_width: width of the super-resolution networks.
        sr_blocks: their blocks.
    """

    tokenizer: SmallConfig = field(default_factory=SmallConfig)
    sr_width: int = 96
    sr_blocks: int = 2

    def as_dict(self) -> dict[str, object]:
        """JSON values, for the weights file."""
        return asdict(self)


#: The named sizes: `small` is made for two CPU cores, `base` for a GPU, and for a weights file that
#: can still be shipped (27 MB).
CONFIGS = {
    "small": NetworkConfig(),
    "base": NetworkConfig(
        SmallConfig(i_channels=64, p_channels=128, width=320, encoder_blocks=4, decoder_blocks=8),
        sr_width=192,
        sr_blocks=4,
    ),
}


class Network(nn.Module):
    """Tokenizer and super resolution; switching the factor loads nothing."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = SmallTokenizer(config.tokenizer)
        self.super_resolution = nn.ModuleDict(
            {
                str(scale): SuperResolution(
                    scale, width=config.sr_width, blocks=config.sr_blocks,
                    features=config.tokenizer.width,
                )
                for scale in SCALES
            }
        )  # fmt: skip

    def upscaler(self, scale: int) -> SuperResolution:
        """Super resolution by `scale`."""
        module = self.super_resolution[str(scale)]
        assert isinstance(module, SuperResolution)
        return module

    def use_half(self, half: bool) -> None:
        """Run the trunks in bfloat16 or in float32 (entropy decoding never depends on it)."""
        for module in self.modules():
            if isinstance(module, Trunk | SuperResolution):
                module.reduced = half

    def channels_last(self) -> None:
        """Let the weights of convolutions lie in memory with their channels last."""
        # PyTorch documents this form of `to`, but its annotations lack it.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def state(self) -> dict[str, Tensor]:
        """Tensors by name, for a weights file."""
        return {name: value.detach().contiguous() for name, value in self.state_dict().items()}
