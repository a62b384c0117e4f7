"""What counts as the document that was asked for, and what decoding is made to enforce of it."""

import json

import pytest

from app.inference.json_schema import (
    InvalidDocument,
    check_document,
    check_schema,
    decodable,
    is_valid,
)
from tests.fixtures.json_schemas import Schema

TEXT: Schema = {"type": "string"}


@pytest.mark.parametrize("text", ["", " ", "{", "{'a': 1}", "NaN", "[" * 100_000, "{} {}", "x{}"])
def test_what_is_not_json_is_invalid(text: str) -> None:
    assert not is_valid(text, {})


@pytest.mark.parametrize("text", ["[]", "1", "null", '"{}"'])
def test_without_a_schema_only_an_object_is_valid(text: str) -> None:
    assert not is_valid(text, None)
    assert is_valid('{"a": [1]}', None)


def test_the_first_difference_is_named_without_the_document() -> None:
    schema = {"properties": {"a": {"type": "array", "items": TEXT}}}
    with pytest.raises(InvalidDocument) as caught:
        check_document('{"a": ["secret", 3]}', schema)
    assert str(caught.value) == "'/a/1' does not validate with /properties/a/items/type"


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "multipleOf": 7}, "14", "15"),
        ({"uniqueItems": True}, '[1, {"a": 1}]', '[{"a": 1, "b": 2}, {"b": 2, "a": 1}]'),
        ({"contains": {"const": 3}}, "[1, 3]", "[1, 2]"),
        ({"not": TEXT}, "1", '"a"'),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, "{}", '{"a": 1}'),
        ({"allOf": [{"required": ["a"]}, {"required": ["b"]}]}, '{"a":1,"b":1}', '{"a":1}'),
        ({"propertyNames": {"maxLength": 2}}, '{"ab": 1}', '{"abc": 1}'),
        ({"type": "object", "minProperties": 1}, '{"a": 1}', "{}"),
        ({"additionalProperties": False}, "{}", '{"a": 1}'),
        ({"$defs": {"a": TEXT}, "items": {"$ref": "#/$defs/a"}}, '["a"]', "[1]"),
        ({"$id": "http://example.com/a", "items": {"$ref": "#"}, "type": "array"}, "[[]]", "[1]"),
    ],
)
def test_rules_that_decoding_leaves_out_are_checked(schema: Schema, good: str, bad: str) -> None:
    check_schema(schema, param="response_format", strict=False)
    assert is_valid(good, schema)
    assert not is_valid(bad, schema)


def test_patterns_of_a_caller_are_never_run() -> None:
    endless = "^(a+)+$"
    text = json.dumps({"b": "a" * 40 + "!", "a" * 40 + "!": 1})
    schema = {
        "properties": {"b": {"pattern": endless}},
        "patternProperties": {endless: TEXT},
        "propertyNames": {"pattern": endless},
        "additionalProperties": False,
    }
    assert is_valid(text, schema)


def test_an_honest_document_of_a_thousand_entries_is_checked() -> None:
    entry = {"type": "object", "properties": {"a": TEXT, "b": {"anyOf": [TEXT, {"type": "null"}]}}}
    text = json.dumps([{"a": "x", "b": None}] * 1_000)
    assert is_valid(text, {"type": "array", "items": entry})


def test_a_number_out_of_range_is_invalid_and_not_an_error() -> None:
    assert not is_valid("1e999", {"type": "integer", "multipleOf": 3})
    assert not is_valid("9" * 400, {"multipleOf": 0.3})


def test_decoding_is_given_nothing_that_vllm_refuses() -> None:
    schema = {
        "type": "object",
        "description": "left out",
        "properties": {
            "a": {"type": "number", "multipleOf": 0.1, "maximum": 1e300},
            "b": {"type": "array", "uniqueItems": True},
            "c": {"type": "string", "format": "binary", "pattern": "(a+)+"},
            "d": {"type": "string", "format": "email", "maxLength": 9},
        },
    }
    assert decodable(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": "number"},
            "b": {"type": "array", "items": True},
            "c": {"type": "string"},
            "d": {"type": "string", "format": "email"},
        },
    }


def test_decoding_may_make_any_entry_of_an_object_or_a_list_that_says_nothing_of_them() -> None:
    assert decodable({"type": "object"}) == {"type": "object", "additionalProperties": True}
    named = {"patternProperties": {"a": TEXT}, "type": "object", "additionalProperties": False}
    assert decodable(named) == {"type": "object", "additionalProperties": True}


def test_lengths_that_cost_too_much_are_left_to_the_check() -> None:
    texts = {f"p{n}": {"type": "string", "maxLength": 100 + n} for n in range(10)}
    made = decodable({"properties": texts})
    assert all(schema == TEXT for schema in made["properties"].values())
    cheap = {"properties": {"a": {"type": "string", "maxLength": 20}}}
    assert decodable(cheap) == cheap


def test_decoding_leaves_names_and_values_that_look_like_keywords_alone() -> None:
    schema = {"properties": {"uniqueItems": TEXT, "title": TEXT}, "const": {"default": 1}}
    assert decodable(schema) == schema
