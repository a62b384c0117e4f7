"""Which schemas are taken, and what a client reads where one is not."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ApiError
from app.inference.json_schema import check_schema
from tests.fixtures.json_schemas import Schema, closed, strict_schemas

TEXT: Schema = {"type": "string"}
PERSON = closed({"name": TEXT, "user": closed({"id": {"type": "integer"}})})


def refusal(schema: Any, *, strict: bool = True, name: str | None = None) -> dict[str, Any]:
    with pytest.raises(ApiError) as caught:
        check_schema(schema, param="response_format", strict=strict, name=name)
    assert caught.value.status == 400
    error: dict[str, Any] = caught.value.envelope()["error"]
    return error


def test_a_refusal_has_the_shape_that_groq_gives_it() -> None:
    schema = copy.deepcopy(PERSON)
    del schema["properties"]["user"]["additionalProperties"]
    assert refusal(schema, name="person") == {
        "message": "invalid JSON schema for response_format: 'person': /properties/user: "
        "`additionalProperties:false` must be set on every object",
        "type": "invalid_request_error",
        "param": "response_format",
        "schema_path": "/properties/user",
        "schema_path_segments": ["$", "properties", "user"],
        "schema_kind": "additionalProperties",
        "schema_code": "additional_properties_not_false",
    }


def test_a_refusal_of_the_whole_schema_names_no_path() -> None:
    error = refusal({"type": "array", "items": TEXT})
    assert error["schema_path"] == ""
    assert error["schema_path_segments"] == ["$"]
    assert error["schema_code"] == "root_not_object"


def test_an_optional_property_is_refused_with_its_name() -> None:
    schema = {**PERSON, "required": ["name"]}
    error = refusal(schema)
    assert error["schema_path"] == "/required"
    assert error["schema_kind"] == "required"
    assert error["message"].endswith("every key in properties: user")


def test_names_with_slashes_are_escaped_in_the_path_and_not_in_the_segments() -> None:
    error = refusal(closed({"a/b~c": {"type": "object"}}))
    assert error["schema_path"] == "/properties/a~1b~0c"
    assert error["schema_path_segments"] == ["$", "properties", "a/b~c"]


def test_best_effort_does_not_ask_for_the_rules_of_strict() -> None:
    schema = {"type": "object", "properties": {"a": TEXT, "b": {"oneOf": [TEXT, {}]}}}
    check_schema(schema, param="tools[0].function.parameters", strict=False)


def test_the_parameter_is_the_one_that_the_caller_names() -> None:
    with pytest.raises(ApiError) as caught:
        check_schema([], param="tools[0].function.parameters", strict=False)
    assert caught.value.param == "tools[0].function.parameters"


@pytest.mark.parametrize(
    "schema",
    [
        closed({"a": {"anyOf": [TEXT, {"type": "null"}]}}),
        closed({"a": {"type": ["string", "null"]}}),
        closed({"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}),
        {"$defs": {"node": closed({"a": TEXT})}, "$ref": "#/$defs/node"},
        {**closed({"a": {"$ref": "#/$defs/a"}}), "$defs": {"a": {"enum": [1, None, "x"]}}},
        closed({"a": {"type": "array", "prefixItems": [TEXT], "items": False, "minItems": 1}}),
        closed({"a": {"type": "string", "pattern": r"^\+?[1-9]\d{1,14}$"}}),
        {"type": "object", "additionalProperties": False},
        {**closed({"a": {**TEXT, "title": "A", "default": "x"}}), "x-order": 1},
    ],
)
def test_what_groq_documents_for_strict_is_taken(schema: Schema) -> None:
    check_schema(schema, param="response_format", strict=True)


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ({}, "type_missing"),
        (True, "type_missing"),
        ({"type": "array"}, "items_missing"),
        ({"type": "string", "enum": [1]}, "type_mismatch"),
        ({"type": "integer", "const": "1"}, "type_mismatch"),
        ({"type": "string", "maximum": 3}, "keyword_unsupported"),
        ({"anyOf": [TEXT], "type": "string"}, "keyword_unsupported"),
        ({"$ref": "#/properties/b", "minLength": 3}, "keyword_unsupported"),
        ({"enum": ["a"], "minLength": 3}, "keyword_unsupported"),
        ({"type": "object", "properties": {}}, "additional_properties_not_false"),
        ({"type": ["object", "null"]}, "additional_properties_not_false"),
        ({**closed({}), "required": ["x"]}, "required_unknown"),
    ],
)
def test_what_a_grammar_would_pass_over_is_refused_by_strict(inner: Any, code: str) -> None:
    error = refusal(closed({"a": inner, "b": TEXT}))
    assert error["schema_code"] == code
    assert error["schema_path"].startswith("/properties/a")


@given(strict_schemas())
def test_every_generated_schema_keeps_the_rules_of_strict(schema: Schema) -> None:
    check_schema(schema, param="response_format", strict=True)


def _objects(schema: Any, path: str = "") -> list[tuple[str, Schema]]:
    if isinstance(schema, list):
        below = enumerate(schema)
    elif isinstance(schema, dict):
        below = schema.items()
    else:
        return []
    own = [(path, schema)] if isinstance(schema, dict) and "additionalProperties" in schema else []
    for key, value in below:
        segment = str(key).replace("~", "~0").replace("/", "~1")
        own += _objects(value, f"{path}/{segment}")
    return own


@given(strict_schemas(), st.data())
def test_one_broken_rule_is_refused_at_its_place(schema: Schema, data: st.DataObject) -> None:
    path, broken = data.draw(st.sampled_from(_objects(schema)))
    rule = data.draw(st.sampled_from(["open", "unsaid", "optional", "unknown", "keyword"]))
    if rule == "open":
        broken["additionalProperties"] = True
    elif rule == "unsaid":
        del broken["additionalProperties"]
    elif rule == "optional":
        broken["required"] = broken["required"][1:]
        path += "/required"
    elif rule == "unknown":
        broken["required"] = [*broken["required"], "nowhere"]
        path += "/required"
    else:
        broken["minProperties"] = 1
        path += "/minProperties"
    expected = path + "/additionalProperties" if rule == "open" else path
    assert refusal(schema)["schema_path"] in (path, expected)
