"""What options of transports are checked for; every refusal is a ValueError with one line."""

from __future__ import annotations

from typing import Any


def check_ranges(options: Any, *ranges: tuple[str, float, float]) -> None:
    """Refuse, with ValueError, a number outside its range; a field of whole numbers stays whole."""
    for name, low, high in ranges:
        value = getattr(options, name)
        whole = isinstance(type(options).__dataclass_fields__[name].default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{name}: must be {kind} (got {value!r})")
        if not low <= value <= high:
            raise ValueError(f"{name}: must be in {low}..{high} (got {value})")


def check_flags(options: Any, *names: str) -> None:
    """Refuse, with ValueError, what is neither true nor false."""
    for name in names:
        if not isinstance(getattr(options, name), bool):
            raise ValueError(f"{name}: must be true or false (got {getattr(options, name)!r})")


def check_choice(options: Any, name: str, known: tuple[Any, ...]) -> None:
    """Refuse, with ValueError, a value that is not among the known ones."""
    value = getattr(options, name)
    if isinstance(value, bool) or value not in known:
        words = ", ".join(str(one) if one != "" else '""' for one in known)
        raise ValueError(f"{name}: must be one of {words} (got {value!r})")
