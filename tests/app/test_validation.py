"""Pydantic's errors in Groq's wording; the chat resource's tests hold the full table."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from app.validation import invalid, refused, worded


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["a", "b"] = "a"


class Sample(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(max_length=3, pattern="^[a-z]*$")] = ""
    above: Annotated[float, Field(gt=0, lt=1)] = 0.5
    inner: Inner = Inner()
    items: dict[str, int] = {}
    even: int = 0
    worded: int = 0
    refused: int = 0

    @field_validator("even")
    @classmethod
    def is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value

    @field_validator("worded", "refused")
    @classmethod
    def is_zero(cls, value: int) -> int:
        if value == 1:
            raise worded("say {this} exactly")
        if value == 2:
            raise refused("the whole {message}", param="elsewhere")
        return value


def errors(**fields: Any) -> list[ErrorDetails]:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(fields)
    return caught.value.errors(include_url=False)


@pytest.mark.parametrize(
    ("fields", "said", "param"),
    [
        ({"name": "abcd"}, "'name' : maximum string length is 3", "name"),
        ({"name": "A"}, "'name' : string does not match the pattern ^[a-z]*$", "name"),
        ({"above": 0}, "'above' : number must be more than 0.0", "above"),
        ({"above": 1}, "'above' : number must be less than 1.0", "above"),
        ({"inner": []}, "'inner' : value must be an object", "inner"),
        (
            {"inner": {"kind": "c"}},
            "'inner.kind' : value is not one of the allowed values ['a' or 'b']",
            "inner.kind",
        ),
        ({"inner": {"x": 1}}, "'inner' : property 'x' is unsupported", "inner.x"),
        ({"items": {"k": "v"}}, "'items.k' : value must be an integer", "items.k"),
        ({"even": 3}, "'even' : must be even", "even"),
        ({"worded": 1}, "'worded' : say {this} exactly", "worded"),
        ({"refused": 2}, "the whole {message}", "elsewhere"),
    ],
)
def test_a_problem_is_said_in_groqs_words(fields: dict[str, Any], said: str, param: str) -> None:
    error = invalid(errors(**fields), Sample.model_fields)
    assert (error.status, error.message, error.param) == (400, said, param)


def test_an_unknown_field_is_compared_with_the_known_ones() -> None:
    error = invalid(errors(nane=1), Sample.model_fields)
    assert error.message == "property 'nane' is unsupported, did you mean 'name'?"
    assert error.param is None


@pytest.mark.parametrize("key", ["k" * 100_000, "{field}", "role:x", "(x)", ""])
def test_a_hostile_key_is_repeated_within_bounds(key: str) -> None:
    for fields in ({key: 1}, {"items": {key: "v"}}, {"inner": {key: 1}}):
        error = invalid(errors(**fields), Sample.model_fields)
        assert error.status == 400
        assert len(error.body()) < 1_000
