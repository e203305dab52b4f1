"""The configuration that the training guide shows can be read, and holds the test clips out."""

from pathlib import Path

from morphe_core.network import CONFIGS
from morphe_core.training.config import read_config

ROOT = Path(__file__).resolve().parents[3]


def test_the_example_configuration_is_valid() -> None:
    config = read_config(ROOT / "training" / "small.yaml")
    assert config.backend in CONFIGS
    assert [stage.name for stage in config.stages] == ["base", "sr", "robust", "whole", "whole"]
    assert config.data.exclude
    # Everything it writes lands where git ignores it.
    for path in (config.out, config.data.packed):
        assert path.resolve().is_relative_to(ROOT / "results")
