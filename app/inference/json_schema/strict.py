"""The rules of `strict: true`: only what constrained decoding can promise is taken.

Every object names its properties as required and allows no other; an optional value is a union
with null. Keywords that the grammar would pass over are refused here, not ignored.

**Source:** console.groq.com/docs/structured-outputs; xgrammar 0.2.8 for what is enforced.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator

from app.inference.json_schema import references
from app.inference.json_schema.budget import (
    FORMATS,
    MAX_COST,
    MAX_NUMBER,
    is_simple,
    total_cost,
)
from app.inference.json_schema.nodes import Node
from app.inference.json_schema.references import Index
from app.inference.json_schema.violation import Violation

_NOTES = frozenset(
    {
        "title",
        "description",
        "default",
        "examples",
        "$comment",
        "$schema",
        "$id",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$defs",
        "definitions",
    }
)
_RULES_OF_TYPE = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "boolean": frozenset[str](),
    "null": frozenset[str](),
}
_MAIN = ("$ref", "anyOf", "enum", "const", "type")
"""A schema says what it allows by the first of these that it has, and by no other."""
_NUMBERS = _RULES_OF_TYPE["number"]
_TYPES = Draft202012Validator.TYPE_CHECKER


def check_strict(nodes: Sequence[Node]) -> None:
    """Check a schema that is otherwise sound. **Raises:** Violation."""
    known = references.index(nodes)
    _check_root(nodes[0], known)
    for node in nodes:
        _check_node(node)
    schemas = [node.schema for node in nodes if isinstance(node.schema, Mapping)]
    if total_cost(schemas) > MAX_COST:
        message = (
            "the different `minLength`, `maxLength`, `pattern` and `format` add up to more than "
            f"{MAX_COST} characters: use fewer, smaller or equal ones"
        )
        raise Violation((), "maxLength", "lengths_too_costly", message)


def _check_root(root: Node, known: Index) -> None:
    schema: Any = root.schema
    if "$ref" in schema:
        referred = references.target(schema, known)
        schema = referred.schema if referred else schema
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        message = "schema must have type 'object' and not have 'anyOf' or 'enum' at the top level"
        raise Violation((), "type", "root_not_object", message)


def _check_node(node: Node) -> None:
    schema = node.schema
    if isinstance(schema, bool):
        if schema or node.keyword not in ("additionalProperties", "items"):
            message = "`true` and `false` are not supported here: give a schema with a `type`"
            raise Violation(node.at, node.keyword, "type_missing", message)
        return
    main = next((keyword for keyword in _MAIN if keyword in schema), None)
    _check_allowed(node, schema, main)
    if main is None:
        message = "a schema must have `type`, `enum`, `const`, `anyOf` or `$ref`"
        raise Violation(node.at, "type", "type_missing", message)
    _check_values(node, schema)
    _check_text(node, schema)
    _check_numbers(node, schema)
    if "object" in _types(schema) and main == "type":
        _check_object(node, schema)
    if "array" in _types(schema) and main == "type":
        _check_array(node, schema)


def _check_allowed(node: Node, schema: Mapping[str, Any], main: str | None) -> None:
    allowed = set(_NOTES)
    if main in ("enum", "const"):
        allowed |= {main, "type"}
    elif main == "type":
        allowed |= {"type"}.union(*(_RULES_OF_TYPE[kind] for kind in _types(schema)))
    elif main is not None:
        allowed.add(main)
    for keyword in schema:
        if keyword not in allowed and not keyword.startswith("x-"):
            beside = f" beside `{main}`" if main else ""
            message = f"`{keyword}` is not supported{beside} when `strict` is true"
            raise Violation((*node.at, keyword), keyword, "keyword_unsupported", message)


def _types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    types = schema.get("type", ())
    return (types,) if isinstance(types, str) else tuple(types)


def _check_values(node: Node, schema: Mapping[str, Any]) -> None:
    keyword = "enum" if "enum" in schema else "const"
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    types = _types(schema)
    if types and any(not any(_TYPES.is_type(v, kind) for kind in types) for v in values):
        message = f"a value of `{keyword}` is not of the given `type`"
        raise Violation((*node.at, keyword), keyword, "type_mismatch", message)


def _check_text(node: Node, schema: Mapping[str, Any]) -> None:
    if "format" in schema and schema["format"] not in FORMATS:
        message = f"this `format` is not supported: use one of {', '.join(sorted(FORMATS))}"
        raise Violation((*node.at, "format"), "format", "format_unsupported", message)
    if "pattern" in schema and not is_simple(schema["pattern"]):
        message = (
            "`pattern` must begin with `^`, end with `$` and have only characters, sets and counts "
            "between: no groups, alternatives, lookarounds or backreferences"
        )
        raise Violation((*node.at, "pattern"), "pattern", "pattern_unsupported", message)
    given = [k for k in ("pattern", "format", "minLength", "maxLength") if k in schema]
    if given and given[0] in ("pattern", "format") and len(given) > 1:
        message = f"`{given[0]}` and `{given[1]}` are not supported together"
        raise Violation((*node.at, given[1]), given[1], "keyword_unsupported", message)


def _check_numbers(node: Node, schema: Mapping[str, Any]) -> None:
    for keyword in _NUMBERS & schema.keys():
        if abs(schema[keyword]) > MAX_NUMBER:
            message = f"`{keyword}` must be between -10^18 and 10^18: leave it out"
            raise Violation((*node.at, keyword), keyword, "number_out_of_range", message)


def _check_object(node: Node, schema: Mapping[str, Any]) -> None:
    if schema.get("additionalProperties") is not False:
        message = "`additionalProperties:false` must be set on every object"
        kind = "additionalProperties"
        raise Violation(node.at, kind, "additional_properties_not_false", message)
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if missing := [name for name in properties if name not in set(required)]:
        message = "`required` is required to be supplied and to be an array including every key in"
        names = ", ".join(missing[:20])[:500]
        at = (*node.at, "required")
        raise Violation(at, "required", "required_incomplete", f"{message} properties: {names}")
    if unknown := next((name for name in required if name not in properties), None):
        message = f"`required` names '{unknown[:100]}', which is not in `properties`"
        raise Violation((*node.at, "required"), "required", "required_unknown", message)


def _check_array(node: Node, schema: Mapping[str, Any]) -> None:
    if "items" not in schema:
        message = "`items` must be set on every array"
        raise Violation(node.at, "items", "items_missing", message)
