"""Resolves `$ref` inside one schema; refuses what is remote, missing, or never reaches a value."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.inference.json_schema.nodes import IN_PLACE, Node, children
from app.inference.json_schema.violation import Segments, Violation

_DYNAMIC = ("$dynamicRef", "$recursiveRef")

Index = Mapping[Segments, Node]


def index(nodes: Sequence[Node]) -> Index:
    """Arrange subschemas by where they stand."""
    return {node.at: node for node in nodes}


def check_references(nodes: Sequence[Node]) -> None:
    """Check each reference, then that none leads back to itself. **Raises:** Violation."""
    known = index(nodes)
    for node in nodes:
        if isinstance(node.schema, Mapping):
            _check(node, node.schema, known)
    _check_loops(nodes, known)


def target(schema: Mapping[str, Any], known: Index) -> Node | None:
    """Return the subschema that `$ref` names, if there is one."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return None
    return known.get(tuple(reference.split("/")[1:]))


def _check(node: Node, schema: Mapping[str, Any], known: Index) -> None:
    for keyword in _DYNAMIC:
        if keyword in schema:
            message = f"`{keyword}` is not supported: use `$ref`"
            raise Violation((*node.at, keyword), keyword, "keyword_unsupported", message)
    reference = schema.get("$ref")
    if reference is None:
        return
    at = (*node.at, "$ref")
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        message = "`$ref` must be `#` or begin with `#/`: copy other schemas into `$defs`"
        raise Violation(at, "$ref", "reference_not_local", message)
    if "~" in reference or "%" in reference:
        message = "`$ref` cannot name keys that need escapes: rename them"
        raise Violation(at, "$ref", "reference_escaped", message)
    if target(schema, known) is None:
        message = "`$ref` names no schema in this document"
        raise Violation(at, "$ref", "reference_unresolved", message)


def _check_loops(nodes: Sequence[Node], known: Index) -> None:
    done: set[Segments] = set()
    for node in nodes:
        _follow(node, known, done)


def _follow(start: Node, known: Index, done: set[Segments]) -> None:
    """Search depth first what speaks about the same value; meeting an open node is a loop."""
    opened: set[Segments] = set()
    stack: list[tuple[Node, Iterator[Node]]] = []
    entering: Node | None = start
    while entering or stack:
        if entering and entering.at not in done:
            if entering.at in opened:
                message = "the schema refers to itself without any object or array between"
                raise Violation((*entering.at,), "$ref", "reference_loop", message)
            opened.add(entering.at)
            stack.append((entering, _same_value(entering, known)))
        if not stack:
            return
        current, rest = stack[-1]
        entering = next(rest, None)
        if entering is None:
            stack.pop()
            done.add(current.at)


def _same_value(node: Node, known: Index) -> Iterator[Node]:
    if not isinstance(node.schema, Mapping):
        return
    if (referred := target(node.schema, known)) is not None:
        yield referred
    yield from (child for child in children(node) if child.keyword in IN_PLACE)
