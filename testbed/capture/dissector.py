"""Where Wireshark's dissector of our payload lies."""

from __future__ import annotations

from pathlib import Path


def dissector_path() -> Path:
    """The Lua script, for `tshark -X lua_script:PATH` or Wireshark's folder of plugins."""
    return Path(__file__).resolve().with_name("morphe.lua")
