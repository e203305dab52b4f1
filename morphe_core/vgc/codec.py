"""The codec's public face: encoder, decoder and their settings."""

from __future__ import annotations

from morphe_core.vgc.config import PROFILES, EncoderConfig, profile
from morphe_core.vgc.decoder import Decoder
from morphe_core.vgc.encoder import EncodedGop, Encoder

__all__ = ["PROFILES", "Decoder", "EncodedGop", "Encoder", "EncoderConfig", "profile"]
