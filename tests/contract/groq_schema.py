"""Groq's OpenAPI 3.0 schemas as JSON Schemas, and which of them a given answer must match.

Decided deviations stand in one table, each with its reason and a document that shows it. Where the
contract's file is not there, nothing is checked.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import yaml

CONTRACT = Path(__file__).parents[2].parent / "shared" / "contract" / "groq-openapi.yaml"

ERROR = "ErrorResponse"
CHUNK = "CreateChatCompletionStreamResponse"
RESPONSE = "CreateResponseResponse"
OUTPUT_ITEM = "ResponseOutputItem"

_KEPT = {
    *("type", "enum", "required", "pattern", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "multipleOf"),
}
_NESTED = {"items", "additionalProperties", "not"}
_NESTED_LISTS = {"allOf", "anyOf", "oneOf"}


class Deviation(NamedTuple):
    """Where we answer otherwise than Groq's schema says, decided and documented.

    `place` is a path into the document, `*` for any index; `example` deviates there and only there.
    """

    schema: str
    place: str
    keyword: str
    reason: str
    example: Mapping[str, Any]


_USAGE_COMES_LAST = "as OpenAI's events do: an answer that is not finished has no usage yet"
_REFUSED = "an adapter in the bucket that was refused is listed too, and is no model"
_ADAPTERS = "Groq's documentation has the purpose `fine_tuning`, its schema has not"
_FILE = {"id": "file_1", "object": "file", "bytes": 1, "created_at": 1, "filename": "a.zip"}
_ANSWER = {
    **{"id": "resp_1", "object": "response", "status": "in_progress", "created_at": 1},
    **{"output": [], "model": "m", "tools": [], "tool_choice": "auto", "truncation": "disabled"},
    **{"metadata": {}, "temperature": 1, "top_p": 1, "service_tier": "default", "error": None},
    **{"incomplete_details": None, "parallel_tool_calls": True, "store": False},
}
_NOT_YET = "Groq's own examples have null for what a batch does not have"
_BATCH = {
    **{"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "created_at": 1},
    **{"input_file_id": "file_1", "completion_window": "24h", "status": "validating"},
}
_NULL_IN_BATCHES = (
    *("errors", "output_file_id", "error_file_id", "in_progress_at", "finalizing_at"),
    *("completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"),
)
_CHAT = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": []}

DEVIATIONS = (
    Deviation(
        "CreateChatCompletionResponse",
        "usage_breakdown",
        "type",
        "Groq sends null here, its schema does not take it",
        {**_CHAT, "usage_breakdown": None},
    ),
    Deviation(RESPONSE, "usage", "type", _USAGE_COMES_LAST, {**_ANSWER, "usage": None}),
    Deviation("File", "purpose", "enum", _ADAPTERS, {**_FILE, "purpose": "fine_tuning"}),
    Deviation(
        "ListFilesResponse",
        "data.*.purpose",
        "enum",
        _ADAPTERS,
        {"object": "list", "data": [{**_FILE, "purpose": "fine_tuning"}]},
    ),
    Deviation(
        "ReadFineTuningResponse",
        "data.fine_tuned_model",
        "type",
        _REFUSED,
        {"id": "ft_1", "object": "fine_tuning", "data": {"fine_tuned_model": None}},
    ),
    Deviation(
        "ListFineTuningsResponse",
        "data.*.fine_tuned_model",
        "type",
        _REFUSED,
        {"object": "list", "data": [{"fine_tuned_model": None}]},
    ),
    *(
        Deviation("Batch", field, "type", _NOT_YET, {**_BATCH, field: None})
        for field in _NULL_IN_BATCHES
    ),
    *(
        Deviation(
            "ListBatchesResponse",
            f"data.*.{field}",
            "type",
            _NOT_YET,
            {"object": "list", "data": [{**_BATCH, field: None}]},
        )
        for field in _NULL_IN_BATCHES
    ),
)


def json_schema(node: Any) -> Any:
    """Translate an OpenAPI 3.0 schema; what does not constrain a document is left out."""
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": node["$ref"]}
    schema = {key: node[key] for key in _KEPT & set(node)}
    schema |= {key: json_schema(node[key]) for key in _NESTED & set(node)}
    for key in _NESTED_LISTS & set(node):
        schema[key] = [json_schema(option) for option in node[key]]
    if "properties" in node:
        schema["properties"] = {
            name: json_schema(child) for name, child in node["properties"].items()
        }
    return _or_null(schema) if node.get("nullable") else schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    options = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **options, "type": [schema["type"], "null"]}


@cache
def specification() -> dict[str, Any]:
    """Read the contract."""
    with CONTRACT.open() as file:
        document: dict[str, Any] = yaml.load(file, yaml.CSafeLoader)
    return document


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """Make the validator of one schema."""
    schemas = specification()["components"]["schemas"]
    translated = {key: json_schema(schema) for key, schema in schemas.items()}
    reference = f"#/components/schemas/{name}"
    root = {"$ref": reference, "components": {"schemas": translated}}
    return jsonschema.Draft202012Validator(root)


def violations(name: str, document: Any) -> list[str]:
    """Say where a document breaks a schema, other than as decided."""
    decided = {(row.schema, row.place, row.keyword) for row in DEVIATIONS}
    return [
        f"{name} at '{place}' ({keyword}): {message}"
        for place, keyword, message in broken(name, document)
        if (name, place, keyword) not in decided
    ]


def broken(name: str, document: Any) -> list[tuple[str, str, str]]:
    """Say where a document breaks a schema at all: place, keyword and what is wrong."""
    return [
        (_place(error), str(error.validator), error.message[:300])
        for error in validator(name).iter_errors(document)
    ]


def _place(error: jsonschema.ValidationError) -> str:
    return ".".join("*" if isinstance(part, int) else part for part in error.absolute_path)


class Expected(NamedTuple):
    """A document of an answer, and the schema that it must match."""

    schema: str
    document: Any


def expected(
    method: str, path: str, status: int, content_type: str, body: bytes
) -> Iterator[Expected]:
    """Find the documents of an answer that Groq has a schema for."""
    address = _groqs(path) if CONTRACT.exists() else None
    if address is None:
        return
    if content_type.startswith("text/event-stream"):
        yield from _of_events(address, body)
    elif content_type.startswith("application/json") and body:
        schema = ERROR if status >= 400 else _schema_of(method.lower(), address)
        if schema is not None and (document := _json(body)) is not None:
            yield Expected(schema, document)


def _json(body: bytes) -> Any:
    """Read a document; None for one that is cut off, because its reader went away."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def _groqs(path: str) -> str | None:
    """Return the path at which Groq serves what we serve at `path`."""
    found = re.fullmatch(r"(?:/openai)?/v1(/.*)", path)
    if found is None:
        return None
    rest = found[1]
    is_fine_tuning = rest == "/fine_tunings" or rest.startswith("/fine_tunings/")
    return f"/v1{rest}" if is_fine_tuning else f"/openai/v1{rest}"


@cache
def _patterns() -> list[tuple[re.Pattern[str], Mapping[str, Any]]]:
    def pattern(template: str) -> re.Pattern[str]:
        named = re.escape(template).replace(r"\{model\}", ".+")
        return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", named))

    return [(pattern(template), item) for template, item in specification()["paths"].items()]


def _schema_of(method: str, address: str) -> str | None:
    for pattern, operations in _patterns():
        if pattern.fullmatch(address) and method in operations:
            content = operations[method]["responses"]["200"]["content"]
            reference: str = content["application/json"]["schema"]["$ref"]
            return reference.rpartition("/")[2]
    return None


def _of_events(address: str, body: bytes) -> Iterator[Expected]:
    for name, data in events(body):
        if data == "[DONE]":
            continue
        document = json.loads(data)
        if address.endswith("/responses"):
            if isinstance(document.get("response"), dict):
                yield Expected(RESPONSE, document["response"])
            if isinstance(document.get("item"), dict):
                yield Expected(OUTPUT_ITEM, document["item"])
        elif name == "error":
            yield Expected(ERROR, document)
        elif address.endswith("/chat/completions"):
            yield Expected(CHUNK, document)


def events(body: bytes) -> Iterator[tuple[str, str]]:
    """Split server-sent events into names and data; an unfinished last one is left out."""
    for frame in body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in frame.split("\n") if ": " in line)
        if "data" in fields:
            yield fields.get("event", ""), fields["data"]
