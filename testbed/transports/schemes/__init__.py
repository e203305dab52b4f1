"""Schemes: one YAML file each that says how a transport is called, set up and drawn.

The files beside this one are the shipped schemes; a scenario may name a file of its own
(`transports: [./my-scheme.yaml]`). See docs/guides/transports.md.
"""

from testbed.transports.schemes.file import (
    is_scheme_path,
    load_scheme,
    scheme_stem,
    shipped_names,
    shipped_scheme,
)

__all__ = [
    "is_scheme_path",
    "load_scheme",
    "scheme_stem",
    "shipped_names",
    "shipped_scheme",
]
