"""Checks that each keyword has a value of its kind, by the metaschema of JSON Schema.

Draft 7's metaschema is used, with the newer keywords added: checking by draft 2020-12's own takes
four times as long. `items` as a list is refused, as draft 2020-12 has it.
"""

from typing import Any

from jsonschema import Draft7Validator

from app.inference.json_schema.violation import Violation

_SCHEMAS = {"type": "object", "additionalProperties": {"$ref": "#"}}
_COUNT = {"$ref": "#/definitions/nonNegativeInteger"}
_ADDED = {
    "items": {"$ref": "#"},
    "prefixItems": {"$ref": "#/definitions/schemaArray"},
    "$defs": _SCHEMAS,
    "dependentSchemas": _SCHEMAS,
    "dependentRequired": {
        "type": "object",
        "additionalProperties": {"$ref": "#/definitions/stringArray"},
    },
    "minContains": _COUNT,
    "maxContains": _COUNT,
    "unevaluatedItems": {"$ref": "#"},
    "unevaluatedProperties": {"$ref": "#"},
    "contentSchema": {"$ref": "#"},
    "enum": {"type": "array", "items": True, "minItems": 1},
    "required": {"type": "array", "items": {"type": "string"}},
}
_METASCHEMA: dict[str, Any] = {
    **Draft7Validator.META_SCHEMA,
    "properties": {**Draft7Validator.META_SCHEMA["properties"], **_ADDED},
}
_VALIDATOR = Draft7Validator(_METASCHEMA)

_HINTS = {
    "type": "name one or several of the types of JSON",
    "required": "it must be an array of strings",
    "properties": "it must be an object whose values are schemas",
    "enum": "it must be an array of at least one value",
    "items": "it must be one schema; for several use `prefixItems`",
    "exclusiveMinimum": "it must be a number",
    "exclusiveMaximum": "it must be a number",
}


def check_keywords(schema: Any) -> None:
    """Check the types of all keywords. **Raises:** Violation at the first that is wrong."""
    error = next(_VALIDATOR.iter_errors(schema), None)
    if error is None:
        return
    at = tuple(str(segment) for segment in error.absolute_path)
    known = _METASCHEMA["properties"]
    kind = next((segment for segment in reversed(at) if segment in known), None)
    hint = f": {_HINTS[kind]}" if kind in _HINTS else ""
    message = f"the value of `{kind}` is not valid JSON Schema{hint}"
    raise Violation(at, kind, "keyword_invalid", message if kind else "this is not a schema")
