"""Refuses subschemas that no value can satisfy, or whose bounds are not numbers a grammar takes."""

from collections.abc import Mapping
from typing import Any

from app.inference.json_schema.bounds import MAX_COUNT, MAX_LENGTH
from app.inference.json_schema.nodes import Node
from app.inference.json_schema.violation import Violation

_PAIRS = (
    ("minimum", "maximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minContains", "maxContains"),
)
_COUNTS = tuple(keyword for pair in _PAIRS[1:] for keyword in pair)
_MAY_BE_FALSE = frozenset(
    {
        "additionalProperties",
        "unevaluatedProperties",
        "items",
        "additionalItems",
        "unevaluatedItems",
    }
)


def check_ranges(node: Node) -> None:
    """Check one subschema whose keywords have their right types. **Raises:** Violation."""
    if isinstance(node.schema, bool):
        if node.schema is False and node.keyword not in _MAY_BE_FALSE:
            message = "`false` allows no value: leave the entry out"
            raise Violation(node.at, node.keyword, "unsatisfiable", message)
        return
    _check_counts(node, node.schema)
    for low, high in _PAIRS:
        if low in node.schema and high in node.schema and node.schema[low] > node.schema[high]:
            message = f"`{low}` is greater than `{high}`"
            raise Violation((*node.at, low), low, "unsatisfiable", message)
    _check_exclusive(node, node.schema)


def _check_counts(node: Node, schema: Mapping[str, Any]) -> None:
    for keyword in _COUNTS:
        value = schema.get(keyword, 0)
        limit = MAX_LENGTH if keyword in ("minLength", "maxLength") else MAX_COUNT
        if not isinstance(value, int) or value > limit:
            message = f"`{keyword}` must be a whole number up to {limit}"
            raise Violation((*node.at, keyword), keyword, "count_out_of_range", message)


def _check_exclusive(node: Node, schema: Mapping[str, Any]) -> None:
    low = schema.get("exclusiveMinimum", schema.get("minimum"))
    high = schema.get("exclusiveMaximum", schema.get("maximum"))
    is_open = "exclusiveMinimum" in schema or "exclusiveMaximum" in schema
    if low is None or high is None or not is_open:
        return
    least_gap = 1 if schema.get("type") == "integer" and _both_open(schema) else 0
    if high - low <= least_gap:
        kind = "exclusiveMinimum" if "exclusiveMinimum" in schema else "exclusiveMaximum"
        message = "the bounds leave no number between them"
        raise Violation((*node.at, kind), kind, "unsatisfiable", message)


def _both_open(schema: Mapping[str, Any]) -> bool:
    return "exclusiveMinimum" in schema and "exclusiveMaximum" in schema
