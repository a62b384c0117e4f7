"""The types that wire models share, in the words that callers get."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from app.validation import invalid
from app.wire import MAX_PARTS, Arguments, Closed, Name, Open, bounded_parts, only
from tests.stopwatch import cpu_time


class Strict(Closed):
    store: Annotated[Any, only(False)] = None
    include: Annotated[Any, only([], otherwise="is one field too many")] = None
    name: Name = "n"
    arguments: Arguments = "{}"


class Lenient(Open):
    name: str


def problem(model: type[BaseModel], document: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    return invalid(caught.value.errors(include_url=False)).message


@pytest.mark.parametrize("document", [{"store": None}, {"store": False}, {"include": []}, {}])
def test_values_that_ask_for_nothing_are_taken(document: dict[str, Any]) -> None:
    assert Strict.model_validate(document)


@pytest.mark.parametrize("value", [True, 0, "", [], {}])
def test_any_other_value_is_refused_also_one_that_python_calls_equal(value: Any) -> None:
    assert problem(Strict, {"store": value}) == "`store` is not supported with this model"


def test_a_field_can_say_what_it_cannot_do() -> None:
    assert problem(Strict, {"include": ["x"]}) == "`include` is one field too many"


@pytest.mark.parametrize("text", ["[]", "{", "null", "1"])
def test_arguments_are_the_text_of_an_object(text: str) -> None:
    message = "'arguments' : value must be a JSON object, written as a string"
    assert problem(Strict, {"arguments": text}) == message


def test_no_arguments_are_an_empty_object() -> None:
    assert Strict.model_validate({"arguments": ""}).arguments == "{}"


@pytest.mark.parametrize("name", ["", "a b", "é", "a" * 65, "a\n"])
def test_a_name_has_64_plain_characters_at_most(name: str) -> None:
    assert problem(Strict, {"name": name}).startswith("'name' : ")


def test_only_an_open_part_ignores_what_it_does_not_know() -> None:
    assert Lenient.model_validate({"name": "n", "more": 1}) == Lenient(name="n")
    assert problem(Strict, {"more": 1}) == "property 'more' is unsupported"


@pytest.mark.parametrize(
    "arguments",
    ['{"a": [' + "0," * 10_000 + "0]}", '{"a": ' + "[" * 64 + "]" * 64 + "}"],
    ids=["values", "depth"],
)
def test_arguments_hide_no_more_values_or_levels_than_bodies_have(arguments: str) -> None:
    assert problem(Strict, {"arguments": arguments}) == (
        "'arguments' : the JSON may have at most 10000 values, 64 deep"
    )


@pytest.mark.parametrize(
    "arguments",
    ['{"a": "' + "[{," * 20_000 + '"}', '{"a": ' + "[" * 63 + "]" * 63 + "}"],
    ids=["text", "depth"],
)
def test_long_texts_and_honest_depths_are_taken_as_arguments(arguments: str) -> None:
    assert Strict.model_validate({"arguments": arguments}).arguments == arguments


@pytest.mark.parametrize("end", ["", "\\"])
def test_a_text_without_end_takes_no_time(end: str) -> None:
    with cpu_time() as taken:
        problem(Strict, {"arguments": "," * 100 + '"' + '\\"' * 50_000 + end})
    assert taken.seconds < 1


@pytest.mark.parametrize("lists", [("content",), ("output",), ("content", "tool_calls")])
def test_parts_are_counted_over_all_entries_before_any_is_read(lists: tuple[str, ...]) -> None:
    entry = dict.fromkeys(lists, [0] * (MAX_PARTS // len(lists)))
    assert bounded_parts({"input": [entry, "x", 7]}, "input")
    with pytest.raises(PydanticCustomError, match="'input' : maximum number of parts"):
        bounded_parts({"input": [entry, {"content": [0]}]}, "input")
