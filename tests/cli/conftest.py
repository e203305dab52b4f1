"""Fixtures that commands share."""

from tests.codec.conftest import fake_core

__all__ = ["fake_core"]
