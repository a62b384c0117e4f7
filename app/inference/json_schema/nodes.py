"""Finds the subschemas of a schema, where they stand and whose value they speak about.

Only keywords that hold schemas are followed, never values such as `const` or `default`. Wrong
types are passed over: the metaschema names them.

**Source:** JSON Schema draft 2020-12, core and applicator vocabularies.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.inference.json_schema.violation import Segments

MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
LISTS = frozenset({"prefixItems", "anyOf", "oneOf", "allOf"})
SINGLES = frozenset(
    {
        "items",
        "additionalItems",
        "unevaluatedItems",
        "contains",
        "additionalProperties",
        "unevaluatedProperties",
        "propertyNames",
        "not",
        "if",
        "then",
        "else",
        "contentSchema",
    }
)
DEFINITIONS = frozenset({"$defs", "definitions"})
IN_PLACE = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas"})
"""These speak about the same value as the schema that they stand in."""

Schema = Mapping[str, Any] | bool


@dataclass(frozen=True, slots=True)
class Node:
    """One subschema; `keyword` is the one that holds it, `depth` counts levels of values."""

    schema: Schema
    at: Segments
    depth: int
    keyword: str | None


def walk(root: Mapping[str, Any]) -> Iterator[Node]:
    """Yield every subschema, the outer ones first."""
    waiting = [Node(root, (), 1, None)]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node.schema, Mapping):
            waiting.extend(reversed(list(children(node))))


def children(node: Node) -> Iterator[Node]:
    """Yield the subschemas directly below one."""
    assert isinstance(node.schema, Mapping)
    for keyword, value in node.schema.items():
        for below, schema in _held(keyword, value):
            if isinstance(schema, Mapping | bool):
                yield Node(schema, (*node.at, keyword, *below), _depth(node, keyword), keyword)


def _held(keyword: str, value: Any) -> Iterator[tuple[Segments, Any]]:
    if keyword in MAPS and isinstance(value, Mapping):
        yield from (((name,), schema) for name, schema in value.items())
    elif keyword in LISTS and isinstance(value, list):
        yield from (((str(index),), schema) for index, schema in enumerate(value))
    elif keyword in SINGLES:
        yield (), value


def _depth(node: Node, keyword: str) -> int:
    if keyword in DEFINITIONS:
        return 1
    return node.depth if keyword in IN_PLACE else node.depth + 1
