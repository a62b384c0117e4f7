"""What the schemas of one request's tools may cost together; each alone passes `check_schema`.

The engine compiles one grammar of all tools that an answer is held to. With xgrammar 0.2.8 and a
vocabulary of 49,152, this many take up to about 5 s on one core: an object's names cost time in the
square of their number.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from app.inference.json_schema.bounds import MAX_NODES
from app.inference.json_schema.budget import total_cost
from app.inference.json_schema.nodes import walk
from app.inference.json_schema.violation import Violation

MAX_ALL_NODES = 10_000
"""Checking takes 0.5 s for so many."""
MAX_ALL_COST = 1_024
MAX_ALL_SQUARES = MAX_NODES**2


def check_number(schemas: Sequence[Mapping[str, Any]], *, param: str) -> None:
    """Bound what checking them one by one takes. **Raises:** ApiError 400."""
    nodes = 0
    for schema in schemas:
        nodes += sum(1 for _ in islice(walk(schema), MAX_NODES + 1))
        if nodes > MAX_ALL_NODES:
            message = f"all schemas together have more than {MAX_ALL_NODES} subschemas"
            violation = Violation((), None, "too_many_nodes", f"{message}: send fewer or smaller")
            raise violation.refusal(param, None)


def check_grammar(schemas: Sequence[Mapping[str, Any]], *, param: str) -> None:
    """Bound what their one grammar takes to compile. **Raises:** ApiError 400."""
    parts = [node.schema for schema in schemas for node in walk(schema)]
    objects = [part for part in parts if isinstance(part, Mapping)]
    squares = sum(len(part.get("properties", ())) ** 2 for part in objects)
    if squares > MAX_ALL_SQUARES or total_cost(objects) > MAX_ALL_COST:
        message = (
            "all schemas that an answer is held to cost too much together: send fewer, with fewer "
            "properties, or with equal `minLength`, `maxLength`, `pattern`"
        )
        raise Violation((), None, "schemas_too_costly", message).refusal(param, None)
