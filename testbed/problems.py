"""From a validator's complaint to one line that names file, line, field and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from testbed.errors import ScenarioError
from testbed.yamlfile import Document, show_place

_Context = Mapping[str, Any]

#: Wording by pydantic error type; what is missing here keeps the validator's own words.
_WORDING: Final[Mapping[str, Callable[[_Context], str]]] = {
    "greater_than_equal": lambda c: f"must be >= {_number(c['ge'])}",
    "greater_than": lambda c: f"must be > {_number(c['gt'])}",
    "less_than_equal": lambda c: f"must be <= {_number(c['le'])}",
    "less_than": lambda c: f"must be < {_number(c['lt'])}",
    "finite_number": lambda _: "must be a finite number",
    "int_type": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "bool_type": lambda _: "must be true or false",
    "string_type": lambda _: "must be text",
    "string_too_short": lambda _: "must not be empty",
    "string_pattern_mismatch": lambda _: "must be letters, digits, `.`, `_` and `-`",
    "tuple_type": lambda _: "must be a list",
    "model_type": lambda _: "must be a mapping",
    "model_attributes_type": lambda _: "must be a mapping",
    "literal_error": lambda c: f"must be one of {c['expected'].replace(' or ', ', ')}",
}
#: Complaints that already say what was given.
_WITHOUT_VALUE: Final = frozenset({"missing", "extra_forbidden", "kind_missing", "empty_list"})


def one_line(value: str) -> str:
    """Refuse what cannot be shown in a line; a validator for pydantic's fields."""
    if not value.isprintable():
        raise PydanticCustomError("one_line", "must be one line of printable characters")
    return value


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def validate(model: type[BaseModel], document: Document) -> Any:
    """The document as a `model`.

    Raises:
        ScenarioError: what is wrong, one line.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise ScenarioError(_describe(model, document, error)) from None


def _describe(model: type[BaseModel], document: Document, error: ValidationError) -> str:
    """One complaint and how many more there are; a mistyped key explains a missing one."""
    found = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    complaints = list(dict.fromkeys(_line(model, document, one) for one in found))
    more = len(complaints) - 1
    return complaints[0] + (f" (and {more} more)" if more else "")


def _line(model: type[BaseModel], document: Document, problem: ErrorDetails) -> str:
    kind, place = problem["type"], problem["loc"]
    trimmed = document.trim(place)
    origin = document.origin(trimmed)
    if kind == "missing":
        trimmed = (*trimmed, str(place[-1]))
        return f"{origin}: {show_place(trimmed)}: is missing"
    if kind == "extra_forbidden":
        known = ", ".join(sorted(_keys_at(model, place[:-1])))
        return f"{origin}: {show_place(trimmed)}: unknown key; known here: {known}"
    wording = _WORDING.get(kind)
    text = wording(problem.get("ctx", {})) if wording else problem["msg"]
    field = show_place(trimmed)
    given = problem["input"]
    if kind not in _WITHOUT_VALUE and isinstance(given, str | int | float | bool | None):
        shown = repr(given) if isinstance(given, str) else "nothing" if given is None else given
        text += f" (got {shown})"
    return f"{origin}: {field}: {text}" if field else f"{origin}: {text}"


def _keys_at(model: type[BaseModel], place: tuple[str | int, ...]) -> set[str]:
    """The keys of the model that stands at `place` of a complaint.

    The place holds the tags of unions beside keys and positions, so the search goes through the
    schema by name: it looks for a model that the next part names as field or as `kind`.
    """
    here: list[type[BaseModel]] = [model]
    for part in place:
        if isinstance(part, int):
            continue
        tagged = [m for m in here if _kind(m) == part]
        if tagged:
            here = tagged
            continue
        here = [
            inner
            for m in here
            if part in m.model_fields
            for inner in _models_in(m.model_fields[part].annotation)
        ] or here
    return {name for m in here for name in m.model_fields}


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    expected = getattr(field.annotation, "__args__", ()) if field else ()
    return str(expected[0]) if expected else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """All models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for inner in getattr(annotation, "__args__", ()):
        found += _models_in(inner)
    return found
