from __future__ import annotations

import json

import pytest
import torch

from morphe_core.network import CONFIGS, Network, NetworkConfig
from morphe_core.rsa.super_resolution import SCALES, SuperResolution
from morphe_core.vgc.layers import Trunk
from morphe_core.vgc.small import SmallConfig

TINY = NetworkConfig(
    SmallConfig(16, 24, width=8, encoder_blocks=1, decoder_blocks=1), sr_width=8, sr_blocks=1
)


def weights(config: NetworkConfig) -> tuple[int, int]:
    """Numbers of weights of tokenizer and super resolution; no memory is taken."""
    with torch.device("meta"):
        network = Network(config)
    parts = (network.tokenizer, network.super_resolution)
    tokenizer, upscalers = (sum(p.numel() for p in part.parameters()) for part in parts)
    assert tokenizer + upscalers == sum(p.numel() for p in network.parameters())
    return tokenizer, upscalers


def expected(config: NetworkConfig) -> tuple[int, int]:
    """The same from the sizes of the layers alone."""

    def trunk(inputs: int, width: int, blocks: int, outputs: int) -> int:
        block = 10 * width + (2 * width**2 + 2 * width) + (2 * width**2 + width)
        return (inputs + 1) * width + blocks * block + (width + 1) * outputs

    t = config.tokenizer
    tokenizer = 2 * 96 * t.i_channels + 2 * 768 * t.p_channels
    tokenizer += trunk(96, t.width, t.encoder_blocks, t.i_channels)
    tokenizer += trunk(2 * 96 + 3, t.width, t.decoder_blocks, 96)
    tokenizer += trunk(768 + t.width, t.width, t.encoder_blocks, t.p_channels)
    tokenizer += trunk(768 + t.width + 2 + 8, t.width, t.decoder_blocks, 768)
    upscalers = sum(
        trunk(96, config.sr_width, config.sr_blocks, 64 * scale**2)
        + (t.width + 1) * config.sr_width
        for scale in SCALES
    )
    return tokenizer, upscalers


@pytest.mark.parametrize("name", CONFIGS)
def test_it_has_the_weights_of_its_layers(name: str) -> None:
    assert weights(CONFIGS[name]) == expected(CONFIGS[name])


def test_small_is_small_and_base_is_larger() -> None:
    tokenizer, upscalers = weights(CONFIGS["small"])
    assert 1.5e6 < tokenizer < 2.5e6
    assert upscalers < 0.5e6
    assert sum(weights(CONFIGS["base"])) > 5 * (tokenizer + upscalers)


def test_all_factors_are_resident() -> None:
    network = Network(TINY)
    for scale in SCALES:
        assert network.upscaler(scale).scale == scale
        assert network.upscaler(scale) is network.upscaler(scale)
    with pytest.raises(KeyError):
        network.upscaler(4)


def test_half_precision_reaches_every_trunk() -> None:
    network = Network(TINY)
    parts = [m for m in network.modules() if isinstance(m, Trunk | SuperResolution)]
    assert len(parts) == 4 + len(SCALES)
    network.use_half(True)
    assert all(part.reduced for part in parts)
    assert all(value.dtype == torch.float32 for value in network.parameters())
    network.use_half(False)
    assert not any(part.reduced for part in parts)


def test_channels_last_is_about_memory_alone() -> None:
    network = Network(TINY)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kernels = [value for value in network.parameters() if value.dim() == 4]
    assert any(value.stride(1) != 1 for value in kernels)
    network.channels_last()
    assert all(value.stride(1) == 1 for value in kernels)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_state_is_all_that_a_twin_needs() -> None:
    torch.manual_seed(1)
    one, other = Network(TINY), Network(TINY)
    state = one.state()
    assert all(value.is_contiguous() and not value.requires_grad for value in state.values())
    assert not torch.equal(
        one.tokenizer.p_decode.enter.weight, other.tokenizer.p_decode.enter.weight
    )
    other.load_state_dict(state)
    for name, value in other.state().items():
        assert torch.equal(value, state[name]), name


def test_the_configuration_is_plain_data() -> None:
    facts = json.loads(json.dumps(CONFIGS["base"].as_dict()))
    tokenizer = SmallConfig(**facts.pop("tokenizer"))
    assert NetworkConfig(tokenizer, **facts) == CONFIGS["base"]
