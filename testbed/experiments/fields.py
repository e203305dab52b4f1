"""Field types of the scenario schema."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from testbed.problems import one_line

T = TypeVar("T")


class Part(BaseModel):
    """Base of every part of a scenario: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class OpenPart(Part):
    """A part whose further keys belong to a registered name; the registry's owner checks them."""

    model_config = ConfigDict(extra="allow")

    def options(self) -> dict[str, Any]:
        """The further keys."""
        return dict(self.model_extra or {})


class _OneOrMany:
    """Tells the JSON Schema that a single value may stand for a list of one."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        many = {**handler(schema), "minItems": 1}
        return {"anyOf": [many["items"], many]}


def _one_or_many(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return (value,)
    if not value:
        raise PydanticCustomError("empty_list", "must not be an empty list")
    return tuple(value)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


#: One value or a list of them: an axis of the matrix.
Many = Annotated[tuple[T, ...], BeforeValidator(_one_or_many), _OneOrMany()]
#: A list that is one value, not an axis.
Values = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]

Probability = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveNumber = Annotated[float, Field(gt=0)]
NonNegativeNumber = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(min_length=1), AfterValidator(one_line)]
