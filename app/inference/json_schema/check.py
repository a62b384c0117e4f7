"""Decides whether a caller's schema is taken, and says what to change where it is not."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from app.inference.json_schema.bounds import MAX_NODES, check_bytes, check_nodes
from app.inference.json_schema.metaschema import check_keywords
from app.inference.json_schema.nodes import walk
from app.inference.json_schema.ranges import check_ranges
from app.inference.json_schema.references import check_references
from app.inference.json_schema.strict import check_strict
from app.inference.json_schema.violation import Violation


def check_schema(schema: Any, *, param: str, strict: bool, name: str | None = None) -> None:
    """Refuse a schema that is malformed, too costly, or against the rules of `strict`.

    `name` is what the caller calls the schema. Takes at most some 50 ms.

    **Raises:** ApiError 400 with `schema_path`, `schema_path_segments`, `schema_kind` and
    `schema_code`.
    """
    try:
        _check(schema, strict)
    except Violation as violation:
        raise violation.refusal(param, name) from None


def _check(schema: Any, strict: bool) -> None:
    if not isinstance(schema, Mapping):
        raise Violation((), None, "not_an_object", "a schema must be a JSON object")
    check_bytes(schema)
    nodes = list(islice(walk(schema), MAX_NODES + 1))
    if len(nodes) > MAX_NODES:
        message = f"the schema has more than {MAX_NODES} subschemas: share them by `$defs`"
        raise Violation((), None, "too_many_nodes", message)
    check_nodes(nodes)
    check_keywords(schema)
    check_references(nodes)
    for node in nodes:
        check_ranges(node)
    if strict:
        check_strict(nodes)
