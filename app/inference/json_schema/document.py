"""Checks a generated document against a caller's schema, in bounded time and without its patterns.

A grammar enforces simple patterns; here they are passed over, since a regular expression of a
caller may take for ever. So are `format`, `unevaluatedProperties` and `unevaluatedItems`. Each
keyword that is looked at costs one step of a budget, which bounds references that fan out.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import create
from referencing import Registry

from app.inference.json_schema.nodes import IN_PLACE
from app.inference.json_schema.violation import pointer

MAX_STEPS = 100_000
"""Up to about 2 s of work; honest documents take one to three for each of their values."""
BRANCH_STEPS = 20
"""What trying a whole schema costs, beside a simple rule."""

_steps: ContextVar[int] = ContextVar("_steps")

Rule = Callable[[Any, Any, Any, Any], Any]


class InvalidDocument(ValueError):
    """The text is not the document that was asked for; its message may be shown to the caller."""


class _TooManySteps(Exception):
    pass


def check_document(text: str, schema: Mapping[str, Any] | None) -> None:
    """Check that a text is one JSON document that fits a schema, or any JSON object without one.

    Blocks for up to about 2 s on large documents. The schema has passed `check_schema`.

    **Raises:** InvalidDocument.
    """
    try:
        document = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidDocument("the text is not JSON") from None
    if schema is None:
        if not isinstance(document, dict):
            raise InvalidDocument("the text is not a JSON object")
        return
    _check(document, schema)


def is_valid(text: str, schema: Mapping[str, Any] | None) -> bool:
    """Whether `check_document` takes the text."""
    try:
        check_document(text, schema)
    except InvalidDocument:
        return False
    return True


def _check(document: Any, schema: Mapping[str, Any]) -> None:
    token = _steps.set(MAX_STEPS)
    try:
        error = next(_VALIDATOR(_unnamed(schema), registry=_NOTHING).iter_errors(document), None)
    except (_TooManySteps, RecursionError):
        raise InvalidDocument("the document takes too long to check") from None
    except (OverflowError, ValueError):
        raise InvalidDocument("the document has a number that is out of range") from None
    finally:
        _steps.reset(token)
    if error is not None:
        at = pointer(tuple(str(segment) for segment in error.absolute_path))[:500]
        rule = pointer(tuple(str(segment) for segment in error.absolute_schema_path))[:500]
        raise InvalidDocument(f"'{at}' does not validate with {rule}")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _unnamed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the root's own address, which would change what `$ref` is relative to."""
    return {keyword: v for keyword, v in schema.items() if keyword not in ("$id", "$schema")}


def _stepped(keyword: str, rule: Rule) -> Rule:
    cost = BRANCH_STEPS if keyword in _BRANCHES else 1

    def run(validator: Any, value: Any, document: Any, schema: Any) -> Any:
        left = _steps.get() - (len(value) if isinstance(value, list | dict) else 1) * cost
        _steps.set(left)
        if left < 0:
            raise _TooManySteps
        return rule(validator, value, document, schema)

    return run


def _unique(validator: Any, wanted: Any, document: Any, schema: Any) -> Iterator[ValidationError]:
    if not wanted or not isinstance(document, list):
        return
    seen = {json.dumps(item, sort_keys=True) for item in document}
    if len(seen) < len(document):
        yield ValidationError("items are repeated")


def _others(validator: Any, rule: Any, document: Any, schema: Any) -> Iterator[ValidationError]:
    if "patternProperties" not in schema:
        yield from _ALL["additionalProperties"](validator, rule, document, schema)


_BRANCHES = IN_PLACE | {"$ref"}
_ALL: Mapping[str, Any] = Draft202012Validator.VALIDATORS
_PASSED_OVER = (
    "pattern",
    "patternProperties",
    "format",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
)
_RULES: dict[str, Rule] = {
    **{keyword: rule for keyword, rule in _ALL.items() if keyword not in _PASSED_OVER},
    "uniqueItems": _unique,
    "additionalProperties": _others,
}
_NOTHING: Registry[Any] = Registry()
"""Resolves no address but the schema's own: nothing is ever fetched."""
_VALIDATOR = create(
    meta_schema={},
    validators={keyword: _stepped(keyword, rule) for keyword, rule in _RULES.items()},
    type_checker=Draft202012Validator.TYPE_CHECKER,
    id_of=lambda schema: "",
)
