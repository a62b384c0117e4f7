"""The sizes that every schema keeps, so that reading and compiling it costs little.

Each bound was set by measuring xgrammar 0.2.8: a schema that keeps them is converted in well under
0.5 s. What compiling costs beyond that is in `budget`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.inference.json_schema.nodes import MAPS, Node
from app.inference.json_schema.violation import Violation

MAX_BYTES = 65_536
MAX_JSON_NESTING = 48
"""Objects and lists in one another; vLLM refuses 64 after wrapping a tool's schema in its own."""
MAX_DEPTH = 10
"""Values in one another, as objects in lists in objects; references do not count."""
MAX_NODES = 500
MAX_NAME_CHARACTERS = 256
MAX_NAMES_CHARACTERS = 30_000
MAX_ENUM_VALUES = 500
MAX_ALL_ENUM_VALUES = 1_000
MAX_VALUE_CHARACTERS = 512
"""One text inside `enum` or `const`: compiling takes time in the square of it."""
MAX_PATTERN_CHARACTERS = 512
MAX_LENGTH = 2**31 - 1
"""`minLength`, `maxLength`: xgrammar takes no greater ones."""
MAX_COUNT = 100_000
"""Other counts: llguidance, to which vLLM may fall back, aborts its process at 10^9 items."""


def check_bytes(schema: Mapping[str, Any]) -> None:
    """Bound the whole document. **Raises:** Violation."""
    _check_nesting(schema)
    try:
        size = len(json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode())
    except UnicodeEncodeError:
        message = "a text has half of a surrogate pair, which is not Unicode text"
        raise Violation((), None, "invalid_text", message) from None
    if size > MAX_BYTES:
        raise Violation((), None, "too_large", _too_large())


def check_nodes(nodes: Sequence[Node]) -> None:
    """Bound what each subschema adds. **Raises:** Violation."""
    names = values = 0
    for node in nodes:
        if node.depth > MAX_DEPTH:
            message = f"values may be nested at most {MAX_DEPTH} levels deep: use a flatter schema"
            raise Violation(node.at, node.keyword, "too_deep", message)
        if isinstance(node.schema, Mapping):
            names += _check_names(node, node.schema)
            values += _check_values(node, node.schema)
            _check_patterns(node, node.schema)
    if names > MAX_NAMES_CHARACTERS:
        message = f"the names may have at most {MAX_NAMES_CHARACTERS} characters in all"
        raise Violation((), "properties", "names_too_long", f"{message}: shorten them")
    if values > MAX_ALL_ENUM_VALUES:
        message = f"all `enum` together may list at most {MAX_ALL_ENUM_VALUES} values"
        raise Violation((), "enum", "too_many_enum_values", message)


def _check_nesting(schema: Mapping[str, Any]) -> None:
    level: list[Any] = [schema]
    depth = size = 0
    while level:
        depth += 1
        if depth > MAX_JSON_NESTING:
            message = f"the schema is nested more than {MAX_JSON_NESTING} levels deep"
            raise Violation((), None, "too_deep", f"{message}: move parts of it to `$defs`")
        size += sum(_least_size(value) for value in level)
        if size > MAX_BYTES:
            raise Violation((), None, "too_large", _too_large())
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, Mapping) else value)
            if isinstance(child, Mapping | list)
        ]


def _least_size(value: Any) -> int:
    if isinstance(value, Mapping):
        return 2 + sum(len(name) + 4 for name in value)
    return 2 + 2 * len(value)


def _too_large() -> str:
    return f"the schema is larger than {MAX_BYTES} bytes: shorten its descriptions and names"


def _check_names(node: Node, schema: Mapping[str, Any]) -> int:
    total = 0
    for keyword in MAPS & schema.keys():
        held = schema[keyword]
        for name in held if isinstance(held, Mapping) else ():
            total += len(name)
            if len(name) > MAX_NAME_CHARACTERS:
                message = f"a name may have at most {MAX_NAME_CHARACTERS} characters"
                raise Violation((*node.at, keyword), keyword, "name_too_long", message)
    return total


def _check_values(node: Node, schema: Mapping[str, Any]) -> int:
    listed = schema.get("enum")
    count = len(listed) if isinstance(listed, list) else 0
    if count > MAX_ENUM_VALUES:
        message = f"`enum` may list at most {MAX_ENUM_VALUES} values: use a plain string instead"
        raise Violation((*node.at, "enum"), "enum", "too_many_enum_values", message)
    for keyword in ("enum", "const"):
        if _longest_text(schema.get(keyword)) > MAX_VALUE_CHARACTERS:
            message = f"a text in `{keyword}` may have at most {MAX_VALUE_CHARACTERS} characters"
            raise Violation((*node.at, keyword), keyword, "enum_value_too_long", message)
    return count


def _longest_text(value: Any) -> int:
    longest, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            longest = max(longest, len(item))
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, Mapping):
            waiting.extend((*item.keys(), *item.values()))
    return longest


def _check_patterns(node: Node, schema: Mapping[str, Any]) -> None:
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and len(pattern) > MAX_PATTERN_CHARACTERS:
        message = f"a pattern may have at most {MAX_PATTERN_CHARACTERS} characters"
        raise Violation((*node.at, "pattern"), "pattern", "pattern_too_long", message)
