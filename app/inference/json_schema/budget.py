"""What the grammar of a schema costs to compile, and which patterns a grammar takes at all.

xgrammar builds an automaton for each different bound on a text's length and for each pattern: up
to 1.5 s each. A cost is about the number of characters that such an automaton counts; 256 of them
take at most about 2 s on one core with a vocabulary of 49,152.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

MAX_COST = 256
MAX_LENGTH_COST = 256
"""The automaton of one length stops growing there."""

FORMATS = frozenset(
    {
        "email",
        "date",
        "time",
        "date-time",
        "duration",
        "ipv4",
        "ipv6",
        "hostname",
        "uuid",
        "uri",
        "uri-reference",
        "uri-template",
        "json-pointer",
        "relative-json-pointer",
    }
)
"""**Source:** vllm.v1.structured_output.backend_xgrammar.STRING_SUPPORTED_FORMATS (0.32)."""

MAX_NUMBER = 10**18

_COUNT = r"\{\d{1,3}(?:,\d{0,3})?\}"
_RANGE = r"[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]"
_SET = rf"\[-?(?:{_RANGE}|\\[dw.\-/\]]|[\w .,:;@#%&=!/+*?()<>~'])+-?\]"
_ATOM = rf"(?:\\[dw.\-/+*?()\[\]{{}}^$|]|{_SET}|[\w @#%&=!/:;,<>~'-])"
_SIMPLE = re.compile(rf"\^(?:{_ATOM}(?:[*+?]|{_COUNT})?+)*+\$", re.ASCII)
_NUMBERS = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_SPANS = re.compile(r"([a-zA-Z0-9])-([a-zA-Z0-9])")


def is_simple(pattern: str) -> bool:
    r"""Whether it is `^`, plain characters, sets and counts, then `$`: no groups, no choices.

    Quotes, backslashes, `.` and `\s` are left out: xgrammar writes them into the text unescaped, so
    that it is no JSON.
    """
    counts = ((int(least), int(most or least)) for least, most in _NUMBERS.findall(pattern))
    return (
        _SIMPLE.fullmatch(pattern) is not None
        and all(least <= most for least, most in counts)
        and all(first <= last for first, last in _SPANS.findall(pattern))
    )


def pattern_cost(pattern: str) -> int:
    """Estimate the automaton's size."""
    counted = sum(int(most or least) for least, most in _NUMBERS.findall(pattern))
    return 4 + counted


def total_cost(schemas: Iterable[Mapping[str, Any]]) -> int:
    """Add up what the lengths, patterns and formats of these subschemas cost; repeats are free."""
    costs: dict[tuple[Any, ...], int] = {}
    formats = 0
    for schema in schemas:
        if (length := _length(schema)) is not None:
            costs[("length", *length)] = min(max(length), MAX_LENGTH_COST)
        if isinstance(pattern := schema.get("pattern"), str):
            costs[("pattern", pattern)] = pattern_cost(pattern)
        formats += "format" in schema
    return sum(costs.values()) + formats


def _length(schema: Mapping[str, Any]) -> tuple[int, int] | None:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 0)
    if not least and "maxLength" not in schema:
        return None
    return int(least), int(most)
