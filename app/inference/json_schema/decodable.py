"""Makes of a schema the part that constrained decoding can enforce, for best-effort answers.

Rules that xgrammar does not know, that vLLM refuses for it, or that take long to compile are
dropped, and `check_document` looks at most of them after. An object that names properties and does
not speak of others is decoded without others.
A schema that passed the rules of `strict` needs none of this.

**Source:** vllm.v1.structured_output.backend_xgrammar.has_xgrammar_unsupported_json_features
(0.32).
"""

from collections.abc import Mapping
from typing import Any

from app.inference.json_schema.budget import (
    FORMATS,
    MAX_COST,
    MAX_NUMBER,
    is_simple,
    total_cost,
)
from app.inference.json_schema.nodes import LISTS, MAPS, SINGLES, walk

_DROPPED = frozenset(
    {
        "$id",
        "$schema",
        "$anchor",
        "additionalItems",
        "contains",
        "contentSchema",
        "default",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "deprecated",
        "description",
        "else",
        "examples",
        "if",
        "maxContains",
        "maxProperties",
        "minContains",
        "minProperties",
        "multipleOf",
        "not",
        "propertyNames",
        "then",
        "title",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LENGTHS = ("minLength", "maxLength")


def decodable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a grammar is to be made of; the schema has passed `check_schema`."""
    made: dict[str, Any] = _relaxed(schema)
    schemas = [node.schema for node in walk(made) if isinstance(node.schema, Mapping)]
    if total_cost(schemas) > MAX_COST:
        made = _without_lengths(made)
    return made


def _relaxed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made = {keyword: v for keyword, v in schema.items() if keyword not in _DROPPED}
    _relax_unions(made)
    _relax_text(made)
    if "patternProperties" in made:
        del made["patternProperties"]
        made.pop("additionalProperties", None)
    for keyword in _NUMBERS:
        if abs(made.get(keyword, 0)) > MAX_NUMBER:
            del made[keyword]
    _open(made)
    return _mapped(made, _relaxed)


def _open(made: dict[str, Any]) -> None:
    """Say what JSON Schema leaves unsaid: for xgrammar a bare list or object is an empty one."""
    types = made.get("type", ())
    if "array" in types and "items" not in made:
        made["items"] = True
    if "object" in types and not made.keys() & {"properties", "additionalProperties"}:
        made["additionalProperties"] = True


def _relax_unions(made: dict[str, Any]) -> None:
    if len(made.get("allOf", ())) > 1:
        del made["allOf"]
    if len([k for k in ("$ref", "anyOf", "oneOf", "allOf", "enum", "const") if k in made]) > 1:
        made.pop("allOf", None)


def _relax_text(made: dict[str, Any]) -> None:
    if "pattern" in made and not is_simple(made["pattern"]):
        del made["pattern"]
    if "format" in made and ("pattern" in made or made["format"] not in FORMATS):
        del made["format"]
    if "pattern" in made or "format" in made:
        for keyword in _LENGTHS:
            made.pop(keyword, None)


def _without_lengths(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    dropped = (*_LENGTHS, "pattern", "format")
    return _mapped({k: v for k, v in schema.items() if k not in dropped}, _without_lengths)


def _mapped(schema: dict[str, Any], change: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in MAPS:
            made[keyword] = {name: change(held) for name, held in value.items()}
        elif keyword in LISTS:
            made[keyword] = [change(held) for held in value]
        else:
            made[keyword] = change(value) if keyword in SINGLES else value
    return made
